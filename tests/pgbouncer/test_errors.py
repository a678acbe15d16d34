"""What a client is refused with, and what ends it: severity, SQLSTATE and text."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest

from tests.pgbouncer.subjects import made_of_each, on_all, on_each, own, told
from tests.support.crowd import refusal
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import LoginRefused, parse, query, startup, untyped

BOUNCER = {
    "databases": {
        "p0": "",
        "p1": "",
        "forced": "dbname=p0 user=puser password=wrong",
        "nowhere": "dbname=not_there",
        "known": "dbname=p0 user=unknown_role",
    },
    "server_login_retry": 1,
}


def fatal(text: str, sqlstate: str = "08P01") -> str:
    return f"E FATAL {sqlstate} {text}"


#: PgBouncer's texts that pooler gives the SQLSTATE of PostgreSQL.
SQLSTATES = {
    "no such database: nope": "3D000",
    '"trust" authentication failed': "28000",
    "not allowed": "28000",
}


def as_told_by(subject: Bouncer, answer: str) -> str:
    """An answer of PgBouncer's, as this subject gives it."""
    sqlstate = SQLSTATES.get(answer.removeprefix("E FATAL 08P01 "))
    return answer.replace("08P01", sqlstate) if sqlstate and isinstance(subject, Pooler) else answer


@dataclass(frozen=True)
class Refused:
    """A startup packet and its answer."""

    name: str
    answer: str
    parameters: dict[str, Any] = field(default_factory=dict)
    packet: bytes = b""
    since: str = "1.18"


def refused(name: str, answer: str, since: str = "1.18", **parameters: str) -> Refused:
    return Refused(name, answer, parameters, since=since)


def raw(name: str, answer: str, packet: bytes, since: str = "1.18") -> Refused:
    return Refused(name, answer, packet=packet, since=since)


OPTIONS = "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
V3 = 3 << 16

STARTUP = [
    refused("no such database", fatal("no such database: nope"), database="nope"),
    refused("no such user", fatal('"trust" authentication failed'), user="nope"),
    refused("no database before the user is known", fatal('"trust" authentication failed'), user="nope",
            database="nope"),
    refused("console for others", fatal("not allowed"), user="limited", database="pgbouncer"),
    refused("database is not there", fatal('database "not_there" does not exist', "3D000"), "1.20",
            database="nowhere"),
    refused("role is not there", fatal('role "unknown_role" does not exist', "28000"), "1.20",
            database="known"),
    refused("wrong password for PostgreSQL",
            fatal('password authentication failed for user "puser"', "28P01"), "1.20", database="forced"),
    refused("options of another kind", fatal(OPTIONS), "1.20", options="-x y"),
    refused("user too long", fatal("username too long"), "1.25", user="u" * 128),
    raw("no user", fatal("no username supplied"), untyped(V3, b"database\0p0\0\0")),
    raw("protocol 2", fatal("old V2 protocol not supported"), untyped(2 << 16, b"x" * 288)),
]  # fmt: skip


@on_all(STARTUP)
def test_startup(subject: Bouncer, case: Refused) -> None:
    with subject.wire() as wire:
        wire.send(case.packet or startup(**case.parameters))
        answer = wire.receive_until("E")[-1]
        assert told(answer) == as_told_by(subject, case.answer)
        assert [message for message in answer.fields if message in "SVCM"][:1] == ["S"]
        wire.expect_closed()


@made_of_each(since="1.20")
def test_unknown_startup_parameter(start: Callable[..., Bouncer]) -> None:
    """Where session state does not follow its client: as PgBouncer."""
    bouncer = start(**own(start, session_state="off"))
    for parameters, text in (
        ({"work_mem": "1MB"}, "unsupported startup parameter: work_mem"),
        ({"options": "-c work_mem=1MB"}, "unsupported startup parameter in options: work_mem"),
    ):
        with bouncer.wire() as wire, pytest.raises(LoginRefused) as error:
            wire.login(**parameters)
        assert told(error.value.error) == fatal(text)
    bouncer.console("SET ignore_startup_parameters = 'work_mem, options'")
    for parameters, _ in ({"work_mem": "1MB"}, ""), ({"options": "-c work_mem=1MB"}, ""):
        with bouncer.wire().login(**parameters) as wire:
            assert wire.rows("SHOW work_mem") == [[b"4MB"]]
            wire.close()


@on_each()
def test_encryption_is_declined(subject: Bouncer) -> None:
    for code in (80877103, 80877104):
        with subject.wire() as wire:
            wire.send(untyped(code))
            assert wire.read_exactly(1) == b"N"
            wire.login()
            wire.close()


@on_each()
def test_unknown_message(subject: Bouncer) -> None:
    with pooled(subject) as wire:
        wire.send(b"?" + struct.pack("!I", 4))
        assert told(wire.receive_until("E")[-1]) == fatal("unknown pkt")
        wire.expect_closed()


def until_up(bouncer: Bouncer) -> None:
    """Starts one whose console the harness could not ask."""
    bouncer.launch()
    wait_for(lambda: bouncer.log.exists() and "process up" in bouncer.log.read_text(), 10, "readiness")


@made_of_each()
def test_passwords(start: Callable[..., Bouncer]) -> None:
    """One text for every reason, so that nobody learns which users there are."""
    for auth_type, text in (
        ("plain", "password authentication failed"),
        ("md5", "password authentication failed"),
        ("scram-sha-256", "SASL authentication failed"),
    ):
        bouncer = start(start=False, auth_type=auth_type, auth_query=None)
        until_up(bouncer)
        for user in ("suser", "nobody_knows", "bouncer"):
            dsn = bouncer.dsn(user=user, password="wrong")
            assert text in refusal(dsn), (auth_type, user)
        bouncer.stop()


# Limits.


@made_of_each()
def test_max_client_conn(start: Callable[..., Bouncer]) -> None:
    bouncer = start(max_client_conn=2)
    with pooled(bouncer) as one, pooled(bouncer) as two, bouncer.wire() as three:
        with pytest.raises(LoginRefused) as error:
            three.login()
        assert told(error.value.error) == fatal("no more connections allowed (max_client_conn)")
        assert bouncer.show("version"), "the console has no limit"
        one.close()
        two.close()


@made_of_each(since="1.24")
@pytest.mark.parametrize("which", ["max_db_client_connections", "max_user_client_connections"])
def test_other_limits_of_clients(start: Callable[..., Bouncer], which: str) -> None:
    bouncer = start(**{which: 1})
    with pooled(bouncer) as one, bouncer.wire() as two:
        with pytest.raises(LoginRefused) as error:
            two.login()
        assert told(error.value.error) == fatal(f"client connections exceeded ({which})")
        one.close()


# Timeouts.


@dataclass(frozen=True)
class Timeout:
    """A setting of one second, what the client does before, and what it hears."""

    name: str
    before: tuple[str, ...]
    text: str
    since: str = "1.18"


TIMEOUTS = [
    Timeout("query_timeout", ("SELECT pg_sleep(20)",), "query timeout"),
    Timeout("idle_transaction_timeout", ("BEGIN",), "idle transaction timeout"),
    Timeout("transaction_timeout", ("BEGIN", "SELECT pg_sleep(20)"), "transaction timeout", "1.25"),
    Timeout("client_idle_timeout", ("SELECT 1",), "client_idle_timeout"),
]


@pytest.mark.parametrize("case", TIMEOUTS, ids=lambda case: str(case.name))
@made_of_each()
def test_timeouts(start: Callable[..., Bouncer], case: Timeout) -> None:
    bouncer = start(**{case.name: 1})
    with pooled(bouncer) as wire:
        for text in case.before[:-1]:
            wire.query(text)
        wire.send(query(case.before[-1]))
        assert told(wire.receive_until("E")[-1]) == fatal(case.text)
        wire.expect_closed()


@dataclass(frozen=True)
class Waits:
    """A setting that ends a wait of a second."""

    name: str
    since: str = "1.18"


WAITS = [Waits("query_wait_timeout"), Waits("query_timeout", "1.25")]


@pytest.mark.parametrize("case", WAITS, ids=lambda case: str(case.name))
@made_of_each()
def test_waiting_too_long(start: Callable[..., Bouncer], case: Waits) -> None:
    which = case.name
    bouncer = start(databases={"p0": "pool_size=1"}, **{which: 1})
    with pooled(bouncer) as busy, pooled(bouncer) as waits:
        busy.query("BEGIN")
        waits.send(query("SELECT 1"))
        assert told(waits.receive_until("E")[-1]) == fatal(which)
        waits.expect_closed()
        busy.query("ROLLBACK")
        busy.close()


@made_of_each(since="1.25")
def test_a_notice_for_who_waits(start: Callable[..., Bouncer]) -> None:
    bouncer = start(databases={"p0": "pool_size=1"}, query_wait_notify=1)
    with pooled(bouncer) as busy, pooled(bouncer) as waits:
        busy.query("BEGIN")
        waits.send(query("SELECT 1"))
        text = "No server connection available in postgres backend, client being queued"
        assert told(waits.receive()) == f"N NOTICE 00000 {text}"
        busy.query("COMMIT")
        waits.expect("TDCZ")
        busy.close()
        waits.close()


@made_of_each()
def test_client_login_timeout(start: Callable[..., Bouncer]) -> None:
    bouncer = start(client_login_timeout=1)
    with bouncer.wire() as wire:
        assert told(wire.receive_until("E")[-1]) == fatal("client_login_timeout")
        wire.expect_closed()


# Running sessions.


@made_of_each()
def test_statement_pooling(start: Callable[..., Bouncer]) -> None:
    bouncer = start(pool_mode="statement")
    with pooled(bouncer) as wire:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.send(query("BEGIN"))
        text = "transaction blocks not allowed in statement pooling mode"
        assert told(wire.receive_until("E")[-1]) == fatal(text)
        wire.expect_closed()


@made_of_each()
def test_disable_pqexec(start: Callable[..., Bouncer]) -> None:
    bouncer = start(start=False, disable_pqexec=1)
    until_up(bouncer)
    with pooled(bouncer) as wire:
        wire.send(query("SELECT 1"))
        assert told(wire.receive_until("E")[-1]) == fatal("PQexec disallowed")
        wire.expect_closed()


@on_each()
def test_a_terminated_backend(subject: Bouncer) -> None:
    """PostgreSQL's own words pass, then the client is closed."""
    with pooled(subject, "p1") as wire:
        wire.query("BEGIN")
        subject.pg.terminate_backends("p1")
        answer = wire.receive_until("E")[-1]
        assert told(answer) == fatal("terminating connection due to administrator command", "57P01")
        if subject.name == "pgbouncer":  # adds its own words
            assert told(wire.receive()) == fatal("server conn crashed?")
        wire.expect_closed()


@on_each()
def test_a_crashed_backend(subject: Bouncer) -> None:
    with pooled(subject, "p1") as wire:
        wire.query("BEGIN")
        ((pid,),) = wire.rows("SELECT pg_backend_pid()")
        assert pid is not None
        subject.pg.new_log()
        subject.pg.kill_backend(int(pid))
        assert told(wire.receive_until("E")[-1]) == fatal("server conn crashed?")
        wire.expect_closed()
    subject.pg.ensure_running()
    log = ""

    def noticed() -> bool:
        nonlocal log
        log += subject.pg.new_log()
        return "reinitializing" in log

    wait_for(noticed, 60, "that PostgreSQL notices")  # until then it may let somebody in
    wait_for(lambda: serves(subject.pg), 60, "recovery")
    wait_for(lambda: serves(subject), 20, "the pool")


def serves(asked: Bouncer | Postgres) -> bool:
    """PostgreSQL has got over the crash; until then it ends whatever is there."""
    try:
        return asked.sql("SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


@made_of_each(since="1.21")
def test_oversized_packet(start: Callable[..., Bouncer]) -> None:
    bouncer = start(max_packet_size=1000)
    with pooled(bouncer) as wire:
        wire.send(parse("SELECT 1" + " " * 2000))
        assert wire.receive_until("E")[-1].fields["S"] == "FATAL"
        wire.expect_closed()
