"""The pooler is transparent: every exchange gives the same bytes as with PostgreSQL itself."""

from __future__ import annotations

import pytest

from tests.protocol.wire.scripts import COPY, EXTENDED, SIMPLE
from tests.support.exchange import (
    Script,
    Send,
    assert_same,
    at_once,
    byte_by_byte,
    direct,
    pooled,
    talk,
    wait_until_read,
)
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler, wait_until_free
from tests.support.wire import SYNC, Message, Wire, bind, describe, execute, parse, query

SCRIPTS = {
    **{f"simple-{name}": script for name, script in SIMPLE.items()},
    **{f"extended-{name}": script for name, script in EXTENDED.items()},
    **{f"copy-{name}": script for name, script in COPY.items()},
}

#: Long ones byte by byte would take many seconds and show nothing more.
SHORT_BYTES = 1000
SHORT_SCRIPTS = {
    name: script for name, script in SCRIPTS.items() if sum(len(step.data) for step in script) < SHORT_BYTES
}


@pytest.fixture(scope="module", autouse=True)
def tables(running_postgres: Postgres) -> None:
    running_postgres.ensure_running()
    running_postgres.sql("DROP TABLE IF EXISTS wire_copy", dbname="p0")
    running_postgres.sql("CREATE TABLE wire_copy (n int, t text)", dbname="p0", user="bouncer")
    running_postgres.sql(
        "CREATE OR REPLACE FUNCTION wire_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no'; END $$",
        dbname="p0",
        user="bouncer",
    )
    for table, when in {"wire_refusing": "BEFORE", "wire_late": "AFTER"}.items():
        running_postgres.sql(
            f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (n int, t text);"
            f" CREATE TRIGGER refuse {when} INSERT ON {table} EXECUTE FUNCTION wire_refuse()",
            dbname="p0",
            user="bouncer",
        )


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    """One server for each database, so that every exchange meets what the one before left."""
    return start_pooler(
        workers=request.param,
        databases={"tx": "dbname=p0 pool_size=1", "se": "dbname=p0 pool_size=1 pool_mode=session"},
    )


@pytest.fixture(params=["tx", "se"])
def database(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def compare(pg: Postgres, pooler: Pooler, database: str, script: Script, send: Send = at_once) -> None:
    with direct(pg) as wire:
        expected = talk(wire, script)
    with pooled(pooler, database) as wire:
        got = talk(wire, script, send)
        wire.close()
    assert_same(expected, got)
    wait_until_free(pooler, database)


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_bytes(running_postgres: Postgres, pooler: Pooler, database: str, name: str) -> None:
    compare(running_postgres, pooler, database, SCRIPTS[name])


@pytest.mark.parametrize("name", SHORT_SCRIPTS)
def test_same_bytes_byte_by_byte(running_postgres: Postgres, pooler: Pooler, name: str) -> None:
    compare(running_postgres, pooler, "tx", SHORT_SCRIPTS[name], byte_by_byte)


@pytest.mark.parametrize(
    "data",
    [
        query("SELECT 1") + query("BEGIN; SELECT 2; COMMIT"),
        parse("SELECT $1::text", "", [25])
        + bind([b"value"])
        + describe()
        + execute()
        + SYNC
        + query("SELECT 2"),
    ],
    ids=["simple", "extended"],
)
def test_cut_at_every_boundary(
    running_postgres: Postgres, pooler: Pooler, database: str, data: bytes
) -> None:
    """The pooler reads the first part before the second is sent, so the cut is a real one."""
    count = 2
    with direct(running_postgres) as wire:
        wire.send(data)
        expected = [m for _ in range(count) for m in wire.receive_until()]
    with pooled(pooler, database, unix=True) as wire:
        for cut in range(1, len(data)):
            wire.send(data[:cut])
            wait_until_read(wire)
            wire.send(data[cut:])
            assert_same(expected, [m for _ in range(count) for m in wire.receive_until()])
        wire.close()
    wait_until_free(pooler, database)


def test_exchanges_of_several_clients_at_once(running_postgres: Postgres, pooler: Pooler) -> None:
    """Clients that share one server see their own answers only, whoever's turn it is."""
    wires = [pooled(pooler, "tx") for _ in range(8)]
    for turn in range(20):
        for number, wire in enumerate(wires):
            wire.send(query(f"SELECT {number}, {turn}") * 3)
        for number, wire in enumerate(wires):
            for _ in range(3):
                rows = [m.values for m in wire.receive_until() if m.type == "D"]
                assert rows == [[b"%d" % number, b"%d" % turn]]
    for wire in wires:
        wire.close()


def test_login_reports_the_servers_parameters(
    running_postgres: Postgres, pooler: Pooler, database: str
) -> None:
    with direct(running_postgres) as expected, pooled(pooler, database) as got:
        assert got.parameters == expected.parameters


def test_notification_comes_without_a_query(running_postgres: Postgres, pooler: Pooler) -> None:
    """In a session pool the server tells its client at any time."""

    def listen(wire: Wire, notify: Wire) -> list[Message]:
        wire.query("LISTEN wire_channel")
        notify.query("NOTIFY wire_channel, 'payload'")
        return [*wire.expect("A"), *wire.query("UNLISTEN *")]

    with direct(running_postgres) as other:
        with direct(running_postgres) as wire:
            expected = listen(wire, other)
        with pooled(pooler, "se") as wire:
            got = listen(wire, other)
            wire.close()
    assert_same(expected, got)
