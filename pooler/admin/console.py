"""The console: runs parsed commands with somebody's access, and answers simple queries.

    parse(sql) -> Command        describe(command) -> columns        run(command, access) -> Result

`execute` is the three in a row for one Query message. What comes in never raises: a fault of whoever typed
it is an ERROR in the answer. Only a bug (an exception that is not a PoolerError) gets out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pooler import PGBOUNCER_VERSION
from pooler.admin import encode
from pooler.admin.averages import StatsSampler
from pooler.admin.histograms import HistogramSampler
from pooler.admin.model import (
    OWN_USER,
    Access,
    Column,
    Command,
    CommandError,
    Operations,
    Result,
    Sources,
    TablesView,
)
from pooler.admin.parse import parse
from pooler.config import Config, Settings
from pooler.errors import PoolerError

#: What a console session is told at its start (ParameterStatus).
WELCOME = {
    "server_version": f"{PGBOUNCER_VERSION}/bouncer",
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "DateStyle": "ISO",
    "TimeZone": "GMT",
    "standard_conforming_strings": "on",
    "is_superuser": "on",
}

#: Looking is not logged; these orders the master logs, which gets them by signal too.
_LOGGED_ELSEWHERE = ("show", "reload", "shutdown")


def access_of(settings: Settings, user: str, own_uid: bool = False) -> Access | None:
    """What an authenticated user may do here; None: FATAL `not allowed`.

    `own_uid` says that the peer of a unix socket runs under our own uid.
    """
    if user in settings.admin_users or (own_uid and user == OWN_USER):
        return "admin"
    # With auth_type=any everybody gets in, as in PgBouncer, but a name that nobody checked orders nothing.
    if user in settings.stats_users or settings.auth_type == "any":
        return "stats"
    return None


class Console:
    """One per worker; sessions share it."""

    def __init__(
        self,
        operations: Operations,
        config: Callable[[], Config],
        tables: TablesView,
        sampler: StatsSampler | None = None,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.sampler = sampler or StatsSampler(clock(), tables.stats())
        self.histograms = HistogramSampler()
        self._operations = operations
        self._config = config
        self._tables = tables
        self._clock = clock
        self._log = log

    def parse(self, sql: bytes) -> Command:
        """The command in a text; CommandError if there is none."""
        return parse(sql)

    def describe(self, command: Command) -> tuple[Column, ...] | None:
        """The columns of its result; None for a command without rows."""
        return command.declaration.columns

    def run(self, command: Command, access: Access) -> Result:
        """Run a command, which may wait. PoolerError tells why it cannot be done."""
        entry = command.declaration
        if entry.access == "admin" and access != "admin":
            raise CommandError("admin access needed")
        if self._log is not None and entry.words[0] not in _LOGGED_ELSEWHERE and not entry.hidden:
            self._log(_issued(command))
        return entry.run(self.sources(), command.argument, command.value)

    def sources(self) -> Sources:
        """What a command looks at, as it is now."""
        return Sources(
            self._tables, self._config(), self._operations, self.sampler, self._clock(), self.histograms
        )

    def execute(self, sql: bytes, access: Access) -> bytes:
        """Answer one simple query, ReadyForQuery included. Empty for an immediate SHUTDOWN."""
        try:
            result = self.run(self.parse(sql.removesuffix(b"\0")), access)
        except PoolerError as fault:
            return encode.failure(fault) + encode.ready()
        return encode.result(result)


def _issued(command: Command) -> str:
    """The log line of an order, in PgBouncer's words. The value of a SET may be a secret and stays out."""
    words = " ".join(command.declaration.words).upper()
    return f"{words} '{command.argument}' command issued" if command.argument else f"{words} command issued"
