"""RESET leads back to the client's startup packet: when it has run, once, and before what comes behind it.

PostgreSQL knows the values of the pooler's own login only, so the client's are set again behind the
statement that has reset them; an error may have had that skipped, or have undone it.
"""

from __future__ import annotations

import socket
from itertools import groupby
from operator import attrgetter

import pytest

from tests.support.exchange import Script, Step, assert_same, pooled, talk
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import FLUSH, SYNC, Message, Wire, bind, execute, parse, query

OPTIONS = "-c TimeZone=Asia/Tokyo -c DateStyle=German -c xmloption=document"
SHOW = (
    "SELECT current_setting('TimeZone'), current_setting('DateStyle'), current_setting('xmloption'),"
    " current_setting('array_nulls')"
)
OTHERS = Step(query("SET TimeZone = 'UTC'; SET DateStyle = 'SQL, DMY'; SET xmloption = content"))
RUN = bind() + execute()
RESET_ALL, RESET = parse("RESET ALL") + RUN, parse("RESET TimeZone") + RUN
ERROR = parse("SELECT 1/0") + RUN
LOOK = Step(query(SHOW))
BODY = attrgetter("body")

SCRIPTS: dict[str, Script] = {
    "alone": [Step(query("RESET ALL"))],
    "query_behind": [Step(query("RESET ALL") + query(SHOW), "ZZ")],
    "query_in_front": [Step(query("SELECT 1") + query("RESET TimeZone") + query(SHOW), "ZZZ")],
    "set_in_front": [Step(query("SET DateStyle = 'ISO, YMD'") + query("RESET ALL") + query(SHOW), "ZZZ")],
    "pipelines": [Step(RESET_ALL + SYNC + parse(SHOW) + RUN + SYNC + query(SHOW), "ZZZ")],
    "twice": [Step(query("RESET TimeZone") + RESET_ALL + SYNC + query(SHOW), "ZZZ")],
    "skipped": [Step(ERROR + RESET_ALL + SYNC)],
    "skipped_by_name": [Step(ERROR + RESET + SYNC), LOOK, Step(RESET + SYNC)],
    "skipped_query": [Step(ERROR + query("RESET ALL") + SYNC)],
    "failed_before": [Step(query("SELECT 1; SELECT 1/0; RESET ALL"))],
    "undone_at_once": [Step(query("RESET ALL; SELECT 1/0"))],
    "undone_in_a_pipeline": [Step(RESET_ALL + ERROR + SYNC)],
    "undone": [Step(query("BEGIN")), Step(query("RESET ALL")), LOOK, Step(query("ROLLBACK"))],
    "undone_by_an_error": [Step(query("BEGIN; RESET ALL; SELECT 1/0")), Step(query("COMMIT"))],
    "undone_to_a_savepoint": [
        Step(query("BEGIN; SAVEPOINT a; RESET ALL; ROLLBACK TO a")),
        LOOK,
        Step(query("COMMIT")),
    ],
    "committed_before_an_error": [Step(query("BEGIN; RESET ALL; COMMIT; SELECT 1/0"))],
    "failed_discard": [Step(query("BEGIN")), Step(query("DISCARD ALL")), Step(query("ROLLBACK"))],
    "set_behind": [
        Step(query("BEGIN")),
        Step(query("RESET DateStyle")),
        Step(query("SET DateStyle = 'ISO, YMD'")),
        Step(query("RESET TimeZone")),
        LOOK,
        Step(query("COMMIT")),
    ],
    "set_behind_all": [
        Step(query("BEGIN")),
        Step(query("RESET ALL")),
        Step(query("SET xmloption = content; SET array_nulls = off")),
        Step(query("RESET TimeZone")),
        Step(query("COMMIT")),
    ],
    "answered_before_its_sync": [Step(RESET_ALL + FLUSH, "C"), Step(parse("SELECT 1") + RUN + SYNC)],
}


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        databases={
            "auto": "dbname=p0 pool_size=1",
            "strict": "dbname=p0 pool_size=1 session_state=strict",
            "session": "dbname=p0 pool_mode=session",
        }
    )


def in_order(messages: list[Message]) -> list[Message]:
    """Reports that follow each other are in no order that anybody goes by."""
    groups = groupby(messages, lambda message: message.type == "S")
    return [
        message for reports, group in groups for message in (sorted(group, key=BODY) if reports else group)
    ]


@pytest.mark.parametrize("database", ["auto", "strict", "session"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_resets(running_postgres: Postgres, pooler: Pooler, name: str, database: str) -> None:
    script = [OTHERS, *SCRIPTS[name], LOOK, LOOK]
    here = Wire(socket.create_connection((running_postgres.host, running_postgres.port), 10))
    with here.login(database="p0", options=OPTIONS) as plain:
        expected = in_order(talk(plain, script))
    with pooler.wire().login(database=database, options=OPTIONS) as wire:
        assert_same(expected, in_order(talk(wire, script)))
        wire.close()


#: A setting whose name no text has: its client keeps the server.
NAME = "'app' || chr(46) || 'computed'"


@pytest.mark.parametrize(
    "script",
    [
        [Step(query("BEGIN")), Step(query("DISCARD ALL")), Step(query("ROLLBACK"))],
        [Step(query("BEGIN")), Step(query("RESET ALL")), Step(query("ROLLBACK"))],
        [Step(query("RESET ALL; SELECT 1/0"))],
        [Step(ERROR + RESET_ALL + SYNC)],
    ],
    ids=["discard_failed", "rolled_back", "undone", "skipped"],
)
def test_a_reset_that_is_undone_ends_no_pin(pooler: Pooler, script: Script) -> None:
    pooler.learn_catalogs("auto")
    with pooled(pooler, "auto") as wire:
        wire.query(f"SELECT set_config({NAME}, 'mine', false)")
        talk(wire, script)
        assert [row["reason"] for row in pooler.show("pins", database="auto")] == ["setting"]
        assert wire.rows(f"SELECT current_setting({NAME})") == [[b"mine"]]
        wire.query("RESET ALL")
        wait_for(lambda: not pooler.show("pins", database="auto"), 10, "the end of the pin")
        wire.close()
