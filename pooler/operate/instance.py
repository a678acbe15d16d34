"""The instance that runs with a configuration file: its master's process, and its console.

The console lets in the user `pgbouncer` over the unix socket without a password if the peer's account is
pooler's own. Root takes that account for the moment of the connect.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pooler.auth.passwords import credential
from pooler.check.blocking_driver import BlockingDriver
from pooler.check.machine import masters_of
from pooler.config import Config
from pooler.errors import OperatorError, ServerFault
from pooler.protocol.query import QueryResult, simple_query
from pooler.protocol.server_login import ServerTarget, server_login

CONSOLE = "pgbouncer"
#: For the answer to one command.
PATIENCE_S = 30.0


def find(config: Config) -> int | None:
    """The master's process id; None: none runs. By its pid file, else by what it calls itself."""
    pids = masters_of(config)
    named = _named(config.settings.pidfile)
    if named in pids:
        return named
    if len(pids) > 1:
        raise OperatorError(f"{len(pids)} processes run with this file, and its pidfile names none of them")
    return next(iter(pids), None)


def _named(pidfile: str) -> int | None:
    try:
        return int(Path(pidfile).read_text(encoding="ascii")) if pidfile else None
    except (OSError, ValueError):
        return None


class NotListening(OperatorError):
    """It accepts no connections any more, or not yet."""


class Talk:
    """A console session."""

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver

    def ask(self, command: str) -> QueryResult:
        """Raises ServerFault for what the console refuses, OSError when it is gone."""
        return self._driver.hold(simple_query(command))

    def rows(self, command: str) -> list[dict[str, str | None]]:
        """Rows of a SHOW by column name."""
        result = self.ask(command)
        names = [column.name for column in result.columns]
        return [dict(zip(names, map(_text, row), strict=True)) for row in result.rows]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


@contextmanager
def console(config: Config, pid: int) -> Iterator[Talk]:
    """A session with the instance's console; raises OperatorError where there is no way to one."""
    settings = config.settings
    if not settings.unix_socket_dir:
        raise OperatorError("without unix_socket_dir there is no way to the console but psql")
    path = f"{settings.unix_socket_dir}/.s.PGSQL.{settings.listen_port}"
    owner = os.stat(f"/proc/{pid}").st_uid
    try:
        driver = BlockingDriver(_connect(path, owner))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotListening(f"cannot connect to {path}: {error.strerror}") from None
    except OSError as error:
        raise OperatorError(f"cannot connect to {path}: {error.strerror or error}") from None
    with driver:
        try:
            driver.hold(server_login(ServerTarget(CONSOLE, CONSOLE, credential(None), {}, tls="disable")))
        except ServerFault as fault:
            raise OperatorError(
                f"the console lets in its own account ({_account(owner)}) and root alone: {fault.message}"
            ) from None
        yield Talk(driver)


def _connect(path: str, owner: int) -> socket.socket:
    """As the owner, if we may: who is at the other end is found out when it connects (SO_PEERCRED)."""
    me = os.geteuid()
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(PATIENCE_S)
        if me == 0 and owner:
            os.seteuid(owner)
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
        finally:
            os.seteuid(me)
    except OSError:
        sock.close()
        raise
    return sock


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
