"""The console: every command's answer, message by message."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.pgbouncer.subjects import NEVER, POOLERS, made_of_each, on_all, on_each, release_of, told
from tests.support.exchange import pooled
from tests.support.health import wait_until_nobody_reads
from tests.support.pooler import Bouncer, Pooler
from tests.support.processes import wait_for
from tests.support.wire import LoginRefused, Wire, query, startup

BOUNCER = {"databases": {"p0": "pool_size=3", "p1": "", "p2": "user=bouncer", "*": ""}}


@dataclass(frozen=True)
class Said:
    """A conversation with the console: each command with its whole answer."""

    turns: tuple[tuple[str, str], ...]
    since: str = "1.18"
    user: str = "postgres"
    until: str = NEVER

    @property
    def name(self) -> str:
        return "; ".join(command for command, _ in self.turns)[:60] or "nothing"


def one(command: str, answer: str, since: str = "1.18", user: str = "postgres", until: str = NEVER) -> Said:
    return Said(((command, answer),), since, user, until)


def row(name: str, value: str) -> str:
    """The answer of a SHOW with one text."""
    return f"T {name}:25, D {value}, C SHOW"


def error(text: str) -> str:
    return f"E ERROR 08P01 {text}"


def invalid(command: str) -> Said:
    return one(command, error(f"invalid command '{command}', use SHOW HELP;"))


def pretended(name: str, value: str) -> list[Said]:
    return [
        one(f"SHOW {name}", row(name, value)),
        one(f"SET {name} = 'x'", "N NOTICE 00000 SET ignored, C SET"),
        one(f"SET {name} TO x", "N NOTICE 00000 SET ignored, C SET", user="bouncer"),
    ]


GRAMMAR = [
    *map(
        invalid,
        [
            *["", ";", "NONSENSE", "SHOW", "SHOW NONSENSE", "SHOW POOLS x", "SHOW STATS p0", "SHOW 'pools'"],
            *["SELECT 1", "select 1;", "SHOW STATE; SHOW STATE", "show pools -- all", "/* */ SHOW POOLS"],
            *["SET stats_period 30", "SET stats_period = ", "SHUTDOWN x", "SHUTDOWN NOW", "RELOAD x"],
        ],
    ),
    one("  show\tversion \n ; ", "T version:25, D *, C SHOW"),
    one('"show" "version"', "T version:25, D *, C SHOW"),
    one("SELECT version", "T version:25, D *, C SHOW"),
    one("SHOW HELP", "N NOTICE 00000 Console usage, C SHOW"),
    # What drivers and tools send before they ask, and PgBouncer does not understand.
    *map(
        invalid,
        [
            *["BEGIN", "SELECT version()", "SHOW transaction_read_only", "SHOW search_path"],
            *["SHOW TRANSACTION ISOLATION LEVEL", "SELECT current_schema()", "DISCARD ALL"],
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ],
    ),
    *pretended("client_encoding", "UTF-8"),
    *pretended("default_transaction_isolation", "read committed"),
    *pretended("standard_conforming_strings", "on"),
    *pretended("datestyle", "ISO"),
    *pretended("timezone", "GMT"),
]

SET = [
    one("SET stats_period=61", "C SET stats_period=61"),
    one("SET stats_period TO 62", "C SET stats_period=62"),
    one("set stats_period = '63';", "C SET stats_period=63"),
    one('SET "stats_period" = 0x40', "C SET stats_period=0x40"),
    one("SET server_check_query = 'SELECT ''x'''", "C SET server_check_query=SELECT 'x'"),
    one("SET server_check_query = ''", "C SET server_check_query="),
    one("SET listen_port=1", "C SET listen_port=1"),
    *(
        one(f"SET {text}", error("SET failed"))
        for text in (
            *["nonsense = 1", "stats_period = x", "pool_mode = x", "Stats_Period = 30"],
            *["application_name = 'x'", "stats_period = '6 '"],
        )
    ),
    one(f"SET server_check_query = '{'x' * 300}'", error("bad arguments")),
]

ORDERS = [
    Said(
        (
            ("RESUME", error("pooler is not paused/suspended")),
            ("RESUME p0", error("database p0 is not paused")),
        ),
        until="1.26",  # has no SUSPEND, and its texts no longer speak of it
    ),
    Said((("PAUSE", "C PAUSE"), ("RESUME", "C RESUME"), ("RESUME p0", error("database p0 is not paused")))),
    Said(
        (
            ("PAUSE", "C PAUSE"),
            ("PAUSE", error("already suspended/paused")),
            ("PAUSE p0", error("already suspended/paused")),
            ("SUSPEND", error("already suspended/paused")),
            ("KILL p0", error("already suspended/paused")),
            ("RESUME p0", error("database p0 is not paused")),
            ("RESUME;", "C RESUME"),
            ("RESUME", error("pooler is not paused/suspended")),
        ),
        until="1.26",
    ),
    Said(
        (
            ("PAUSE p0", "C PAUSE"),
            ("PAUSE p0", "C PAUSE"),
            ("resume P0", error("no such database: P0")),
            ('RESUME "p0"', "C RESUME"),
        )
    ),
    Said(
        (
            ("PAUSE p0", "C PAUSE"),
            ("SUSPEND", error("cannot suspend with paused databases")),
            ("RESUME", error("pooler is not paused/suspended")),
            ("RESUME p0", "C RESUME"),
        ),
        until="1.26",
    ),
    Said((("PAUSE made_by_star", "C PAUSE"), ("RESUME made_by_star", "C RESUME"))),
    one("SUSPEND", "C SUSPEND", until="1.26"),
    Said(
        (("SUSPEND", "C SUSPEND"), ("PAUSE", error("already suspended/paused")), ("RESUME", "C RESUME")),
        until="1.26",
    ),
    Said((("KILL p0", "C KILL"), ("KILL p0", "C KILL"), ("RESUME p0", "C RESUME"))),
    Said((("KILL of_star", "C KILL"), ("RESUME of_star", "C RESUME"))),
    Said((("DISABLE p1", "C DISABLE"), ("DISABLE p1", "C DISABLE"), ("ENABLE p1", "C ENABLE"))),
    Said((("DISABLE of_star2", "C DISABLE"), ("ENABLE of_star2", "C ENABLE"))),
    *(one(f"{word}", f"C {word}") for word in ("RECONNECT", "WAIT_CLOSE", "RELOAD")),
    *(one(f"{word} p0", f"C {word}") for word in ("RECONNECT", "WAIT_CLOSE", "ENABLE")),
    *(one(word, error("a database is required")) for word in ("DISABLE", "ENABLE")),
    *(
        one(f"{word} pgbouncer", error(f"cannot {what} admin db: pgbouncer"))
        for word, what in (
            *[("PAUSE", "pause"), ("KILL", "kill"), ("RECONNECT", "reconnect"), ("WAIT_CLOSE", "wait in")],
            ("DISABLE", "disable"),
        )
    ),
    one("ENABLE pgbouncer", error("cannot disable admin db: pgbouncer"), until="1.26"),  # says "enable"
    one("RESUME pgbouncer", error("database pgbouncer is not paused")),
    one("RESUME never_named", error("no such database: never_named")),
    one("ENABLE never_named", error("no such database: never_named")),
    one(f"PAUSE {'x' * 64}", error("bad arguments")),
    one(f"{'x' * 20} p0", error("bad arguments")),
    one("KILL_CLIENT", error("invalid client pointer supplied"), since="1.24"),
    one("KILL_CLIENT x", error("invalid client pointer supplied"), since="1.24"),
    one("KILL_CLIENT 999999", error("client not found"), since="1.24"),
]

FORBIDDEN = [
    one(command, error("admin access needed"), user="bouncer")
    for command in (
        *["RELOAD", "PAUSE", "PAUSE p0", "RESUME", "RESUME p0", "KILL p0", "RECONNECT"],
        *["RECONNECT p0", "WAIT_CLOSE", "WAIT_CLOSE p0", "DISABLE p0", "ENABLE p0"],
        *["SHUTDOWN", "SET stats_period = 30", "SET nonsense = 1", "PAUSE nowhere", "DISABLE"],
    )
] + [
    one("KILL_CLIENT 1", error("admin access needed"), since="1.25", user="bouncer"),
    one("SUSPEND", error("admin access needed"), user="bouncer", until="1.26"),
    one("SHOW FDS", error("admin access needed"), user="bouncer", until="1.26"),
]


@on_all([*GRAMMAR, *SET, *ORDERS, *FORBIDDEN])
def test_answers(subject: Bouncer, case: Said) -> None:
    with subject.wire().login(user=case.user, database="pgbouncer") as wire:
        for command, expected in case.turns:
            got = [told(message) for message in wire.query(command)]
            assert got[-1] == "Z I"
            answer = ", ".join("D *" if "D *" in expected and line[:2] == "D " else line for line in got[:-1])
            assert answer == expected, command
        wire.close()


@on_each()
def test_no_such_database_without_a_star(subject: Bouncer) -> None:
    """With `*` any name is a database; a name that is too long for one never is."""
    name = "x" * 63
    with subject.wire().login(user="postgres", database="pgbouncer") as wire:
        for word in ("RESUME", "ENABLE"):
            assert told(wire.query(f"{word} {name}")[0]) == error(f"no such database: {name}")
        wire.close()


WELCOME = {
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "DateStyle": "ISO",
    "TimeZone": "GMT",
    "standard_conforming_strings": "on",
    "is_superuser": "on",
}


@on_each()
def test_welcome(subject: Bouncer) -> None:
    with subject.wire().login(user="postgres", database="pgbouncer") as wire:
        version = wire.parameters.pop("server_version")
        assert version.endswith("/bouncer")
        if release_of(subject) >= (1, 26):  # tells it once more
            assert version == wire.parameters.pop("pgbouncer.version") + "/bouncer"
        assert wire.parameters == WELCOME
        wire.close()


@on_each()
def test_own_user_over_the_unix_socket_is_admin(subject: Bouncer) -> None:
    """Under the program's own uid `pgbouncer` needs no password; the harness's psql runs as that account."""
    psql = [subject.pg.programs / "psql", "-X", "-h", subject.directory, "-p", str(subject.port)]
    done = subprocess.run(
        [*map(str, psql), "-U", "pgbouncer", "-c", "RECONNECT", "pgbouncer"],
        capture_output=True, text=True, timeout=20, **subject.owner.identity(),
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("RECONNECT", "")


@on_each()
def test_others_are_not_let_in(subject: Bouncer) -> None:
    with subject.wire() as wire:
        with pytest.raises(LoginRefused) as refused:
            wire.login(user="limited", database="pgbouncer")
        sqlstate = "28000" if isinstance(subject, Pooler) else "08P01"
        assert told(refused.value.error) == f"E FATAL {sqlstate} not allowed"


# Orders that act.


def console(bouncer: Bouncer) -> Wire:
    return bouncer.wire().login(user="postgres", database="pgbouncer")


@made_of_each()
def test_pause_of_a_database(start: Callable[..., Bouncer]) -> None:
    """Waits for the transaction; who asks meanwhile waits, and gets its answer after RESUME."""
    bouncer = start()
    with (
        pooled(bouncer) as busy,
        pooled(bouncer) as late,
        pooled(bouncer, "p1") as other,
        console(bouncer) as order,
    ):
        busy.query("BEGIN")
        order.send(query("PAUSE p0"))
        order.expect_silence(0.3)
        late.send(query("SELECT 'late'"))
        late.expect_silence(0.3)
        assert other.rows("SELECT 1") == [[b"1"]]
        busy.query("COMMIT")
        assert [told(m) for m in order.receive_until("Z")] == ["C PAUSE", "Z I"]
        assert [told(m) for m in order.query("RESUME p0")] == ["C RESUME", "Z I"]
        assert late.expect("TDCZ")[1].values == [b"late"]
        for wire in (busy, late, other, order):
            wire.close()


@made_of_each(until="1.26")
def test_suspend(start: Callable[..., Bouncer]) -> None:
    """Nothing is read and nothing forwarded, on either side, until RESUME; then all of it goes on."""
    bouncer = start()
    with pooled(bouncer) as idle, pooled(bouncer) as busy, console(bouncer) as order:
        busy.query("BEGIN")
        assert told(order.query("SUSPEND")[0]) == "C SUSPEND"
        idle.send(query("SELECT 'idle'"))
        busy.send(query("SELECT 'busy'"))
        idle.expect_silence(0.3)
        busy.expect_silence(0.3)
        assert told(order.query("RESUME")[0]) == "C RESUME"
        assert idle.expect("TDCZ")[1].values == [b"idle"]
        assert busy.expect("TDCZ")[1].values == [b"busy"]
        for wire in (idle, busy, order):
            wire.close()


@made_of_each(until="1.26")
def test_suspend_ends_with_its_session(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with pooled(bouncer) as idle, console(bouncer) as order:
        assert told(order.query("SUSPEND")[0]) == "C SUSPEND"
        idle.send(query("SELECT 1"))
        idle.expect_silence(0.3)
        order.close()
        assert idle.expect("TDCZ")[1].values == [b"1"]
        idle.close()


@made_of_each(until="1.26")
def test_suspend_ends_by_another_session(start: Callable[..., Bouncer]) -> None:
    """Nobody is accepted meanwhile, but any session of the console that is there already may RESUME."""
    bouncer = start()
    with pooled(bouncer) as idle, console(bouncer) as order, console(bouncer) as other:
        assert told(order.query("SUSPEND")[0]) == "C SUSPEND"
        with bouncer.wire() as late:
            late.send(startup(user="bouncer", database="p0"))
            late.expect_silence(0.3)
            idle.send(query("SELECT 1"))
            idle.expect_silence(0.3)
            assert told(other.query("RESUME")[0]) == "C RESUME"
            assert idle.expect("TDCZ")[1].values == [b"1"]
            late.receive_until("Z")
            late.close()
        assert told(other.query("PAUSE")[0]) == "C PAUSE"
        order.close()  # not its affair any more: the PAUSE holds
        assert told(other.query("RESUME")[0]) == "C RESUME"
        idle.close()
        other.close()


@made_of_each(subjects=POOLERS)
def test_suspend_timeout(start: Callable[..., Bouncer]) -> None:
    """A client that does not read what it asked for cannot be flushed: it is closed."""
    bouncer = start(suspend_timeout=1)
    with pooled(bouncer) as deaf, pooled(bouncer) as other, console(bouncer) as order:
        deaf.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
        wait_until_nobody_reads(bouncer.pg)
        with bouncer.expect_log("closing because: suspend_timeout"):
            assert told(order.query("SUSPEND")[0]) == "C SUSPEND"
        assert told(order.query("RESUME")[0]) == "C RESUME"
        assert other.rows("SELECT 1") == [[b"1"]]
        other.close()
        order.close()


@made_of_each()
def test_kill(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with pooled(bouncer) as busy, pooled(bouncer, "p1") as other, console(bouncer) as order:
        busy.query("BEGIN")
        assert told(order.query("KILL p0")[0]) == "C KILL"
        assert told(busy.receive_until("E")[-1]) == "E FATAL 08P01 database removed"
        busy.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]
        assert [row["paused"] for row in bouncer.show("databases", name="p0")] == [1]
        assert told(order.query("RESUME p0")[0]) == "C RESUME"
        assert bouncer.sql("SELECT 1") == [(1,)]
        other.close()
        order.close()


@made_of_each(since="1.25")
def test_kill_of_all(start: Callable[..., Bouncer]) -> None:
    """PgBouncer pauses each database that has a pool; pooler, as PAUSE, all that there are and will be."""
    bouncer = start(databases={"p0": ""})
    with pooled(bouncer) as busy, console(bouncer) as order:
        busy.query("BEGIN")
        assert told(order.query("KILL")[0]) == "C KILL"
        assert told(busy.receive_until("E")[-1]) == "E FATAL 08P01 database removed"
        busy.expect_closed()
        resume = "RESUME" if bouncer.name == "pooler" else "RESUME p0"
        assert told(order.query(resume)[0]) == "C RESUME"
        assert bouncer.sql("SELECT 1") == [(1,)]
        order.close()


@made_of_each(since="1.24")
def test_kill_client(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with pooled(bouncer) as victim, pooled(bouncer) as other, console(bouncer) as order:
        port = victim.socket.getsockname()[1]
        (found,) = [row for row in bouncer.show("clients", database="p0") if row["port"] == port]
        assert told(order.query(f"KILL_CLIENT {found['id']}")[0]) == "C KILL_CLIENT"
        assert told(victim.receive_until("E")[-1]) == "E FATAL 08P01 admin forced disconnect"
        victim.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]
        other.close()
        order.close()


@made_of_each()
def test_disable_and_enable(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with pooled(bouncer) as inside, console(bouncer) as order:
        order.query("DISABLE p0")
        with bouncer.wire() as wire, pytest.raises(LoginRefused) as refused:
            wire.login()
        assert told(refused.value.error) == 'E FATAL 08P01 database "p0" is disabled'
        assert inside.rows("SELECT 1") == [[b"1"]]
        order.query("ENABLE p0")
        assert bouncer.sql("SELECT 1") == [(1,)]
        inside.close()
        order.close()


@made_of_each()
def test_reconnect_and_wait_close(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    pid = "SELECT pg_backend_pid()"
    with pooled(bouncer) as busy, console(bouncer) as order, console(bouncer) as waits:
        busy.query("BEGIN")
        old = busy.rows(pid)
        assert told(order.query("RECONNECT p0")[0]) == "C RECONNECT"
        waits.send(query("WAIT_CLOSE p0"))
        waits.expect_silence(0.3)
        assert busy.rows(pid) == old
        busy.query("COMMIT")
        assert told(waits.receive_until("Z")[0]) == "C WAIT_CLOSE"
        assert busy.rows(pid) != old
        for wire in (busy, order, waits):
            wire.close()


@made_of_each()
def test_shutdown_closes_without_an_answer(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with console(bouncer) as order:
        order.send(query("SHUTDOWN"))
        order.expect_closed()
    assert bouncer.wait() == 0


@made_of_each(since="1.23")
@pytest.mark.parametrize("mode", ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
def test_shutdown_waits(start: Callable[..., Bouncer], mode: str) -> None:
    bouncer = start()
    with pooled(bouncer) as busy, console(bouncer) as order:
        busy.query("BEGIN")
        assert [told(m) for m in order.query(f"SHUTDOWN {mode}")] == ["C SHUTDOWN", "Z I"]
        assert told(order.query("RESUME")[0]) == error("pooler is shutting down")
        order.close()
        assert busy.rows("SELECT 1") == [[b"1"]]
        assert bouncer.is_running
        busy.query("COMMIT")
        busy.close()
    wait_for(lambda: not bouncer.is_running, 5, "its end")
    assert bouncer.wait() == 0


# What dashboards add up.


@made_of_each(since="1.23")
def test_the_console_is_counted(start: Callable[..., Bouncer]) -> None:
    """SHOW STATS has a row for it: its logins, and each command, the one that asks included."""
    bouncer = start()

    def counted() -> int:
        (row,) = bouncer.show("stats", database="pgbouncer")
        assert row["total_xact_count"] == row["total_query_count"]
        assert row["total_server_assignment_count"] == 0
        return int(row["total_query_count"])

    before = counted()
    bouncer.console("SHOW VERSION")
    assert counted() == before + 2
    totals = {row["name"]: int(row["value"]) for row in bouncer.show("totals")}
    assert totals["total_xact_count"] == before + 3


@on_each()
def test_version_is_that_of_the_program(subject: Bouncer) -> None:
    said = subprocess.run([*subject.command().argv, "--version"], capture_output=True, text=True, timeout=20)
    ((shown,),) = [tuple(row.values()) for row in subject.show("version")]
    assert shown == said.stdout.splitlines()[0]
