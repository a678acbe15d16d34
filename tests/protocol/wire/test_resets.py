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
from tests.support.wire import FLUSH, SYNC, Message, Wire, bind, close, execute, message, parse, query

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
PARSED, PREPARED = parse("RESET ALL", "r"), bind(name="r") + execute()
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
    "behind_a_failed_copy": [
        Step(query("CREATE TEMP TABLE copied (n int)")),
        Step(query("RESET TimeZone; COPY copied FROM STDIN"), "G"),
        Step(message("d", b"none\n") + SYNC, "EZZ"),
    ],
    "beside_a_portal": [  # which a Query of ours would end
        Step(query("BEGIN")),
        Step(parse("SELECT generate_series(1, 3)") + bind() + execute(max_rows=1) + SYNC),
        Step(parse("RESET TimeZone", "b") + bind(name="b", portal="p") + execute("p") + SYNC),
        Step(execute() + SYNC),
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
    "set_behind_in_one_query": [
        Step(query("RESET ALL; SET TimeZone = 'Asia/Seoul'; SET xmloption = content"))
    ],
    "back_to_a_savepoint_behind": [
        Step(query("BEGIN; RESET ALL; SAVEPOINT a; ROLLBACK TO a")),
        LOOK,
        Step(query("COMMIT")),
    ],
    "back_to_a_savepoint_behind_at_once": [
        Step(query("BEGIN; RESET ALL; SAVEPOINT a; ROLLBACK TO a; COMMIT"))
    ],
    "back_to_a_savepoint_behind_by_name": [
        Step(query("BEGIN; RESET TimeZone; SAVEPOINT a; SET DateStyle = German; ROLLBACK TO a")),
        LOOK,
        Step(query("COMMIT")),
    ],
    "back_to_a_savepoint_extended": [
        Step(query("BEGIN")),
        Step(RESET_ALL + parse("SAVEPOINT a") + RUN + parse("ROLLBACK TO a") + RUN + SYNC),
        LOOK,
        Step(query("COMMIT")),
    ],
    "back_to_a_savepoint_before": [
        Step(query("BEGIN; SAVEPOINT a; RESET ALL; ROLLBACK TO a; SET array_nulls = off")),
        LOOK,
        Step(query("COMMIT")),
    ],
    "rollback_and_chain": [Step(query("BEGIN; RESET ALL; ROLLBACK AND CHAIN")), LOOK, Step(query("COMMIT"))],
    "savepoint_outside": [Step(query("RESET ALL; SAVEPOINT a; ROLLBACK TO a"))],
    "parsed_ahead": [Step(PARSED + SYNC), Step(PREPARED + SYNC)],
    "parsed_ahead_without_a_name": [Step(parse("RESET ALL") + SYNC), Step(RUN + SYNC)],
    "parsed_ahead_of_one": [
        Step(parse("RESET TimeZone", "r") + SYNC),
        Step(query("SET xmloption = content")),
        Step(PREPARED + SYNC),
    ],
    "parsed_ahead_to_default": [Step(parse("SET DateStyle TO DEFAULT", "r") + SYNC), Step(PREPARED + SYNC)],
    "parsed_ahead_and_run_twice": [Step(PARSED + PREPARED + SYNC), OTHERS, LOOK, Step(PREPARED + SYNC)],
    "parsed_ahead_and_undone": [
        Step(PARSED + SYNC),
        Step(query("BEGIN")),
        Step(PREPARED + SYNC),
        LOOK,
        Step(query("ROLLBACK")),
    ],
    "parsed_ahead_and_closed": [
        Step(PARSED + SYNC),
        Step(close("S", "r") + parse("SELECT 'other'", "r") + SYNC),
        Step(PREPARED + SYNC),
    ],
    "bound_ahead": [
        Step(query("BEGIN")),
        Step(PARSED + bind(name="r", portal="p") + SYNC),
        Step(query("SET array_nulls = off")),
        Step(execute("p") + SYNC),
        LOOK,
        Step(query("COMMIT")),
    ],
    "bound_ahead_and_never_run": [
        Step(query("BEGIN")),
        Step(PARSED + bind(name="r", portal="p") + SYNC),
        Step(parse("SELECT 1") + RUN + SYNC),
        LOOK,
        Step(query("COMMIT")),
    ],
    "zone": [Step(query("SET TIME ZONE LOCAL")), LOOK, OTHERS, Step(query("SET SESSION TIME ZONE DEFAULT"))],
    "names": [Step(query("SET NAMES 'LATIN1'")), Step(query("SET NAMES DEFAULT; SHOW client_encoding"))],
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


#: PostgreSQL tells what has been reset in a transaction that has failed; here it is told when that goes on.
LATE: dict[str, Script] = {
    "error": [Step(query("BEGIN; RESET ALL; SAVEPOINT a; SELECT 1/0")), Step(query("ROLLBACK TO a"))],
    "error_by_name": [
        Step(query("BEGIN; RESET TimeZone; SAVEPOINT a; SELECT 1/0")),
        Step(query("ROLLBACK TO a")),
    ],
    "error_in_a_pipeline": [
        Step(query("BEGIN")),
        Step(RESET_ALL + parse("SAVEPOINT a") + RUN + ERROR + SYNC),
        Step(query("SELECT 1")),
        Step(query("ROLLBACK TO a")),
    ],
    "error_and_the_end": [
        Step(query("BEGIN; RESET ALL; SAVEPOINT a; SELECT 1/0") + query("ROLLBACK TO a; COMMIT"), "ZZ")
    ],
    "error_and_rollback": [Step(query("BEGIN; RESET ALL; SAVEPOINT a; SELECT 1/0")), Step(query("ROLLBACK"))],
    "set_in_front": [
        Step(query("BEGIN; SET array_nulls = off; RESET ALL; SAVEPOINT a; SELECT 1/0")),
        Step(query("ROLLBACK TO a; SET TimeZone = 'Asia/Seoul'")),
    ],
    "commit_and_chain": [
        Step(query("BEGIN; RESET ALL; COMMIT AND CHAIN; SELECT 1/0")),
        Step(query("ROLLBACK")),
    ],
}


@pytest.mark.parametrize("database", ["auto", "strict", "session"])
@pytest.mark.parametrize("name", LATE)
def test_resets_in_a_transaction_that_fails(
    running_postgres: Postgres, pooler: Pooler, name: str, database: str
) -> None:
    script = [OTHERS, *LATE[name], LOOK, Step(query("COMMIT")), LOOK]

    def run(wire: Wire) -> tuple[list[Message], dict[bytes, bytes]]:
        got = talk(wire, script)
        told = [one.body.split(b"\0") for one in got if one.type == "S"]
        return [one for one in got if one.type != "S"], {name: value for name, value, _ in told}

    here = Wire(socket.create_connection((running_postgres.host, running_postgres.port), 10))
    with here.login(database="p0", options=OPTIONS) as plain:
        expected, last = run(plain)
    with pooler.wire().login(database=database, options=OPTIONS) as wire:
        got, told = run(wire)
        assert_same(expected, got)
        assert told == last
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
