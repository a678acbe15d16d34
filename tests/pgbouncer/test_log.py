"""The log: the lines that operators and their tools look for, with level and place in the line."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

from tests.pgbouncer.subjects import made_of_each, on_each, release_of
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer
from tests.support.processes import wait_for
from tests.support.wire import LoginRefused, query

BOUNCER = {
    "server_login_retry": 1,
    "databases": {"p0": "pool_size=3", "p1": "", "nowhere": "dbname=not_there", "*": ""},
}

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] "
ADDRESS = r"127\.0\.0\.1:\d+"


def client(who: str, where: str = ADDRESS) -> str:
    """How a line about a client begins: ids are hexadecimal in PgBouncer, numbers in pooler."""
    return rf"C-(?:0x[0-9a-f]+|\d+): {re.escape(who)}@{where} "


def server(who: str, where: str = ADDRESS) -> str:
    return rf"S-(?:0x[0-9a-f]+|\d+): {re.escape(who)}@{where} "


def attempt(subject: Bouncer, user: str) -> str:
    """PgBouncer says since 1.24 whether replication is wanted."""
    end = " replication=no" if release_of(subject) >= (1, 24) else ""
    return f"login attempt: db=p0 user={user} tls=no{end}"


def lines(bouncer: Bouncer, *patterns: str) -> list[str]:
    """Waits until the log has a line for each pattern, in this order, since the last look; these lines."""
    text = ""

    def found() -> list[str]:
        nonlocal text
        text += bouncer.new_log()
        rest, matched = iter(text.splitlines()), []
        for pattern in patterns:
            line = next((one for one in rest if re.fullmatch(STAMP + pattern, one)), None)
            if line is None:
                return []
            matched.append(line)
        return matched

    wait_for(lambda: bool(found()), 10, f"{patterns} in\n{text}")
    return found()


@on_each()
def test_a_client_and_its_server(subject: Bouncer) -> None:
    subject.new_log()
    with pooled(subject) as wire:
        wire.query("SELECT 1")
        wire.close()
    lines(
        subject,
        "LOG " + client("p0/bouncer") + attempt(subject, "bouncer"),
        "LOG " + server("p0/bouncer") + rf"new connection to server \(from {ADDRESS}\)",
        "LOG " + client("p0/bouncer") + r"closing because: client close request \(age=0s\)",
    )


@on_each()
def test_a_client_over_the_unix_socket(subject: Bouncer) -> None:
    subject.new_log()
    with pooled(subject, unix=True) as wire:
        wire.query("SELECT 1")
        wire.socket.close()
    where = rf"unix\(\d+\):{subject.port}"
    lines(
        subject,
        "LOG " + client("p0/bouncer", where) + attempt(subject, "bouncer"),
        "LOG " + client("p0/bouncer", where) + r"closing because: client unexpected eof \(age=0s\)",
    )


def with_passwords(start: Callable[..., Bouncer]) -> Bouncer:
    """One that asks for md5 passwords, also on its console."""
    bouncer = start(start=False, auth_type="md5")
    bouncer.launch()
    wait_for(
        lambda: "process up" in (bouncer.log.read_text() if bouncer.log.exists() else ""), 10, "readiness"
    )
    return bouncer


def refused(bouncer: Bouncer, **login: str) -> None:
    with bouncer.wire() as wire, pytest.raises(LoginRefused):
        wire.login(**login)


@made_of_each()
def test_a_wrong_password(start: Callable[..., Bouncer]) -> None:
    subject = with_passwords(start)
    refused(subject, user="muser", password="wrong")
    text = "password authentication failed"
    lines(
        subject,
        "LOG " + client("p0/muser") + attempt(subject, "muser"),
        "LOG " + client("p0/muser") + rf"closing because: {text} \(age=0s\)",
        "WARNING " + client("p0/muser") + f"pooler error: {text}",
    )


@made_of_each()
def test_an_unknown_user(start: Callable[..., Bouncer]) -> None:
    subject = with_passwords(start)
    refused(subject, user="nobody_knows", password="x")
    who = r"C-(?:0x[0-9a-f]+|\d+): \S+/nobody_knows@" + ADDRESS + " "
    lines(
        subject,
        "LOG " + who + attempt(subject, "nobody_knows"),
        "LOG " + who + r"closing because: password authentication failed \(age=0s\)",
        "WARNING " + who + "pooler error: password authentication failed",
    )


@on_each()
def test_what_postgres_refuses(subject: Bouncer) -> None:
    subject.new_log()
    refused(subject, database="nowhere")
    text = 'database "not_there" does not exist'
    lines(subject, rf"WARNING .*server login failed: FATAL {text}")
    subject.new_log()
    refused(subject, database="nowhere")
    lines(
        subject,
        "LOG " + client("nowhere/bouncer") + rf"closing because: {text} \(age=\d+s\)",
        "WARNING " + client("nowhere/bouncer") + f"pooler error: {text}",
    )


@on_each()
def test_a_failed_login_closes_the_server(subject: Bouncer) -> None:
    """PgBouncer 1.24 says why, in PostgreSQL's words, and has no `db=`."""
    newer = release_of(subject) >= (1, 24)
    name = "other_not_there" if newer else "db=other_not_there"
    reason = 'database "other_not_there" does not exist' if newer else "login failed"
    subject.new_log()
    refused(subject, database="other_not_there")
    lines(
        subject,
        f"LOG .*registered new auto-database: {name}",
        "LOG " + server("other_not_there/bouncer") + rf"closing because: {reason} \(age=0s\)",
    )


@on_each()
def test_orders(subject: Bouncer) -> None:
    subject.new_log()
    for order in ("RECONNECT", "RECONNECT p0", "PAUSE p0", "RESUME p0", "DISABLE p0", "ENABLE p0", "KILL p1"):
        subject.console(order)
    for order in ("RESUME p1", "RELOAD", "PAUSE", "RESUME", "WAIT_CLOSE", "WAIT_CLOSE p0"):
        subject.console(order)
    issued = [
        *["RECONNECT", "RECONNECT 'p0'", "PAUSE 'p0'", "RESUME 'p0'", "DISABLE 'p0'", "ENABLE 'p0'"],
        *["KILL 'p1'", "RESUME 'p1'", "RELOAD", "PAUSE", "RESUME", "WAIT_CLOSE", "WAIT_CLOSE 'p0'"],
    ]
    lines(subject, *(rf"LOG {re.escape(order)} command issued" for order in issued))


@on_each()
def test_servers_end_by_order(subject: Bouncer) -> None:
    with pooled(subject) as wire:
        for order, reason in (("RECONNECT p0", "database configuration changed"), ("PAUSE p0", "pause mode")):
            wire.query("SELECT 1")
            wait_for(lambda: bool(subject.show("servers", database="p0", state="idle")), 5, "an idle server")
            subject.new_log()
            subject.console(order)
            lines(subject, "LOG " + server("p0/bouncer") + rf"closing because: {reason} \(age=\d+s\)")
        subject.console("RESUME p0")
        wire.close()


@made_of_each()
def test_stats_line(start: Callable[..., Bouncer]) -> None:
    bouncer = start(stats_period=1)
    counters = ["xacts", "queries"]
    if release_of(bouncer) >= (1, 24):
        counters += ["client parses", "server parses", "binds"]
    if release_of(bouncer) >= (1, 26):
        counters += ["client logins"]
    lines(
        bouncer,
        "LOG stats: "
        + "".join(rf"\d+ {counter}/s, " for counter in counters)
        + r"in \d+ B/s, out \d+ B/s, xact \d+ us, query \d+ us, wait \d+ us",
    )
    bouncer.console("SET log_stats = 0")
    bouncer.console("SHOW VERSION")


@made_of_each()
def test_signals(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    bouncer.new_log()
    bouncer.signal(signal.SIGUSR1)
    lines(bouncer, "LOG got SIGUSR1, pausing all activity")
    bouncer.signal(signal.SIGUSR2)
    lines(bouncer, "LOG got SIGUSR2, continuing from PAUSE")
    bouncer.signal(signal.SIGHUP)
    lines(bouncer, "LOG got SIGHUP, re-reading config")


@made_of_each(until="1.26")
def test_sigint_while_suspended(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    with bouncer.wire().login(user="postgres", database="pgbouncer") as console:
        console.query("SUSPEND")
        bouncer.new_log()
        bouncer.signal(signal.SIGINT)
        lines(bouncer, "FATAL .*suspend was in progress, going down immediately")
        assert bouncer.wait() == 1


@made_of_each()
def test_what_servers_end_of(start: Callable[..., Bouncer]) -> None:
    bouncer = start(server_idle_timeout=1)
    bouncer.sql("SELECT 1")
    lines(bouncer, "LOG " + server("p0/bouncer") + r"closing because: server idle timeout \(age=\d+s\)")
    bouncer.console("SET server_idle_timeout = 0")
    bouncer.console("SET server_lifetime = 1")
    bouncer.sql("SELECT 1")
    lines(bouncer, "LOG " + server("p0/bouncer") + r"closing because: server lifetime over \(age=\d+s\)")


@made_of_each(since="1.21")
def test_reserve_pool(start: Callable[..., Bouncer]) -> None:
    bouncer = start(databases={"p0": "pool_size=1 reserve_pool=1"}, reserve_pool_timeout=1)
    with pooled(bouncer) as busy, pooled(bouncer) as waits:
        busy.query("BEGIN")
        waits.send(query("SELECT 1"))
        lines(bouncer, "WARNING .*taking connection from reserve_pool")
        assert waits.expect("TDCZ")
        busy.query("COMMIT")
        busy.close()
        waits.close()


@made_of_each()
def test_switches(start: Callable[..., Bouncer]) -> None:
    bouncer = start(log_connections=0, log_disconnections=0, log_pooler_errors=0)
    bouncer.new_log()
    with pooled(bouncer) as wire:
        wire.query("SELECT 1")
        wire.close()
    refused(bouncer, user="nobody_knows")
    bouncer.console("RECONNECT")
    lines(bouncer, "LOG RECONNECT command issued")
    text = bouncer.log.read_text()
    assert not re.search(r"login attempt|new connection to server|closing because|pooler error", text), text


@made_of_each()
def test_verbose(start: Callable[..., Bouncer]) -> None:
    """0 is quiet, 1 has DEBUG, 2 has NOISE; by file, SET and reload."""
    bouncer = start()
    bouncer.sql("SELECT 1")
    assert not re.search(r"\] (DEBUG|NOISE) ", bouncer.log.read_text())
    bouncer.console("SET verbose = 1")
    with pooled(bouncer) as wire:
        wire.query("SELECT 1")
        wire.close()
    lines(bouncer, "DEBUG .*")
    assert not re.search(r"\] NOISE ", bouncer.log.read_text())
    bouncer.console("SET verbose = 2")
    bouncer.console("SHOW VERSION")  # a client that Python goes on with
    bouncer.sql("SELECT 1")
    lines(bouncer, "NOISE .*")
