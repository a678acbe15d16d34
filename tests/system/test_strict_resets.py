"""session_state = strict: what becomes of a server between two clients, when it goes right and when not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakeserver import ANSWER, READY, ROW, WELCOME, FakeServer, Peer, Script, error
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import SYNC, Wire, bind, execute, message, parse, query
from tests.system.conftest import MakeShared

# What a server may answer to the three parts of a reset.

SET, RESET, DISCARD = (message("C", tag) for tag in ("SET", "RESET", "DISCARD ALL"))
BEGUN = SET + RESET + SET + SET
FLUSHED = message("T", b"\0\0") + message("D", b"\0\1\0\0\0\0") + message("C", "SELECT 1")
FIRST = BEGUN + READY
LAST = DISCARD + READY


def field(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def row(*fields: bytes | None) -> bytes:
    """A DataRow."""
    parts = [b"\xff\xff\xff\xff" if one is None else field(one) for one in fields]
    return message("D", len(parts).to_bytes(2, "big") + b"".join(parts))


def looked(*fields: bytes | None, tag: str = "SELECT 1") -> bytes:
    return FLUSHED + message("T", b"\0\0") + row(*fields) + message("C", tag) + READY


LOOK = looked(None, b"16384", b"13000")
UNFLUSHED = LOOK.removeprefix(FLUSHED)
NOTICE = message("N", b"SNOTICE\0C00000\0Mwell\0\0")
ERROR = error(b"SERROR\0C57014\0Mcanceling statement due to statement timeout\0\0")

#: Three answers, to the first part, the question about functions and the last.
WRONG: dict[str, tuple[bytes, bytes, bytes]] = {
    "first fails": (ERROR + READY, LOOK, LAST),
    "question fails": (FIRST, ERROR + READY, LAST),
    "last fails": (FIRST, LOOK, ERROR + READY),
    "settings are not reset": (SET + SET + SET + SET + READY, LOOK, LAST),
    "one answer less": (SET + RESET + SET + READY, LOOK, LAST),
    "nothing flushed": (FIRST, UNFLUSHED, LAST),
    "flushed twice": (FIRST, FLUSHED + LOOK, LAST),
    "flushed early": (BEGUN + FLUSHED + READY, UNFLUSHED, LAST),
    "one answer more": (SET + FIRST, LOOK, LAST),
    "another tag": (FIRST, LOOK, message("C", "DISCARD PLANS") + READY),
    "a longer tag": (FIRST, LOOK, message("C", "DISCARD ALL BUT ONE") + READY),
    "a transaction begins": (FIRST, LOOK, DISCARD + message("Z", b"T")),
    "a transaction begins at first": (SET + RESET + SET + SET + message("Z", b"T"), LOOK, LAST),
    "rows of DISCARD": (FIRST, LOOK, ROW + LAST),
    "rows without columns": (FIRST, FLUSHED + row(None, b"1", b"2") + message("C", "SELECT 1") + READY, LAST),
    "no row": (FIRST, FLUSHED + message("T", b"\0\0") + message("C", "SELECT 0") + READY, LAST),
    "two columns": (FIRST, looked(None, b"16384"), LAST),
    "no number": (FIRST, looked(None, b"16x84", b"13000"), LAST),
    "empty number": (FIRST, looked(None, b"", b"13000"), LAST),
    "long number": (FIRST, looked(None, b"1" * 40, b"13000"), LAST),
    "no function": (FIRST, looked(None, None, b"13000"), LAST),
    "row cut": (
        FIRST,
        FLUSHED
        + message("T", b"\0\0")
        + message("D", b"\0\3\xff\xff\xff\xff\0\0\0\x09ab")
        + message("C", "SELECT 1")
        + READY,
        LAST,
    ),
    "huge row": (FIRST, looked(b"x" * 40_000, b"16384", b"13000"), LAST),
    "empty query": (FIRST, LOOK, message("I") + READY),
    "COPY": (FIRST, LOOK, message("G", b"\0\0\0") + LAST),
    "beyond": (FIRST, looked(b"language plperl", b"16384", b"13000"), LAST),
    "ends": (FIRST, b"", b""),
    "babble": (FIRST, b"\x07" * 20, b""),
}
RIGHT: dict[str, tuple[bytes, bytes, bytes]] = {
    "as PostgreSQL": (FIRST, LOOK, LAST),
    "with notices": (NOTICE + FIRST, NOTICE + LOOK, message("S", "TimeZone", "UTC") + LAST),
    "without plpgsql": (FIRST, looked(None, b"20000", None), LAST),
}


def resets(answers: tuple[bytes, bytes, bytes], version: bytes = b"16.0") -> Script:
    """A server that answers resets so, and any other query as it should."""

    def script(peer: Peer) -> None:
        peer.send(WELCOME.replace(b"16.0", version))
        while True:
            kind, body = peer.message()
            if kind == b"X":
                return
            if body.startswith(b"SET SESSION AUTHORIZATION DEFAULT;RESET ALL"):
                looks, discards = peer.message()[1], peer.message()[1]
                assert looks.startswith(b"SELECT")
                assert discards == b"DISCARD ALL\0"
                for answer in answers:
                    peer.send(answer)
                if not answers[-1]:
                    return
            elif kind == b"Q":
                peer.send(ANSWER if b"SELECT 1" in body else message("C", "SET") + READY)

    return script


def patient(peer: Peer) -> None:
    """Notes what comes while a reset is unanswered: nothing may."""
    peer.send(WELCOME)
    while True:
        kind, body = peer.message()
        if kind == b"X":
            return
        if body.startswith(b"SET SESSION"):
            peer.message()
            peer.message()
            peer.socket.settimeout(0.3)
            try:
                early = peer.socket.recv(1)
            except TimeoutError:
                early = b""
            peer.socket.settimeout(None)
            assert not early, "something was sent before the answer"
            peer.send(FIRST + LOOK + LAST)
        elif kind == b"Q":
            peer.send(ANSWER if b"SELECT 1" in body else message("C", "SET") + READY)


SCRIPTS = {name.replace(" ", "_"): resets(answers) for name, answers in (WRONG | RIGHT).items()} | {
    "patient": patient,
    "older": resets((FIRST, UNFLUSHED, LAST), b"14.9"),
}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer(SCRIPTS) as server:
        yield server


@pytest.fixture(scope="module")
def strict(make_shared: MakeShared, fake: FakeServer) -> Pooler:
    databases = dict.fromkeys(SCRIPTS, f"port={fake.port} pool_size=1")
    return make_shared(
        databases=databases, workers=1, session_state="strict", server_answer_timeout=1, server_check_query=""
    )


def in_turn(pooler: Pooler, database: str) -> None:
    """Two clients get their answers, one after the other."""
    with pooler.wire().login(database=database) as first, pooler.wire().login(database=database) as second:
        for wire in (first, second):
            wire.send(query("SELECT 1"))
            assert [m.type for m in wire.receive_until("Z")] == ["T", "D", "C", "Z"]


@pytest.mark.parametrize("name", RIGHT)
def test_reset_server_is_used_again(strict: Pooler, fake: FakeServer, name: str) -> None:
    database = name.replace(" ", "_")
    in_turn(strict, database)
    assert fake.connections[database] == 1


@pytest.mark.parametrize("name", WRONG)
def test_reset_that_goes_wrong_closes_the_server(strict: Pooler, fake: FakeServer, name: str) -> None:
    """The next client has its answer all the same, from another one."""
    database = name.replace(" ", "_")
    in_turn(strict, database)
    assert fake.connections[database] >= 2


def test_an_older_server_is_not_asked_for_what_it_has_not(strict: Pooler, fake: FakeServer) -> None:
    in_turn(strict, "older")
    assert fake.connections["older"] == 1


def test_nothing_is_sent_before_the_answer(strict: Pooler, fake: FakeServer) -> None:
    in_turn(strict, "patient")
    assert fake.connections["patient"] == 1


# What clients do to PostgreSQL.


@pytest.fixture(scope="module")
def tenant(running_postgres: Postgres) -> Iterator[None]:
    """The clients' role owns no database and may not CREATE in one: whatever extensions there are, a reset
    is enough behind it.
    """
    for database in ("p0", "p1"):
        running_postgres.sql(f"ALTER DATABASE {database} OWNER TO postgres")
        running_postgres.sql("GRANT ALL ON SCHEMA public TO bouncer", dbname=database)
    yield
    for database in ("p0", "p1"):
        running_postgres.sql(f"ALTER DATABASE {database} OWNER TO bouncer")


@pytest.fixture(scope="module")
def real(make_shared: MakeShared, tenant: None) -> Pooler:
    databases = {
        "p0": "pool_size=1",
        "p1": "pool_size=1",
        "wide": "dbname=p1 pool_size=4",
        "auto": "dbname=p0 pool_size=1 session_state=auto",
    }
    users = {"limited": "session_state=auto"}
    return make_shared(databases=databases, users=users, workers=2, session_state="strict")


def pid(wire: Wire) -> bytes | None:
    return wire.rows("SELECT pg_backend_pid()")[0][0]


def resets_of(pooler: Pooler, database: str = "p0") -> int:
    return sum(int(row["session_resets"]) for row in pooler.show("pin_totals", database=database))


@pytest.mark.parametrize(
    "setting",
    [
        "statement_timeout = 30",
        "lock_timeout = 1",
        "idle_in_transaction_session_timeout = 1000",
        "exit_on_error = on",
        "default_transaction_read_only = on",
        "search_path = pg_temp, public",
        "client_min_messages = debug5",
        "standard_conforming_strings = off",
        "client_encoding = SJIS",
    ],
)
def test_settings_of_a_client_do_not_hurt_the_reset(real: Pooler, setting: str) -> None:
    with real.wire().login() as first, real.wire().login() as second:
        first.query("SELECT 1")
        mine = pid(second)
        first.query(f"SET {setting}")
        assert (
            second.rows(
                f"SELECT pg_backend_pid(), setting FROM pg_settings WHERE name = '{setting.split()[0]}'"
            )[0][0]
            == mine
        )
        first.close()
        second.close()


def test_deferrable_defaults_do_not_hold_the_reset_up(real: Pooler, pg: Postgres) -> None:
    """DISCARD ALL takes a snapshot, which would wait for this writer."""
    with pg.connect(dbname="p0") as connection, connection.cursor() as writer:
        writer.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE never_committed (n int)")
        writer.execute("SELECT count(*) FROM pg_class")
        with real.wire().login() as first, real.wire().login() as second:
            mine = pid(first)
            first.query(
                "SET SESSION CHARACTERISTICS AS TRANSACTION"
                " ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
            )
            assert pid(second) == mine
            second.close()
            first.close()
        writer.execute("ROLLBACK")


def test_names_of_our_own_statements_cannot_be_forged(real: Pooler) -> None:
    """A client takes the name under which another's statement is prepared; nobody else gets its statement."""
    forge = (
        "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; FOR i IN 1..30 LOOP"
        " EXECUTE 'PREPARE pooler_' || i || ' AS SELECT ''forged'''; END LOOP; END $$"
    )
    with real.wire().login() as first, real.wire().login() as second:
        for wire in (first, second):
            wire.send(parse("SELECT 'mine'", "s") + SYNC)
            wire.receive_until("Z")
        first.query(forge)
        first.close()
        for _ in range(3):
            second.send(bind(name="s") + execute() + SYNC)
            assert [m.values for m in second.receive_until("Z") if m.type == "D"] == [[b"mine"]]
        second.close()


def test_seed_is_new(real: Pooler) -> None:
    """setseed() and what follows of it end with their client, though DISCARD ALL leaves them."""
    with real.wire().login() as first:
        first.query("SET seed = 0.25")
        expected = first.rows("SELECT random() FROM generate_series(1, 50)")
        first.query("SET seed = 0.25")
        first.close()
    with real.wire().login() as second:
        seen = second.rows("SELECT random() FROM generate_series(1, 50)")
        assert not [value for value in seen if value in expected]
        second.close()


#: What PostgreSQL counts and a backend has not told yet: of tables, their columns, indexes and functions.
COUNTED = (
    "SELECT count(*) FROM pg_stat_xact_user_tables WHERE seq_scan + n_tup_ins + n_tup_upd + n_tup_del > 0",
    "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND pg_stat_get_xact_numscans(oid) > 0",
    "SELECT count(*) FROM pg_stat_xact_user_functions",
)


def test_nothing_that_is_counted_is_told(real: Pooler, pg: Postgres) -> None:
    pg.sql("CREATE TABLE IF NOT EXISTS counted (n int)", user="bouncer", dbname="p0")
    body = "RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
    pg.sql(f"CREATE OR REPLACE FUNCTION counted_too() {body}", user="bouncer", dbname="p0")
    pg.sql("ALTER ROLE bouncer SET track_functions = 'all'")
    try:
        for _ in range(5):
            with real.wire().login() as first, real.wire().login() as second:
                first.query(
                    "INSERT INTO counted VALUES (1), (2); SELECT * FROM counted; SELECT counted_too()"
                )
                assert [second.rows(text) for text in COUNTED] == [[[b"0"]]] * len(COUNTED)
    finally:
        pg.sql("ALTER ROLE bouncer RESET track_functions")


def test_a_role_that_may_not_flush_what_is_counted(real: Pooler, pg: Postgres) -> None:
    """Its servers are closed, the log says why, and the next client is told nothing."""
    function = "FUNCTION pg_stat_force_next_flush()"
    pg.sql("CREATE TABLE IF NOT EXISTS counted (n int)", user="bouncer", dbname="p0")
    pg.sql(f"REVOKE EXECUTE ON {function} FROM PUBLIC", dbname="p0")
    why = "closing because: reset query failed: permission denied for function pg_stat_force_next_flush"
    try:
        with real.expect_log(why), real.wire().login() as first, real.wire().login() as second:
            for _ in range(3):
                first.query("INSERT INTO counted VALUES (1)")
                assert second.rows(COUNTED[0]) == [[b"0"]]
    finally:
        pg.sql(f"GRANT EXECUTE ON {function} TO PUBLIC", dbname="p0")


def test_its_own_client_comes_back_without_a_reset(real: Pooler) -> None:
    with real.wire().login() as wire:
        wire.query("SELECT 1")
        before = resets_of(real)
        for _ in range(10):
            wire.query("SELECT 1")
            wire.query("SET work_mem = '1MB'")
        assert resets_of(real) == before
        wire.close()


def test_state_goes_with_its_client(real: Pooler) -> None:
    """What an idle server still has is gone soon after its client, though no other client comes; but for a
    server that tells of the catalogs just then.
    """

    def reset_behind_one() -> bool:
        with real.wire().login() as wire:
            wire.query("SELECT set_config('a.' || 'b', 'x', false)")
            before = resets_of(real)
            wire.close()
        time.sleep(0.2)
        return resets_of(real) > before

    wait_for(reset_behind_one, 10, "the reset behind a client that has left")


@pytest.mark.parametrize(("database", "user"), [("auto", "bouncer"), ("p0", "limited")])
def test_only_where_it_is_wanted(real: Pooler, database: str, user: str) -> None:
    with real.wire().login(user, database) as first, real.wire().login(user, database) as second:
        for wire in (first, second, first, second):
            wire.query("SELECT 1")
        assert not [
            row
            for row in real.show("pin_totals")
            if row["database"] == database and row["user"] == user and row["session_resets"]
        ]
        first.close()
        second.close()


# What no reset undoes.


def backends(wires: list[Wire], rounds: int = 3) -> list[set[bytes | None]]:
    """The servers that each of the clients had."""
    seen: list[set[bytes | None]] = [set() for _ in wires]
    for _ in range(rounds):
        for number, wire in enumerate(wires):
            seen[number].add(pid(wire))
    return seen


def test_functions_that_no_reset_undoes(real: Pooler, pg: Postgres) -> None:
    """From the moment on in which the database has one, a server is closed before another client could get
    it; its own client has it again. A trusted extension changes nothing.
    """
    wires = [real.wire().login(database="p1") for _ in range(2)]
    others = [real.wire().login(database="wide") for _ in range(2)]
    try:
        shared = backends(wires)
        assert shared[0] == shared[1]
        pg.sql("CREATE EXTENSION hstore", dbname="p1")
        assert backends(wires) == shared
        pg.sql("CREATE EXTENSION dblink", dbname="p1")
        first, second = backends(wires)
        assert not first & second

        def has_its_own() -> bool:
            first, second = backends(others)
            assert not first & second
            return len(first) == len(second) == 1

        # but where its own was busy with a request of ours just then
        wait_for(has_its_own, 10, "each client to have its server again")
        pg.sql("DROP EXTENSION dblink", dbname="p1")

        def share() -> bool:
            first, second = backends(wires)
            return first == second

        wait_for(share, 60, "one server for both")  # looks that take long come seldom
    finally:
        pg.sql("DROP EXTENSION IF EXISTS dblink", dbname="p1")
        pg.sql("DROP EXTENSION IF EXISTS hstore", dbname="p1")
        for wire in wires + others:
            wire.close()


@pytest.fixture
def keeps_state(pg: Postgres, tmp_path: Path) -> Iterator[None]:
    """Whoever may CREATE in p1 may make an extension that keeps something in its process: isn, which keeps
    nothing from 18 on, where PostgreSQL may look for extensions elsewhere.
    """
    if pg.sql("SHOW server_version_num")[0][0] < "180000":
        if not pg.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'isn'"):
            pytest.skip("isn is not installed")
        yield
        return
    directory = tmp_path / "extension"
    directory.mkdir()
    (directory / "keeps.control").write_text("default_version = '1'\ntrusted = true\n")
    (directory / "keeps--1.sql").write_text("")
    for path in (directory, *directory.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o055)
    pg.sql(f"ALTER DATABASE p1 SET extension_control_path = '$system:{tmp_path}'")
    yield
    pg.sql("ALTER DATABASE p1 RESET extension_control_path")


def test_extensions_that_could_have_been_made_and_dropped(
    real: Pooler, pg: Postgres, keeps_state: None
) -> None:
    """A function of theirs may have run though none is there: behind the owner of the database, who may grant
    himself what he has not, and behind whoever may CREATE there, servers are closed. Others' are reset.
    """

    def share() -> bool:
        real.console("RECONNECT p1")
        with real.wire().login(database="p1") as one, real.wire().login(database="p1") as other:
            first, second = backends([one, other])
            one.close()
            other.close()
        return bool(first & second)

    wait_for(share, 60, "one server for both")
    for grant, revoke in (
        (
            "ALTER DATABASE p1 OWNER TO bouncer; REVOKE CREATE ON DATABASE p1 FROM bouncer",
            "ALTER DATABASE p1 OWNER TO postgres",
        ),
        ("GRANT CREATE ON DATABASE p1 TO bouncer", "REVOKE CREATE ON DATABASE p1 FROM bouncer"),
        (
            "CREATE ROLE maker; GRANT CREATE ON DATABASE p1 TO maker; GRANT maker TO bouncer",
            "REVOKE CREATE ON DATABASE p1 FROM maker; DROP ROLE maker",
        ),
    ):
        pg.sql(grant)
        try:
            wait_for(lambda: not share(), 30, grant)
            assert not share()
        finally:
            pg.sql(revoke)
        wait_for(share, 30, revoke)


@pytest.mark.parametrize("attribute", ["SUPERUSER", "REPLICATION"])
def test_roles_that_no_reset_undoes(real: Pooler, pg: Postgres, attribute: str) -> None:
    """Also what a role may become."""
    pg.sql(f"CREATE ROLE mighty {attribute}; CREATE ROLE member LOGIN IN ROLE mighty")
    real.passwords["member"] = ""
    real.configure()
    try:
        wires = [real.wire().login("member", "p1") for _ in range(2)]
        first, second = backends(wires)
        assert not first & second
        for wire in wires:
            wire.close()
    finally:
        pg.sql("DROP ROLE member; DROP ROLE mighty")
