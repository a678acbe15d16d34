"""Orders: what is passed on, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.admin.command import COMMANDS
from pooler.admin.model import CommandError
from pooler.config import Database
from pooler.errors import ConfigError, Problem
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench


def _refused(bench: Bench, sql: str) -> str:
    with pytest.raises(CommandError) as caught:
        bench.run(sql)
    assert caught.value.sqlstate == "08P01"
    assert bench.operations.orders == []
    return caught.value.message


@pytest.mark.parametrize(
    ("sql", "order", "tag"),
    [
        ("RELOAD", ("reload",), "RELOAD"),
        ("PAUSE", ("pause", None), "PAUSE"),
        ("PAUSE app", ("pause", "app"), "PAUSE"),
        ("SUSPEND", ("suspend",), "SUSPEND"),
        ("KILL", ("kill", None), "KILL"),
        ("KILL app", ("kill", "app"), "KILL"),
        ("KILL_CLIENT 17", ("kill_client", 17), "KILL_CLIENT"),
        ('KILL_CLIENT " +17"', ("kill_client", 17), "KILL_CLIENT"),
        ("RECONNECT", ("reconnect", None), "RECONNECT"),
        ("RECONNECT app", ("reconnect", "app"), "RECONNECT"),
        ("WAIT_CLOSE", ("wait_close", None), "WAIT_CLOSE"),
        ("WAIT_CLOSE app", ("wait_close", "app"), "WAIT_CLOSE"),
        ("DISABLE app", ("disable", "app"), "DISABLE"),
        ("ENABLE app", ("enable", "app"), "ENABLE"),
        ("SHUTDOWN", ("shutdown", "immediate"), None),
        ("SHUTDOWN WAIT_FOR_SERVERS", ("shutdown", "wait_for_servers"), "SHUTDOWN"),
        ("SHUTDOWN WAIT_FOR_CLIENTS", ("shutdown", "wait_for_clients"), "SHUTDOWN"),
        ("SET pool_mode = 'session'", ("set", "pool_mode", "session"), "SET pool_mode=session"),
        ("SET listen_port=1", ("set", "listen_port", "1"), "SET listen_port=1"),
    ],
)
def test_orders(bench: Bench, sql: str, order: tuple[Any, ...], tag: str | None) -> None:
    result = bench.run(sql)
    assert (result.tag, result.columns) == (tag, None)
    assert bench.operations.orders == [order]


@pytest.mark.parametrize("verb", ["PAUSE", "RESUME", "KILL", "RECONNECT", "WAIT_CLOSE", "DISABLE", "ENABLE"])
def test_unknown_database(bench: Bench, verb: str) -> None:
    assert _refused(bench, f"{verb} nope") == "no such database: nope"


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
        ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
        ("KILL pooler", "cannot kill admin db: pooler"),
        ("RECONNECT pgbouncer", "cannot reconnect admin db: pgbouncer"),
        ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer"),
        ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("ENABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("RESUME pgbouncer", "database pgbouncer is not paused"),
        ("RESUME app", "database app is not paused"),
        ("RESUME", "pooler is not paused/suspended"),
        ("DISABLE", "a database is required"),
        ("ENABLE", "a database is required"),
        ("KILL_CLIENT", "invalid client pointer supplied"),
        ("KILL_CLIENT x1", "invalid client pointer supplied"),
        ("KILL_CLIENT 99999999999999999999", "client not found"),
    ],
)
def test_refusals(bench: Bench, sql: str, text: str) -> None:
    assert _refused(bench, sql) == text


@pytest.mark.parametrize("flag", ["paused", "suspended"])
@pytest.mark.parametrize("sql", ["PAUSE", "PAUSE app", "SUSPEND", "KILL", "KILL app"])
def test_refused_while_stopped(bench: Bench, sql: str, flag: str) -> None:
    bench.operations.flags |= {"active": False, flag: True}
    assert _refused(bench, sql) == "already suspended/paused"


@pytest.mark.parametrize("flag", ["paused", "suspended"])
def test_resume(bench: Bench, flag: str) -> None:
    bench.operations.flags[flag] = True
    bench.run("RESUME")
    assert bench.operations.orders == [("resume", None)]


def test_resume_of_one_database(bench: Bench) -> None:
    bench.tables.database_rows = [fakes.database("app", paused=True), fakes.database("multi")]
    assert _refused(bench, "RESUME multi") == "database multi is not paused"
    assert bench.run("RESUME app").tag == "RESUME"
    assert bench.operations.orders == [("resume", "app")]


def test_no_resume_in_a_shutdown(bench: Bench) -> None:
    bench.operations.flags |= {"paused": True, "shutting_down": True}
    assert _refused(bench, "RESUME") == "pooler is shutting down"


def test_no_suspend_with_a_paused_database(bench: Bench) -> None:
    bench.tables.database_rows = [fakes.database("app", paused=True)]
    assert _refused(bench, "SUSPEND") == "cannot suspend with paused databases"


def test_automatic_databases(bench: Bench) -> None:
    bench.config = fakes.configuration(auto_database=Database(name="*", host="pg"))
    assert _refused(bench, "ENABLE new") == "no such database: new"
    assert _refused(bench, "RESUME new") == "no such database: new"
    assert bench.run("PAUSE new").tag == "PAUSE"


def test_a_removed_database_can_still_be_killed(bench: Bench) -> None:
    bench.tables.database_rows = [fakes.database("gone", client_count=3)]
    bench.run("KILL gone")
    assert bench.operations.orders == [("kill", "gone")]


@pytest.mark.parametrize(
    ("refusal", "detail"),
    [
        (
            ConfigError([Problem("a.ini", 3, "bad"), Problem("a.ini", 9, "worse")]),
            "a.ini:3: error: bad\na.ini:9: error: worse",
        ),
        (CommandError("worker 1 does not answer"), "worker 1 does not answer"),
        (CommandError("no", detail="because"), "no\nbecause"),
    ],
)
def test_failed_reload(bench: Bench, refusal: Exception, detail: str) -> None:
    bench.operations.refusal = refusal
    with pytest.raises(CommandError) as caught:
        bench.run("RELOAD")
    assert caught.value.message == "RELOAD failed, see logs for additional details"
    assert (caught.value.sqlstate, caught.value.detail) == ("F0000", detail)


def test_failed_set(bench: Bench) -> None:
    bench.operations.refusal = ConfigError([Problem("SET", 0, "unknown parameter: nope")])
    with pytest.raises(CommandError) as caught:
        bench.run("SET nope = 1")
    assert (caught.value.message, caught.value.sqlstate) == ("SET failed", "08P01")
    assert caught.value.detail == "SET: error: unknown parameter: nope"


def test_refusal_of_an_operation_is_passed_on(bench: Bench) -> None:
    bench.operations.refusal = CommandError("client not found")
    with pytest.raises(CommandError, match=r"^client not found$"):
        bench.run("KILL_CLIENT 4")


@pytest.mark.parametrize("sql", ["SET timezone = 'UTC'", "set client_encoding to UTF8", "SET DateStyle=ISO"])
def test_pretended_set(bench: Bench, sql: str) -> None:
    result = bench.run(sql, "stats")
    assert (result.tag, [notice.text for notice in result.notices]) == ("SET", ["SET ignored"])
    assert bench.operations.orders == []


def test_access_matrix(bench: Bench) -> None:
    """Every command as a statistics user: looking is allowed, except at FDS; nothing else is."""
    for words, entry in COMMANDS.items():
        sql = " ".join(words)
        if entry.arguments == "setting":
            sql = f"SET {words[-1] if entry.hidden else 'pool_mode'} = 1"
        if entry.hidden or (words[0] == "show" and words[1] != "fds"):
            assert bench.run(sql, "stats").tag is not None
            continue
        with pytest.raises(CommandError, match=r"^admin access needed$"):
            bench.run(sql, "stats")
    assert bench.operations.orders == []


def test_what_is_no_command_is_said_before_what_is_not_allowed(bench: Bench) -> None:
    with pytest.raises(CommandError, match=r"^invalid command 'reload x', use SHOW HELP;$"):
        bench.run("reload x", "stats")


def test_orders_are_logged_without_values(bench: Bench) -> None:
    for sql in ("SHOW VERSION", "PAUSE", "KILL app", "SET auth_query='secret'", "SHUTDOWN WAIT_FOR_CLIENTS"):
        bench.run(sql)
    bench.run("SET timezone=x")
    assert bench.log == [
        "PAUSE command issued",
        "KILL 'app' command issued",
        "SET 'auth_query' command issued",
    ]
