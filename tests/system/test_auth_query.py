"""auth_user, auth_query, auth_dbname: users that PostgreSQL knows and auth_file does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.asking import Asking
from tests.support.crowd import Watcher, at_once, refusal
from tests.support.hostile import Scram
from tests.support.pooler import Bouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import extended, message, startup

NO_USER = "no such user"
CONFIG_ERROR = "bouncer config error"

#: Users of PostgreSQL alone, with their passwords.
ROLES = {"q_scram": "sq", "q_md5": "mq", "q_none": "", "q_nologin": "nq"}

FUNCTION = """
CREATE OR REPLACE FUNCTION public.auth_lookup(name text, OUT uname text, OUT phash text)
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF current_setting('search_path') LIKE '%evil%' OR current_setting('application_name') <> '' THEN
        RAISE EXCEPTION 'somebody else decides what is found: %', current_setting('search_path');
    END IF;
    SELECT rolname, rolpassword FROM pg_authid WHERE rolname = name INTO uname, phash;
END $$
"""


class AskingForRoles(Asking):
    known_there = ROLES


@pytest.fixture(scope="module", autouse=True)
def roles(running_postgres: Postgres) -> Iterator[None]:
    """The roles, and a function that may be asked for them, in p0."""
    pg = running_postgres
    with pg.connect() as connection, connection.cursor() as cursor:
        for name, password in ROLES.items():
            kind = "md5" if name == "q_md5" else "scram-sha-256"
            cursor.execute("SET password_encryption = %s", (kind,))
            cursor.execute(f"CREATE ROLE {name} LOGIN" + (f" PASSWORD '{password}'" if password else ""))
        cursor.execute("ALTER ROLE q_nologin NOLOGIN")
        cursor.execute("CREATE ROLE q_asks LOGIN")
    pg.sql(FUNCTION, dbname="p0")
    yield
    pg.sql("DROP FUNCTION public.auth_lookup(text)", dbname="p0")
    pg.sql("".join(f"DROP ROLE {name};" for name in (*ROLES, "q_asks")))


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def shared(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        kind=AskingForRoles,
        workers=request.param,
        auth_type="scram-sha-256",
        auth_user=SUPERUSER,
        auth_dbname="",  # named, since a reload resets only what it finds
        client_login_timeout=10,
        databases={
            "p0": "pool_size=3",
            "p1": "",
            "own": "dbname=p0 auth_user=q_asks auth_query='SELECT * FROM auth_lookup($1)'",
            "there": "dbname=p1 auth_dbname=p0",
            "forced": "dbname=p0 user=bouncer",
            "lost": "dbname=p1 auth_dbname=nowhere",
            "console": "dbname=p1 auth_dbname=pgbouncer",
            "wide": "dbname=p0 auth_query='SELECT rolname, rolpassword, 1 FROM pg_authid WHERE rolname=$1'",
            "narrow": "dbname=p0 auth_query='SELECT rolname FROM pg_authid WHERE rolname=$1'",
            "broken": "dbname=p0 auth_query='SELECT a, b FROM not_pg_shadow WHERE a=$1'",
            "nobody": "dbname=p0 auth_query='SELECT NULL::text, rolpassword FROM pg_authid WHERE rolname=$1'",
            "upper": "dbname=p0 auth_query="
            "'SELECT lower($1), rolpassword FROM pg_authid WHERE rolname=lower($1)'",
            "refused": "dbname=p0 auth_user=suser",
        },
    )


@pytest.fixture
def pooler(shared: Pooler) -> Iterator[Pooler]:
    settings, passwords = dict(shared.settings), dict(shared.passwords)
    yield shared
    shared.settings, shared.passwords = settings, passwords
    shared.configure()


@contextmanager
def expired(pg: Postgres, role: str) -> Iterator[None]:
    pg.sql(f"ALTER ROLE {role} VALID UNTIL '1999-01-01'")
    yield
    pg.sql(f"ALTER ROLE {role} VALID UNTIL 'infinity'")


def whoami(pooler: Bouncer, **values: Any) -> str:
    ((name,),) = pooler.sql("SELECT session_user", **values)
    return str(name)


def test_scram_secret_is_passed_through(pooler: Pooler) -> None:
    """PostgreSQL's own verifier checks the client, whose keys then log in at PostgreSQL."""
    for _ in range(4):
        assert whoami(pooler, user="q_scram", dbname="p0") == "q_scram"
    assert "SASL authentication failed" in refusal(pooler.dsn(user="q_scram", password="wrong"))
    pooler.console("RECONNECT p0")
    assert whoami(pooler, user="q_scram", dbname="p0") == "q_scram"


@pytest.mark.parametrize("method", ["md5", "plain", "trust"])
def test_md5_secret(pooler: Pooler, method: str) -> None:
    pooler.configure(auth_type=method)
    for _ in range(4):
        assert whoami(pooler, user="q_md5", dbname="p0") == "q_md5"
    if method != "trust":
        wrong = refusal(pooler.dsn(user="q_md5", password="wrong"))
        assert "password authentication failed" in wrong


def test_users_who_do_not_exist(pooler: Pooler) -> None:
    """CVE-2015-6817: an unknown user is not let in as auth_user, by whatever password."""
    for method in ("scram-sha-256", "md5", "plain", "trust"):
        pooler.configure(auth_type=method)
        text = NO_USER if method == "trust" else "authentication failed"
        for user in ("nobody", "q_nologin", "Q_SCRAM", "' OR true --", SUPERUSER + " "):
            for password in ("secret", "wrong", "sq"):
                assert text in refusal(pooler.dsn(user=user.replace("'", "\\'"), password=password))


def first_request(pooler: Pooler, user: str) -> bytes:
    """What is asked of this user, but for what is random."""
    with pooler.wire() as wire:
        Scram(user, "x").start(wire)
        (request,) = wire.expect("R")
    fields = dict(part.split(b"=", 1) for part in request.body[4:].split(b","))
    return request.body[:4] + fields[b"i"] + b" %d" % len(fields[b"s"])


def test_unknown_users_are_asked_what_known_ones_are(pooler: Pooler) -> None:
    """Else whoever connects learns which users there are."""
    assert first_request(pooler, "nobody") == first_request(pooler, "q_scram")


@pytest.mark.parametrize("workers", [1, 3])
def test_role_without_password(start_pooler: StartPooler, workers: int) -> None:
    """NULL: the user exists, and no password is right; where none is asked for, it gets in.

    It is asked what is usual, and that is what the one user of the userlist has.
    """
    pooler = start_pooler(
        kind=AskingForRoles, workers=workers, auth_user=SUPERUSER, databases={"p0": "pool_size=3"}
    )
    pooler.passwords["listed"] = "md5" + 32 * "0"
    for method, text in (("scram-sha-256", "SASL"), ("md5", "password"), ("plain", "password")):
        pooler.configure(auth_type=method)
        for password in ("x", "md5", "secret"):
            wrong = refusal(pooler.dsn(user="q_none", password=password))
            assert f"{text} authentication failed" in wrong
    pooler.configure(auth_type="md5")
    for secret in (b"", b"md5", hashlib.md5(b"q_none").hexdigest().encode()):
        with pooler.wire() as wire:
            wire.send(startup("q_none", "p0"))
            (request,) = wire.expect("R")
            digest = hashlib.md5(secret.removeprefix(b"md5") + request.body[4:8]).hexdigest()
            wire.send(message("p", f"md5{digest}"))
            wire.expect_error("28P01", "password authentication failed")
    pooler.configure(auth_type="trust")
    assert whoami(pooler, user="q_none", dbname="p0") == "q_none"


@pytest.mark.parametrize("role", ["q_scram", "q_md5"])
def test_cve_2025_2291_expired_role(pooler: Pooler, running_postgres: Postgres, role: str) -> None:
    for method in ("md5", "plain"):
        pooler.configure(auth_type=method)
        assert whoami(pooler, user=role, dbname="forced") == "bouncer"
        with expired(running_postgres, role):
            assert "authentication failed" in refusal(pooler.dsn(user=role, dbname="forced"))
        assert whoami(pooler, user=role, dbname="forced") == "bouncer"


def test_changed_password_counts_at_once(pooler: Pooler, running_postgres: Postgres) -> None:
    """Also on a pool that is warm, on every worker: nothing is kept."""
    for _ in range(4):
        assert whoami(pooler, user="q_scram", dbname="forced") == "bouncer"
    running_postgres.sql("ALTER ROLE q_scram PASSWORD 'other'")
    for _ in range(4):
        assert "SASL" in refusal(pooler.dsn(user="q_scram", dbname="forced"))
        assert whoami(pooler, user="q_scram", password="other", dbname="forced") == "bouncer"
    running_postgres.sql(f"ALTER ROLE q_scram PASSWORD '{ROLES['q_scram']}'")


@pytest.mark.parametrize(
    "parameters",
    [
        {"search_path": "evil"},
        {"options": "-c search_path=evil"},
        {"application_name": "evil"},
        {"role": "q_asks"},
    ],
)
def test_cve_2025_12819_startup_packet_stays_away(pooler: Pooler, parameters: dict[str, Any]) -> None:
    """Nothing of a stranger's startup packet gets to where auth_query runs: the function would tell."""
    pooler.configure(auth_type="plain", track_extra_parameters="search_path, IntervalStyle")
    for _ in range(3):
        with pooler.wire() as wire:
            wire.send(startup("q_scram", "own", **parameters))
            assert wire.receive().type == "R", "it was found, and is asked for its password"
    assert whoami(pooler, user="q_scram", dbname="own") == "q_scram"


def test_name_is_a_parameter(pooler: Pooler, running_postgres: Postgres) -> None:
    running_postgres.sql("""CREATE ROLE "x'; DROP TABLE y; --" LOGIN PASSWORD 'p'""")
    try:
        with pooler.wire() as wire:
            wire.send(startup("x'; DROP TABLE y; --", "p0"))
            assert wire.receive().type == "R"
    finally:
        running_postgres.sql("""DROP ROLE "x'; DROP TABLE y; --" """)


def test_database_of_its_own(pooler: Pooler) -> None:
    """auth_user, auth_query and auth_dbname of the database count more than the global ones."""
    assert whoami(pooler, user="q_scram", dbname="own") == "q_scram"
    assert pooler.show("pools", database="own", user="q_asks")
    assert pooler.sql("SELECT current_database()", user="q_scram", dbname="there") == [("p1",)]
    assert pooler.show("pools", database="p0", user=SUPERUSER)


def test_global_auth_dbname(pooler: Pooler) -> None:
    pooler.configure(auth_dbname="p3")
    assert "bouncer config error" in refusal(pooler.dsn(user="q_scram", dbname="p1"))
    pooler.databases["p3"] = ""
    pooler.configure()
    assert pooler.sql("SELECT current_database()", user="q_scram", dbname="p1") == [("p1",)]
    assert pooler.show("pools", database="p3", user=SUPERUSER)
    pooler.console("DISABLE p3")
    disabled = refusal(pooler.dsn(user="q_scram", dbname="p1"))
    assert 'authentication database "p3" is disabled' in disabled
    pooler.console("ENABLE p3")
    del pooler.databases["p3"]


@pytest.mark.parametrize(
    ("database", "log"),
    [
        ("lost", 'authentication database "nowhere" is not configured'),
        ("console", 'cannot use the reserved "pgbouncer" database as an auth_dbname'),
        ("wide", "expected 2 columns from auth_query, not 3"),
        ("narrow", "expected 2 columns from auth_query, not 1"),
        ("broken", 'relation "not_pg_shadow" does not exist'),
        ("nobody", "auth_query response contained null user name"),
    ],
)
def test_what_an_operator_got_wrong(pooler: Pooler, database: str, log: str) -> None:
    """The client hears that it is not its fault, the log says what it is, and the server is used again."""
    with pooler.expect_log(log, count=3):
        for _ in range(3):
            assert CONFIG_ERROR in refusal(pooler.dsn(user="q_scram", dbname=database))
    assert whoami(pooler, user="q_scram", dbname="p0") == "q_scram"


def test_console(pooler: Pooler) -> None:
    """Its users are looked up, too; where, auth_dbname has to say."""
    pooler.settings["stats_users"] = "q_scram"
    pooler.configure()
    with pooler.expect_log('cannot use the reserved "pgbouncer" database as an auth_dbname'):
        assert CONFIG_ERROR in refusal(pooler.dsn(user="q_scram", dbname="pgbouncer"))
    pooler.configure(auth_dbname="p0")
    assert pooler.console("SHOW VERSION", user="q_scram")


def test_auth_user_whom_postgres_refuses(pooler: Pooler) -> None:
    """PostgreSQL's words are for the log; a stranger hears nothing of them."""
    with pooler.expect_log("server login failed"):
        assert CONFIG_ERROR in refusal(pooler.dsn(user="q_scram", dbname="refused"))


def test_another_name(pooler: Pooler) -> None:
    """The name that auth_query gives is the one that counts."""
    assert whoami(pooler, user="Q_SCRAM", password="sq", dbname="upper") == "q_scram"


def test_unknown_database_is_not_asked(pooler: Pooler) -> None:
    text = refusal(pooler.dsn(user="nobody", dbname="nowhere", password="x"))
    assert "SASL authentication failed" in text


def test_userlist_comes_first(pooler: Pooler) -> None:
    pooler.passwords["q_scram"] = "listed"
    pooler.configure()
    assert "SASL" in refusal(pooler.dsn(user="q_scram", dbname="forced"))
    assert whoami(pooler, user="q_scram", password="listed", dbname="forced") == "bouncer"


def test_users_section_alone_is_no_entry(pooler: Pooler) -> None:
    pooler.user_options["q_scram"] = "pool_mode=statement"
    pooler.configure()
    try:
        assert whoami(pooler, user="q_scram", dbname="p0") == "q_scram"
        text = "closing because: transaction blocks not allowed in statement pooling mode"
        with pooler.expect_log(text), pytest.raises(psycopg2.OperationalError):
            pooler.sql("BEGIN", user="q_scram", dbname="p0")
    finally:
        pooler.user_options.clear()


def test_protocol_negotiation_is_sent_once(pooler: Pooler) -> None:
    pooler.configure(auth_type="plain")
    with pooler.wire() as wire:
        wire.send(startup("q_scram", "p0", version=(3 << 16) + 99))
        assert [message.type for message in (wire.receive(), wire.receive())] == ["v", "R"]


def test_psycopg3(pooler: Pooler) -> None:
    with psycopg.connect(pooler.dsn(user="q_scram", dbname="p0")) as connection:
        assert connection.execute("SELECT session_user").fetchone() == ("q_scram",)


def test_look_ups_are_hidden_and_leave_nothing(pooler: Pooler) -> None:
    """SHOW CLIENTS has no rows of ours, and afterwards there are none."""
    for _ in range(5):
        assert whoami(pooler, user="q_scram", dbname="forced") == "bouncer"
    assert {row["application_name"] for row in pooler.show("clients")}.isdisjoint({"auth_query"})
    wait_for(lambda: pooler.show("pools", database="forced", user=SUPERUSER)[0]["cl_active"] == 0, 5, "idle")


# Limits.


def test_storm_of_look_ups_keeps_every_limit(make_pooler: Any, pg: Postgres) -> None:
    """Thirty clients at once, on three workers: PostgreSQL sees no connection more than the limits say."""
    pooler = make_pooler(
        workers=3,
        auth_type="trust",
        auth_user=SUPERUSER,
        databases={"p2": "pool_size=2"},
        max_db_connections=3,
    )
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    with Watcher(pg, "datname = 'p2'") as watcher:
        found = at_once(30, lambda i: whoami(pooler, user=("bouncer", "q_none")[i % 2], dbname="p2"))
    assert sorted(set(found)) == ["bouncer", "q_none"]
    assert watcher.most <= 3


def test_slow_look_up_holds_up_nobody_else(make_pooler: Any, pg: Postgres) -> None:
    """One that hangs in its query leaves its server's brothers to others, and ends with its client."""
    slow = (
        "dbname=p2 pool_size=2 auth_query='SELECT rolname, rolpassword FROM pg_authid"
        " WHERE rolname=$1 AND CASE WHEN rolname = ''q_md5'' THEN pg_sleep(600) IS NULL ELSE true END'"
    )
    pooler = make_pooler(
        workers=1, auth_type="trust", auth_user=SUPERUSER, client_login_timeout=8, databases={"p2": slow}
    )
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    with pooler.wire(timeout_s=20) as stuck:
        stuck.send(startup("q_md5", "p2"))
        wait_for(lambda: sleeping(pg), 7, "sleep")
        for _ in range(3):
            assert whoami(pooler, user="q_scram", dbname="p2", password="") == "q_scram"
        assert stuck.expect_error()["M"].startswith("client_login_timeout")
    wait_for(lambda: not sleeping(pg), 10, "its end")


def test_slow_look_ups_keep_nobody_out(make_pooler: Any, pg: Postgres) -> None:
    """More clients than may be in their login wait for PostgreSQL; others log in meanwhile."""
    slow = "dbname=p2 pool_size=2 auth_query='SELECT a, b FROM pg_sleep(600), (VALUES ($1, 1)) AS v (a, b)'"
    pooler = make_pooler(
        workers=1,
        auth_type="trust",
        auth_user=SUPERUSER,
        max_unauthenticated=3,
        databases={"slow": slow, "p2": "user=bouncer"},
    )
    pooler.passwords = {SUPERUSER: "", "bouncer": ""}
    pooler.configure()
    wires = [pooler.wire() for _ in range(12)]
    for wire in wires:
        wire.send(startup("q_scram", "slow"))
    for _ in range(5):
        assert whoami(pooler, user="bouncer", dbname="p2") == "bouncer"
    clients = pooler.show("clients")
    assert {row["application_name"] for row in clients}.isdisjoint({"auth_query"}), "ours are not shown"
    for wire in wires:
        wire.socket.close()
    wait_for(lambda: not sleeping(pg), 10, "the end of what nobody waits for")


def sleeping(pg: Postgres) -> bool:
    return pg.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != []


def test_postgres_restarts(make_pooler: Any, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, auth_type="trust", auth_user=SUPERUSER, databases={"p2": ""})
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    assert whoami(pooler, user="bouncer", dbname="p2") == "bouncer"
    pg.restart()
    wait_for(lambda: _enters(pooler), 10, "a look-up that works again")


def _enters(pooler: Pooler, database: str = "p2") -> bool:
    try:
        return whoami(pooler, user="bouncer", dbname=database) == "bouncer"
    except psycopg2.OperationalError:
        return False


def test_worker_killed_in_the_middle(make_pooler: Any, pg: Postgres) -> None:
    """The row and the server of its look-up come back; others find what they look for."""
    query = "SELECT rolname, rolpassword FROM pg_authid, pg_sleep(0.3) WHERE rolname=$1"
    pooler = make_pooler(
        workers=2, auth_type="trust", auth_user=SUPERUSER, auth_query=query, databases={"p2": "pool_size=2"}
    )
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    assert whoami(pooler, user="bouncer", dbname="p2") == "bouncer"
    wires = [pooler.wire() for _ in range(4)]
    for wire in wires:
        wire.send(startup("bouncer", "p2"))
    killed = pooler.kill_worker(0)
    pooler.wait_for_workers(2, without=killed)
    for wire in wires:
        wire.socket.close()
    assert whoami(pooler, user="bouncer", dbname="p2") == "bouncer"
    wait_for(lambda: len(pg.backends("p2")) <= 4, 10, "no more than both pools may have")


def test_auth_dbname_by_the_star(make_pooler: Any) -> None:
    """It need not be an entry of its own; a password that was found there opens any database."""
    pooler = make_pooler(
        workers=2, auth_type="trust", auth_user=SUPERUSER, auth_dbname="p3", databases={"*": ""}
    )
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    assert pooler.sql("SELECT current_database()", user="q_scram", dbname="p1", password="") == [("p1",)]
    assert [row["user"] for row in pooler.show("pools", database="p3")] == [SUPERUSER]
    assert 'database "nowhere" does not exist' in refusal(pooler.dsn(user="q_scram", dbname="nowhere"))


# The same on PgBouncer.


@pytest.mark.parametrize("method", ["md5", "scram-sha-256", "plain", "trust"])
def test_as_pgbouncer(make_either: Any, pg: Postgres, method: str) -> None:
    bouncer = make_either(
        auth_type=method,
        auth_user=SUPERUSER,
        auth_query="SELECT rolname, rolpassword FROM pg_authid WHERE rolname=$1",
        databases={"p0": "user=bouncer"},
        start=False,
    )
    bouncer.passwords = {SUPERUSER: "secret"}
    bouncer.settings["admin_users"] = SUPERUSER
    bouncer.pg_password = lambda user: "secret" if user == SUPERUSER else ROLES.get(user, "")
    bouncer.start()
    right = {"md5": "q_md5", "scram-sha-256": "q_scram", "plain": "q_scram", "trust": "q_none"}[method]
    assert whoami(bouncer, user=right, dbname="p0") == "bouncer"
    unknown = refusal(bouncer.dsn(user="nobody", password="x", dbname="p0"))
    if method == "trust" or not isinstance(bouncer, Pooler):
        assert NO_USER in unknown
    else:  # PgBouncer tells before it asks for a password
        assert "authentication failed" in unknown
    if method != "trust":
        text = "SASL" if method == "scram-sha-256" else "password"
        wrong = refusal(bouncer.dsn(user=right, password="wrong", dbname="p0"))
        assert f"{text} authentication failed" in wrong
        never = refusal(bouncer.dsn(user="q_none", password="x", dbname="p0"))
        assert ("" if isinstance(bouncer, Pooler) else text) + " authentication failed" in never


def test_extended_protocol_runs_behind_it(pooler: Pooler) -> None:
    """The client's own servers are not those of the look-up."""
    pooler.configure(auth_type="plain")
    with pooler.wire() as wire:
        wire.login("q_scram", "p0", "sq")
        wire.send(extended("SELECT $1::text", b"x") + b"S\0\0\0\4")
        assert wire.receive_until("Z")[3].values == [b"x"]


def test_auth_user_who_is_refused_later(make_pooler: Any, pg: Postgres) -> None:
    """A pool that has worked before: nobody waits until his login times out."""
    pooler = make_pooler(
        workers=2, auth_type="trust", auth_user="suser", query_wait_notify=1, databases={"p0": ""}
    )
    pooler.passwords = {SUPERUSER: "", "suser": "sfoo"}
    pooler.databases["p0"] = "auth_query='SELECT $1, NULL'"
    pooler.configure()
    assert whoami(pooler, user="bouncer", dbname="p0") == "bouncer"
    pooler.passwords["suser"] = "wrong"
    pooler.configure()
    pooler.console("RECONNECT")
    pooler.console("WAIT_CLOSE")
    with pooler.expect_log('password authentication failed for user "suser"'):
        assert CONFIG_ERROR in refusal(pooler.dsn(user="bouncer", dbname="p0"))
    pooler.passwords["suser"] = "sfoo"
    pooler.configure()
    wait_for(lambda: _enters(pooler, "p0"), 10, "a look-up that works again")


def test_the_search_path_of_the_database_does_not_count(
    running_postgres: Postgres, start_pooler: StartPooler
) -> None:
    """Its owner is no superuser, and may give its sessions any; the look-up runs as one who is."""
    running_postgres.sql("CREATE DATABASE owned OWNER bouncer")
    running_postgres.sql(
        "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;"
        "CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS"
        " 'BEGIN RAISE LOG ''evil.now was called''; RETURN pg_catalog.now(); END';"
        "ALTER DATABASE owned SET search_path = evil, pg_catalog",
        dbname="owned",
        user="bouncer",
    )
    pooler = start_pooler(
        kind=AskingForRoles,
        workers=1,
        auth_type="scram-sha-256",
        auth_user=SUPERUSER,
        databases={"owned": ""},
    )
    running_postgres.new_log()
    with pooler.connect(dbname="owned", user="q_scram", password="sq") as connection:
        connection.cursor().execute("SELECT 1")
    assert "evil.now was called" not in running_postgres.new_log()
