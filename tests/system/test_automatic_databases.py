"""Databases of `*` that nobody knows: who invents names takes no rows from those that are configured."""

from __future__ import annotations

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.shared import StartPooler
from tests.support.wire import LoginRefused

#: Rows of databases beyond twice what the configuration names (master/capacity.py).
SPARE = 1024


def refusal(pooler: Pooler, database: str) -> str:
    with pooler.wire() as wire:
        try:
            wire.login(database=database)
        except LoginRefused as refused:
            return refused.error.fields["M"]
    return ""


def test_invented_names_take_no_rows_from_others(start_pooler: StartPooler) -> None:
    pooler = start_pooler(workers=2, databases={"p0": "", "p1": "", "*": ""})
    with pooled(pooler, "p2") as known:
        refusals = {refusal(pooler, f"invented{i}").replace(str(i), "") for i in range(SPARE + 50)}
        assert refusals == {'database "invented" does not exist', "no more rows for databases of *"}
        for database in ("p0", "p1"):
            with pooled(pooler, database) as wire:
                assert wire.rows("SELECT 1") == [[b"1"]]
        assert known.rows("SELECT 1") == [[b"1"]]
        with pooled(pooler, "p2") as another:
            assert another.rows("SELECT 1") == [[b"1"]], "it was there before"
