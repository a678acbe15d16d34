"""The door: how many clients may be in their login at once, and who makes room when that many are.

More wait their turn, first come, first served, so that a storm of logins takes its time and refuses nobody.
But sockets that say nothing must not keep the others out: while somebody waits, those that we have waited for
longest, SILENT_S at least, are sent away. Of those inside, `turns` go on a few at a time.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from pooler import log
from pooler.worker.turns import Turns

if TYPE_CHECKING:
    from pooler.worker.client import Client
    from pooler.worker.worker import Worker

#: A client answers within a round trip and what its machine is busy with; who takes longer may have to go.
SILENT_S = 2.0
#: A door that is full says so this often.
SAY_AGAIN_S = 10.0


class Door:
    """Of one worker. Nobody is in it who has proven who he is."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._inside: set[Client] = set()
        self._waiting: deque[Client] = deque()
        self._said_s = -SAY_AGAIN_S
        self.turns = Turns(worker.config.settings.worker_count, worker.spawn)

    def knock(self, client: Client) -> None:
        """A client comes; its greenlet starts at once or when its turn comes."""
        if client.fault is not None:  # it only has to be told
            self._worker.spawn(client.serve)
            return
        self._waiting.append(client)
        self._let_in()
        if self._waiting:
            self.tick(time.monotonic())

    def leave(self, client: Client) -> None:
        """Its login is over, whatever came of it. Does nothing if that is known."""
        self.turns.end(client)
        if client in self._inside:
            self._inside.remove(client)
            self._let_in()

    def step_out(self, client: Client) -> None:
        """It waits for somebody else (PostgreSQL, a directory), which must not keep others out."""
        self.leave(client)

    def step_in(self, client: Client) -> None:
        """It goes on, and need not wait again; but it may have to make room like the others."""
        self._inside.add(client)

    def turn_away(self, client: Client) -> bool:
        """One that still waits is to hear why it can't come in; False if it doesn't wait."""
        if client not in self._waiting:
            return False
        self._waiting.remove(client)
        self._worker.spawn(client.serve)
        return True

    def tick(self, now: float) -> None:
        """Make room for those that wait (monotonic seconds); end those that have waited too long."""
        self._let_in()
        limit_s = self._worker.config.settings.client_login_timeout
        while self._waiting and limit_s and now - self._waiting[0].started_s > limit_s:
            self._waiting[0].end("client_login_timeout")
        if not self._waiting:
            return
        if now - self._said_s >= SAY_AGAIN_S:
            self._said_s = now
            log.warning(
                "%d clients are in their login (max_unauthenticated), %d wait for that",
                len(self._inside),
                len(self._waiting),
            )
        silent = sorted((one for one in self._inside if one.silent_s(now) >= SILENT_S), key=_silent_since)
        for client in silent[: len(self._waiting)]:
            client.end("too many clients in their login (max_unauthenticated)", "53300")
            self.leave(client)

    def _let_in(self) -> None:
        limit = self._worker.config.settings.max_unauthenticated
        while self._waiting and (not limit or len(self._inside) < limit):
            client = self._waiting.popleft()
            self._inside.add(client)
            self._worker.spawn(client.serve)


def _silent_since(client: Client) -> float:
    return client.stream.waits_since or 0.0
