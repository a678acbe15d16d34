"""Faults named by whose fault they are, because that decides what is closed.

`ClientFault`: the client gets an ErrorResponse and is closed; its server is released if provably in step.
`ServerFault`: the server is closed and its slot freed; the attached client is told.
`ConfigError`: the configuration in force stays in force, entirely.
`BootError`: nothing starts, or nothing is reloaded, before the operator has changed something.
Anything else that is raised is a bug: logged with its traceback; only that one connection or task ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: protocol_violation: the code PgBouncer gives to every error of its own.
PROTOCOL_VIOLATION = "08P01"


class PoolerError(Exception):
    """Base of every error that pooler raises on purpose."""


#: SQLSTATEs of refused logins: what PostgreSQL's rules refuse, no such database.
NOT_PERMITTED, NO_DATABASE = "28000", "3D000"


class ClientFault(PoolerError):
    """A client did something wrong, or may not do what it asked for.

    `sqlstate` is five characters (PostgreSQL documentation, appendix A), `severity` ERROR or FATAL.
    """

    def __init__(
        self,
        message: str,
        sqlstate: str = PROTOCOL_VIOLATION,
        severity: str = "FATAL",
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.severity = severity
        self.detail = detail


class ServerFault(PoolerError):
    """A server (or the way to it) failed.

    `from_server` tells that text and SQLSTATE are PostgreSQL's own words, which clients get unchanged.
    """

    def __init__(self, message: str, sqlstate: str = PROTOCOL_VIOLATION, from_server: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.from_server = from_server


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a configuration, with its place."""

    file: str
    line: int  # 1-based; 0: the file as a whole
    text: str
    severity: str = "error"  # or "warning"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.severity}: {self.text}"


class ConfigError(PoolerError):
    """A configuration cannot be used; `problems` lists every reason found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = tuple(problems)


class OperatorError(PoolerError):
    """An order to a running instance cannot be given; the text says why."""


class BootError(PoolerError):
    """The operator has to change something first; the text says what."""
