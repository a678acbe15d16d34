"""The life of a server connection: how it starts, is checked, is reset, grows old and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import wait_until_free
from tests.support.wire import SYNC, Wire, parse

MakePooler = Callable[..., Pooler]
ONE = {"p0": "pool_size=1"}
SESSION = {"p0": "pool_size=1 pool_mode=session"}


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def start(request: pytest.FixtureRequest, make_pooler: MakePooler, pg: Postgres) -> MakePooler:
    pg.wait_for_backends(0)
    return lambda **keywords: make_pooler(workers=request.param, **keywords)


@pytest.fixture(scope="module", autouse=True)
def tables(running_postgres: Postgres) -> Iterator[None]:
    running_postgres.ensure_running()
    running_postgres.sql("CREATE TABLE life_checks (n int)", dbname="p0", user="bouncer")
    yield
    running_postgres.ensure_running()
    running_postgres.sql("DROP TABLE life_checks", dbname="p0")


@pytest.fixture
def checks(running_postgres: Postgres) -> Callable[[], int]:
    """How often the check query ran since the test began."""
    running_postgres.sql("TRUNCATE life_checks", dbname="p0")
    return lambda: int(running_postgres.sql("SELECT count(*) FROM life_checks", dbname="p0")[0][0])


def backend(wire: Wire) -> int:
    (row,) = wire.rows("SELECT pg_backend_pid()")
    assert row[0] is not None
    return int(row[0])


# Its start.


def test_connect_query(start: MakePooler) -> None:
    pooler = start(databases={"p0": "connect_query='SET work_mem = ''9MB'''"})
    assert pooler.sql("SHOW work_mem") == [("9MB",)]


def test_failing_connect_query_is_told_and_logged(start: MakePooler) -> None:
    pooler = start(databases={"p0": "connect_query='SELECT 1/0'"}, client_login_timeout=5)
    with pooler.wire() as wire, pooler.expect_log("division by zero"):
        with pytest.raises(AssertionError, match="division by zero"):
            wire.login()
        wire.expect_closed()
    wait_for(lambda: not pooler.show("servers", database="p0"), 5, "no server left")


def test_forced_user(start: MakePooler) -> None:
    pooler = start(databases={"p0": "user=bouncer", "p1": ""})
    assert pooler.sql("SELECT current_user, session_user", user="limited") == [("bouncer", "bouncer")]
    assert pooler.sql("SELECT current_user", user="limited", dbname="p1") == [("limited",)]
    wait_for(lambda: pooler.pool("p0", "bouncer")["sv_idle"] == 1, 5, "the server")
    assert pooler.show("databases", name="p0")[0]["force_user"] == "bouncer"


def test_forced_user_with_a_password(start: MakePooler) -> None:
    pooler = start(
        databases={"p0": "user=suser password=sfoo", "p1": "user=muser password=mfoo", "p2": "user=puser"}
    )
    for database, user in {"p0": "suser", "p1": "muser", "p2": "puser"}.items():
        assert pooler.sql("SELECT session_user", dbname=database) == [(user,)]


def test_database_by_another_name_and_by_star(start: MakePooler) -> None:
    pooler = start(databases={"alias": "dbname=p1", "*": ""})
    assert pooler.sql("SELECT current_database()", dbname="alias") == [("p1",)]
    assert pooler.sql("SELECT current_database()", dbname="p2") == [("p2",)]


def test_unix_socket_to_postgres(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": f"host={pg.socket_dir} port={pg.port}"})
    assert pooler.sql("SELECT inet_server_addr()") == [(None,)]
    assert pooler.show("servers", database="p0")[0]["addr"] == "unix"


# Its age.


def test_server_lifetime(start: MakePooler) -> None:
    pooler = start(databases=ONE, server_lifetime=1)
    with pooled(pooler) as wire:
        first = backend(wire)
        with pooler.expect_log("closing because: server lifetime over"):
            wait_for(lambda: backend(wire) != first, 5, "another server")
        wire.close()


def test_server_lifetime_waits_for_the_transaction(start: MakePooler) -> None:
    pooler = start(databases=ONE, server_lifetime=1)
    with pooled(pooler) as wire:
        wire.query("BEGIN")
        first = backend(wire)
        wire.query("SELECT pg_sleep(1.8)")
        assert backend(wire) == first
        wire.query("COMMIT")
        wait_for(lambda: backend(wire) != first, 5, "another server")
        wire.close()


def test_server_lifetime_zero_is_for_one_use(start: MakePooler) -> None:
    pooler = start(databases=ONE, server_lifetime=0)
    with pooled(pooler) as wire:
        assert len({backend(wire) for _ in range(4)}) == 4
        wire.close()


def test_server_idle_timeout(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases=ONE, server_idle_timeout=1)
    with pooled(pooler) as wire:
        wire.query("SELECT 1")
        with pooler.expect_log("closing because: server idle timeout"):
            pg.wait_for_backends(0, timeout_s=5)
        assert wire.rows("SELECT 2") == [[b"2"]]
        wire.close()


def test_server_idle_timeout_respects_the_minimum(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": "user=bouncer pool_size=4 min_pool_size=2"}, server_idle_timeout=1)
    wires = [pooled(pooler) for _ in range(4)]
    for wire in wires:
        wire.query("BEGIN")
    assert len(pg.backends()) == 4
    for wire in wires:
        wire.query("COMMIT")
        wire.close()
    with pooler.expect_log("closing because: server idle timeout", count=2):
        pg.wait_for_backends(2, timeout_s=5)
    assert pooler.pool()["sv_idle"] + pooler.pool()["sv_used"] == 2


# The check before use.


def test_server_check_query_with_every_use(start: MakePooler, checks: Callable[[], int]) -> None:
    pooler = start(
        databases=ONE, server_check_query="INSERT INTO life_checks VALUES (1)", server_check_delay=0
    )
    pooler.learn_catalogs()
    before = checks()
    with pooled(pooler) as wire:
        for _ in range(5):
            assert wire.rows("SELECT 1") == [[b"1"]]
        assert checks() - before >= 3, "not a server that was given back in the same moment"
        wire.close()


def test_server_check_query_after_the_delay(start: MakePooler, checks: Callable[[], int]) -> None:
    pooler = start(
        databases=ONE, server_check_query="INSERT INTO life_checks VALUES (1)", server_check_delay=1
    )
    with pooled(pooler) as wire:
        for _ in range(5):
            wire.rows("SELECT 1")
        assert checks() == 0
        wait_for(lambda: pooler.pool()["sv_used"] == 1, 5, "a server that needs a check")
        assert wire.rows("SELECT 1") == [[b"1"]]
        assert checks() == 1
        wire.close()


def test_failing_check_query_costs_the_server_not_the_client(start: MakePooler) -> None:
    pooler = start(
        databases=ONE,
        server_check_query="SELECT 1/(pg_postmaster_start_time() < now() - interval '1 day')::int",
        server_check_delay=0,
    )
    pooler.learn_catalogs()
    with pooled(pooler) as wire:
        first = backend(wire)
        assert backend(wire) != first
        wire.close()


# The reset after a session.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "4MB"),
        ({"server_reset_query": "RESET work_mem"}, "4MB"),
        ({"server_reset_query": "SELECT 1"}, "7MB"),
        ({"server_reset_query": ""}, "7MB"),
    ],
    ids=["default", "own", "other", "none"],
)
def test_server_reset_query(start: MakePooler, settings: dict[str, str], expected: str) -> None:
    pooler = start(databases=SESSION, **settings)
    with pooled(pooler) as wire:
        first = backend(wire)
        wire.query("SET work_mem = '7MB'")
        wire.close()
    wait_until_free(pooler, "p0")
    with pooled(pooler) as wire:
        assert wire.rows("SHOW work_mem") == [[expected.encode()]]
        assert backend(wire) == first
        wire.close()


def test_server_reset_query_always(start: MakePooler) -> None:
    pooler = start(databases=ONE, server_reset_query_always=1, session_state="off")
    with pooled(pooler) as wire:
        first = backend(wire)
        wire.query("SET work_mem = '7MB'")
        assert wire.rows("SHOW work_mem") == [[b"4MB"]]
        assert backend(wire) == first
        wire.close()


@pytest.mark.parametrize("text", ["SELECT 1/0", "BEGIN"])
def test_failing_reset_query_costs_the_server(start: MakePooler, text: str) -> None:
    """So does one that leaves a transaction open: the server would be no client's for ever."""
    pooler = start(databases=SESSION, server_reset_query=text)
    with pooled(pooler) as wire:
        first = backend(wire)
        wire.close()
    with pooled(pooler) as wire:
        assert backend(wire) != first
        wire.close()


def test_kill_does_not_wait_for_a_reset_query(start: MakePooler, pg: Postgres) -> None:
    """Its server is closed: nobody will have it any more."""
    pooler = start(databases=SESSION, server_reset_query="SELECT pg_sleep(60)", server_answer_timeout=0)
    with pooled(pooler) as wire:
        wire.query("SELECT 1")
        wire.close()
    wait_for(lambda: pooler.pool()["sv_tested"] == 1, 5, "the reset query")
    killed = threading.Thread(target=pooler.console, args=("KILL p0",))
    killed.start()
    try:
        wait_for(lambda: not killed.is_alive(), 10, "the end of KILL")
        pg.wait_for_backends(0)
    finally:
        pg.terminate_backends()
        killed.join()


def test_a_temporary_slot_goes_with_its_client(start: MakePooler, pg: Postgres) -> None:
    """No reset drops it: its server is closed, and the next client has another one without it."""
    pooler = start(databases=ONE)
    slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'goes_with'"
    with pooler.wire().login("postgres") as wire:
        wire.query("SELECT pg_create_physical_replication_slot('goes_with', true, true)")
        first = backend(wire)
        assert pg.sql(slots) == [(1,)]
        assert backend(wire) == first
        wire.close()
    with pooler.wire().login("postgres") as other:
        assert backend(other) != first
        wait_for(lambda: pg.sql(slots) == [(0,)], 5, "the end of the slot")
        other.close()


# Its end.


def test_backends_that_die_are_not_given_to_clients(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": "pool_size=4"})
    wires = [pooled(pooler) for _ in range(4)]
    for wire in wires:
        wire.query("BEGIN")
    for wire in wires:
        wire.query("COMMIT")
    assert pg.terminate_backends() == 4
    pg.wait_for_backends(0)
    for wire in wires:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_backend_that_dies_before_it_has_heard_anything(start: MakePooler, pg: Postgres) -> None:
    """A client that has sent half a message has no server yet, and does not hear of one that ends."""
    pooler = start(databases=ONE)
    with pooled(pooler) as wire:
        wire.query("SELECT 1")
        data = parse("SELECT 1", "a") + SYNC
        wire.send(data[:9])
        assert pg.terminate_backends() == 1
        wait_for(lambda: pooler.pool()["sv_idle"] == 0, 5, "the end of the server")
        assert pooler.pool()["sv_active"] == 0
        wire.send(data[9:])
        wire.expect("1Z")


def test_backend_that_dies_under_a_client(start: MakePooler, pg: Postgres) -> None:
    """PostgreSQL's own words reach the client that was using it, and the next one gets another server."""
    pooler = start(databases=ONE)
    with pooled(pooler) as wire, pooled(pooler) as waiter:
        wire.query("BEGIN")
        waiter.send(b"Q\0\0\0\x0dSELECT 1\0")
        pg.sql("SELECT pg_terminate_backend(%s)", (backend(wire),))
        assert wire.receive_until("E")[-1].fields["C"] == "57P01"
        wire.expect_closed()
        waiter.expect("TDCZ")
        waiter.close()


def test_a_check_and_settings_before_one_statement(make_pooler: Callable[..., Pooler]) -> None:
    """A server is checked at each use and has other settings: the statement is not forgotten."""
    pooler = make_pooler(
        workers=1, databases={"p0": "pool_size=1"}, server_check_delay=0, query_wait_timeout=5
    )
    with (
        pooler.connect(application_name="one") as first,
        pooler.connect(application_name="two") as second,
        first.cursor() as one,
        second.cursor() as two,
    ):
        for _ in range(5):
            for cursor, name in ((one, "one"), (two, "two")):
                cursor.execute("SHOW application_name")
                assert cursor.fetchone() == (name,)
