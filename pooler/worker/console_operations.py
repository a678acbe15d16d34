"""The console's orders: flags in the shared tables, servers to be closed, requests to the master.

Nothing here runs in other workers directly. A flag in the map holds for all at once, an order in a row rings
the doorbell of whoever has to act, and what concerns the configuration or the life of the process goes to the
master.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import gevent
from gevent.event import AsyncResult

from pooler import log, provisioning
from pooler.admin.model import CommandError
from pooler.ipc.messages import ReloadRequest, SetRequest, ShutdownRequest, Suspended
from pooler.worker.client import Client
from pooler.worker.stream import Hangup

if TYPE_CHECKING:
    from pooler.ipc.messages import ShutdownMode
    from pooler.worker.context import WorkerContext

#: How often a waiting command looks whether its condition holds.
LOOK_S = 0.01


class ConsoleOperations:
    """`pooler.admin.Operations` for one worker."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self._token = 0
        self._answers: dict[int, AsyncResult] = {}

    # -- by way of the master

    def reload(self) -> None:
        self._ask(lambda token: ReloadRequest(token))

    def set(self, key: str, value: str) -> str | None:
        return self._ask(lambda token: SetRequest(token, key, value))

    def shutdown(self, mode: ShutdownMode) -> None:
        if mode != "immediate":
            self.context.tables.set_shutting_down()
        self.context.tell_master(ShutdownRequest(mode))

    def answered(self, token: int, error: str | None, notice: str | None) -> None:
        """The master has done (or refused) what we asked for."""
        answer = self._answers.pop(token, None)
        if answer is not None:
            answer.set((error, notice))

    def _ask(self, request: Callable[[int], ReloadRequest | SetRequest]) -> str | None:
        self._token += 1
        answer = self._answers[self._token] = AsyncResult()
        self.context.tell_master(request(self._token))
        error, notice = answer.get()
        if error is not None:
            raise CommandError(error)
        text: str | None = notice
        return text

    # -- flags and servers

    def pause(self, database: str | None) -> None:
        row = self._row(database)
        self.hold(row)
        try:
            self.wait_until_held(row)
        except CommandError:  # given up (^C): as in PgBouncer, that resumes
            self.resume(database)
            raise

    def hold(self, row: int) -> None:
        """Pause a database (-1: all); idle servers end."""
        self.context.tables.set_paused(row, True)
        self.close_idle(row, mark=False)

    def wait_until_held(self, row: int) -> None:
        """Until no server of a paused database is busy, or it is paused no more."""
        self._wait(lambda: not self._held(row) or not self.context.tables.busy_servers(row))

    def resume(self, database: str | None) -> None:
        if database is None and self.context.tables.is_suspended():
            self.context.tables.end_suspend()
            self.context.tell_master(Suspended(False))
        self.context.tables.set_paused(self._row(database), False)
        for slot in self.context.tables.tick(self.context.number):  # those who waited get their servers now
            self.context.spawn(self.context.dial, slot)

    def suspend(self) -> None:
        """Its console session is who ends it, by RESUME or by leaving."""
        tables, timeout_s = self.context.tables, self.context.config.settings.suspend_timeout
        client = self._console()
        tables.suspend(0 if client is None else client.id)
        self.context.tell_master(Suspended(True))
        end = time.monotonic() + timeout_s if timeout_s else float("inf")
        try:
            self._wait(lambda: not tables.suspend_left() or time.monotonic() > end)
            if tables.suspend_left():
                tables.suspend_force()
                self._wait(lambda: not tables.suspend_left())
        except (CommandError, Hangup):
            self.resume(None)
            raise

    def console_left(self, client: Client) -> None:
        """A console session is over."""
        if self.context.tables.suspended_by() == client.id:
            log.info("admin disappeared when suspended, doing RESUME")
            self.resume(None)

    def canceled(self) -> None:
        """A cancel request for a console session that waits for nothing: resumes, as in PgBouncer."""
        if self.context.tables.is_paused() or self.context.tables.is_suspended():
            self.resume(None)

    def kill(self, database: str | None) -> None:
        row = self._row(database)
        self.context.tables.set_paused(row, True)
        self.context.tables.kill_clients(row, "database removed")
        self.close_idle(row, mark=True)
        self.wait_until_held(row)

    def kill_client(self, client_id: int) -> None:
        row = self.context.tables.find_client(client_id)
        if row < 0 or not self.context.tables.kill_client(row, client_id, "admin forced disconnect"):
            raise CommandError("client not found")

    def reconnect(self, database: str | None) -> None:
        self.close_idle(self._row(database), mark=True)

    def wait_close(self, database: str | None) -> None:
        row = self._row(database)
        self._wait(lambda: not self.context.tables.busy_servers(row, marked_only=True))

    def disable(self, database: str) -> None:
        self.context.tables.set_disabled(self._row(database), True)

    def enable(self, database: str) -> None:
        self.context.tables.set_disabled(self._row(database), False)

    def state(self) -> Mapping[str, bool]:
        paused = self.context.tables.is_paused()
        suspended = self.context.tables.is_suspended()
        return {
            "active": not paused and not suspended,
            "paused": paused and not suspended,
            "suspended": suspended,
            "shutting_down": self.context.draining or self.context.tables.is_shutting_down(),
        }

    # -- steps

    def _row(self, database: str | None) -> int:
        if database is None:
            return -1
        entry = self.context.config.find_database(database)
        known = entry is not None or database == provisioning.CONSOLE
        row = int(self.context.tables.database(database)) if known else -1
        if row < 0:
            raise CommandError(f"no such database: {database}")
        return row

    def _held(self, row: int) -> bool:
        return bool(self.context.tables.is_paused(row))

    def close_idle(self, row: int, mark: bool, pool: int = -1) -> None:
        """Ends the idle servers of a database, or of a pool; `mark`: the others when they are free."""
        for slot in self.context.tables.take_idle(row, self.context.number, mark, pool):
            self.context.relay.close_slot(slot)

    def _console(self) -> Client | None:
        """The session whose command runs; None: it is a signal's."""
        me = gevent.getcurrent()
        clients = (one for one in self.context.logins.values() if isinstance(one, Client))
        return next((one for one in clients if one.greenlet is me), None)

    def _wait(self, condition: Callable[[], bool]) -> None:
        client = self._console()
        while not condition():
            if client is not None and client.has_left():
                raise Hangup("the client of the console has left")
            gevent.sleep(LOOK_S)
