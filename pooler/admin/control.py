"""The orders of the console: what each one checks before it is carried out, in PgBouncer's words.

Tools and people read these texts, so they are PgBouncer's to the letter. The checks look at the
configuration and the shared tables; carrying out is up to `Operations`, which may still refuse (see there).
"""

from __future__ import annotations

import re

from pooler.admin.model import CONSOLE_NAMES, CommandError, Notice, Result, Run, ShutdownMode, Sources
from pooler.admin.show_pools import database_names
from pooler.errors import ConfigError

CONFIG_FILE_ERROR = "F0000"

#: Like scanf's %llu, which PgBouncer reads a client's number with: what follows the digits does not matter.
_CLIENT_ID = re.compile(r"\s*\+?([0-9]+)", re.ASCII)
_CLIENT_ID_MAX = 2**63 - 1


def reload(sources: Sources, _argument: str, _value: str) -> Result:
    """RELOAD. Any reason for a failure becomes the DETAIL of one fixed text."""
    try:
        sources.operations.reload()
    except (ConfigError, CommandError) as error:
        raise CommandError(
            "RELOAD failed, see logs for additional details", CONFIG_FILE_ERROR, _reasons(error)
        ) from error
    return Result("RELOAD")


def set_setting(sources: Sources, key: str, value: str) -> Result:
    """SET key = value."""
    try:
        notice = sources.operations.set(key, value)
    except (ConfigError, CommandError) as error:
        raise CommandError("SET failed", detail=_reasons(error)) from error
    return Result(f"SET {key}={value}", notices=() if notice is None else (Notice(notice),))


def pretend_to_set(_sources: Sources, _key: str, _value: str) -> Result:
    """SET of a setting that the console only pretends to have."""
    return Result("SET", notices=(Notice("SET ignored"),))


def pause(sources: Sources, name: str, _value: str) -> Result:
    """PAUSE [db]: answers when the servers are released."""
    _refuse_when_stopped(sources)
    sources.operations.pause(_database(sources, name, "pause"))
    return Result("PAUSE")


def resume(sources: Sources, name: str, _value: str) -> Result:
    """RESUME [db]: of the whole pooler also ends SUSPEND."""
    if name:
        _refuse_unless_paused(sources, name)
        sources.operations.resume(name)
        return Result("RESUME")
    state = sources.operations.state()
    if state.get("shutting_down"):
        raise CommandError("pooler is shutting down")
    if not (state["paused"] or state["suspended"]):
        raise CommandError("pooler is not paused/suspended")
    sources.operations.resume(None)
    return Result("RESUME")


def suspend(sources: Sources, _argument: str, _value: str) -> Result:
    """SUSPEND: flush everything that is on its way, then stop reading."""
    _refuse_when_stopped(sources)
    if any(row["paused"] for row in sources.tables.databases()):
        raise CommandError("cannot suspend with paused databases")
    sources.operations.suspend()
    return Result("SUSPEND")


def kill(sources: Sources, name: str, _value: str) -> Result:
    """KILL [db]: drop all clients and servers, leave the database paused."""
    _refuse_when_stopped(sources)
    sources.operations.kill(_database(sources, name, "kill"))
    return Result("KILL")


def kill_client(sources: Sources, argument: str, _value: str) -> Result:
    """KILL_CLIENT id."""
    found = _CLIENT_ID.match(argument)
    if found is None:
        raise CommandError("invalid client pointer supplied")
    number = int(found[1])
    if number > _CLIENT_ID_MAX:  # more than the tables can hold, so there is none
        raise CommandError("client not found")
    sources.operations.kill_client(number)
    return Result("KILL_CLIENT")


def reconnect(sources: Sources, name: str, _value: str) -> Result:
    """RECONNECT [db]: replace the servers as they become free."""
    sources.operations.reconnect(_database(sources, name, "reconnect"))
    return Result("RECONNECT")


def wait_close(sources: Sources, name: str, _value: str) -> Result:
    """WAIT_CLOSE [db]: answers when RECONNECT and RELOAD have nothing left to replace."""
    sources.operations.wait_close(_database(sources, name, "wait in"))
    return Result("WAIT_CLOSE")


def disable(sources: Sources, name: str, _value: str) -> Result:
    """DISABLE db: refuse new clients."""
    if not name:
        raise CommandError("a database is required")
    _database(sources, name, "disable")
    sources.operations.disable(name)
    return Result("DISABLE")


def enable(sources: Sources, name: str, _value: str) -> Result:
    """ENABLE db: take new clients again."""
    if not name:
        raise CommandError("a database is required")
    _existing(sources, name)
    _refuse_console(name, "disable")  # its words
    sources.operations.enable(name)
    return Result("ENABLE")


def shutdown(mode: ShutdownMode) -> Run:
    """SHUTDOWN, one order per mode. The immediate one is not answered: the connection ends with the
    process."""

    def run(sources: Sources, _argument: str, _value: str) -> Result:
        sources.operations.shutdown(mode)
        return Result(None if mode == "immediate" else "SHUTDOWN")

    return run


def _refuse_when_stopped(sources: Sources) -> None:
    state = sources.operations.state()
    if state["paused"] or state["suspended"]:
        raise CommandError("already suspended/paused")


def _refuse_unless_paused(sources: Sources, name: str) -> None:
    _existing(sources, name)
    if not any(row["paused"] for row in sources.tables.databases() if row["name"] == name):
        raise CommandError(f"database {name} is not paused")


def _refuse_console(name: str, verb: str) -> None:
    if name in CONSOLE_NAMES:
        raise CommandError(f"cannot {verb} admin db: {name}")


def _database(sources: Sources, name: str, verb: str) -> str | None:
    """The database an order is about (None: all), which may be one that `*` would give rise to."""
    if not name:
        return None
    _refuse_console(name, verb)
    if sources.config.find_database(name) is None:
        _existing(sources, name)
    return name


def _existing(sources: Sources, name: str) -> None:
    """Refuse a name that is neither configured nor in use, even where `*` would allow it."""
    if name not in CONSOLE_NAMES and name not in database_names(sources):
        raise CommandError(f"no such database: {name}")


def _reasons(error: ConfigError | CommandError) -> str:
    if isinstance(error, ConfigError):
        return "\n".join(str(problem) for problem in error.problems)
    return error.message if error.detail is None else f"{error.message}\n{error.detail}"
