"""The login queue: how many clients may be in their login at once, and which leave when that many are.

More wait their turn, so that a storm of logins takes its time and no client is refused. Three rules see to
it that connections which say nothing do not keep the others out:

* A connection that has not sent its first byte takes no place: it is outside until that byte is there.
  A login that has waited for its client for STALL_S in all takes no place any more, and is sent away after
  a silence of SILENT_S while others wait, those of the origin that has most of them and the newest first.
* Turns go round by origin (an address, a network of IPv6, an account of this machine), and first come, first
  served within each: a flood from one address delays that address.
* Each origin may have `max_silent_per_address` connections that are silent for so long; the newest beyond
  that are sent away, and so is the newest one outside when the rows of clients run out.

Of those inside, `turns` go on a few at a time.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any

import gevent

from pooler import log
from pooler.worker.turns import Turns

if TYPE_CHECKING:
    from pooler.worker.client import Client
    from pooler.worker.context import WorkerContext

#: Longer than the round trips of a login and what a client computes, in most cases: what takes longer costs
#: this worker nothing meanwhile.
STALL_S = 0.3
#: A client answers within a round trip and what its machine is busy with; who takes longer may have to go.
SILENT_S = 2.0
#: A login queue that is full says so this often.
SAY_AGAIN_S = 10.0
#: What libev calls readable.
READ = 1

TOO_MANY = "too many clients in their login (max_unauthenticated)"
TOO_SILENT = "too many silent connections from one address (max_silent_per_address)"


class LoginQueue:
    """Of one worker. Nobody is in it who has proven who he is."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._outside: dict[Client, Any] = {}  # silent from the start, with what waits for their first byte
        self._inside: set[Client] = set()
        self._stalled: set[Client] = set()  # of those inside
        self._waiting: OrderedDict[str, deque[Client]] = OrderedDict()  # by origin; the first has its turn
        self._count = 0  # of those that wait
        self._said_s = -SAY_AGAIN_S
        self._silent_said_s = -SAY_AGAIN_S
        self.turns = Turns(context.config.settings.worker_count, context.spawn)

    def enter(self, client: Client) -> None:
        """A client comes; its greenlet starts at once, or when it has said something and its turn comes."""
        if client.fault is not None:  # it only has to be told
            self._context.spawn(client.serve)
        elif client.stream.pending():
            self._join(client)
        else:
            watcher = gevent.get_hub().loop.io(client.sock.fileno(), READ)
            self._outside[client] = watcher
            watcher.start(self._spoke, client)

    def _spoke(self, client: Client) -> None:
        """Its first byte is there, or its end."""
        if self._forget(client):
            self._join(client)

    def _forget(self, client: Client) -> bool:
        """It is not outside any more; False if it was not."""
        watcher = self._outside.pop(client, None)
        if watcher is None:
            return False
        watcher.stop()
        watcher.close()
        return True

    def _join(self, client: Client) -> None:
        self._waiting.setdefault(client.origin, deque()).append(client)
        self._count += 1
        self._let_in()
        if self._count:
            self.tick(time.monotonic())

    def leave(self, client: Client) -> None:
        """Its login is over, whatever came of it. Does nothing if that is known."""
        self.turns.end(client)
        if client in self._inside:
            self._inside.remove(client)
            self._stalled.discard(client)
            self._let_in()

    def suspend(self, client: Client) -> None:
        """It waits for somebody else (PostgreSQL, a directory), which must not keep others out."""
        self.leave(client)

    def resume(self, client: Client) -> None:
        """It goes on, and need not wait again; but it may have to leave like the others."""
        self._inside.add(client)

    def reject(self, client: Client) -> bool:
        """One that is not inside yet is to hear why it can't come in; False if it is."""
        if not self._forget(client) and not self._leave_line(client):
            return False
        self._context.spawn(client.serve)
        return True

    def _leave_line(self, client: Client) -> bool:
        line = self._waiting.get(client.origin, deque())
        if client not in line:
            return False
        line.remove(client)
        self._count -= 1
        if not line:
            del self._waiting[client.origin]
        return True

    def tick(self, now: float) -> None:
        """End those that keep others waiting, and those that have waited too long (monotonic seconds)."""
        self._end_late(now)
        self._stalled = {one for one in self._inside if one.waited_s(now) >= STALL_S}
        self._let_in()
        silent = self._silent(now)
        self._keep_silent_few(silent, now)
        if not self._count:
            return
        if now - self._said_s >= SAY_AGAIN_S:
            self._said_s = now
            log.warning(
                "%d clients are in their login (max_unauthenticated), %d wait for that",
                len(self._inside),
                self._count,
            )
        shares = Counter(one.origin for one in silent)
        silent = [one for one in silent if one in self._inside]
        silent.sort(key=lambda one: (shares[one.origin], one.started_s), reverse=True)
        for client in silent[: self._count]:
            self._send_away(client, TOO_MANY)

    def _end_late(self, now: float) -> None:
        limit_s = self._context.config.settings.client_login_timeout
        if not limit_s:
            return
        first_of_each = [line[0] for line in self._waiting.values()]
        while late := [one for one in first_of_each if now - one.started_s > limit_s]:
            for client in late:
                client.end("client_login_timeout")
            first_of_each = [line[0] for line in self._waiting.values()]
        for client in list(self._outside):  # in the order in which they came
            if now - client.started_s <= limit_s:
                break
            client.end("client_login_timeout")

    def _let_in(self) -> None:
        limit = self._context.config.settings.max_unauthenticated
        while self._count and (not limit or len(self._inside) - len(self._stalled) < limit):
            origin, line = self._waiting.popitem(last=False)
            client = line.popleft()
            self._count -= 1
            if line:
                self._waiting[origin] = line  # behind the others
            self._inside.add(client)
            self._context.spawn(client.serve)

    # -- silent connections

    def _silent(self, now: float) -> list[Client]:
        """Those that have said nothing for SILENT_S, in the order in which they came."""
        outside = [one for one in self._outside if now - one.started_s >= SILENT_S]
        inside = [one for one in self._stalled if one.silent_s(now) >= SILENT_S]
        return sorted(outside + inside, key=_came)

    def _keep_silent_few(self, silent: list[Client], now: float) -> None:
        """The newest silent connections of an origin go when it has too many."""
        limit = self._context.config.settings.max_silent_per_address
        if not limit or len(silent) <= limit:
            return
        seen: Counter[str] = Counter()
        for client in silent:
            seen[client.origin] += 1
            if seen[client.origin] > limit:
                self._send_away(client, TOO_SILENT)
        origin, count = seen.most_common(1)[0]
        if count > limit and now - self._silent_said_s >= SAY_AGAIN_S:
            self._silent_said_s = now
            log.warning("%d connections from %s say nothing (max_silent_per_address)", count, origin)

    def make_way(self, newcomer: Client) -> bool:
        """No row is left for a client: of the origin that has most connections here the newest silent one
        gives up its own, or else the newest that waits, for the client of another origin. False if there is
        none, or the newcomer is the newest of them.
        """
        now = time.monotonic()
        silent = [*self._outside, *(one for one in self._stalled if one.silent_s(now) >= STALL_S)]
        counts = Counter(one.origin for one in silent)
        counts.update({origin: len(line) for origin, line in self._waiting.items()})
        counts[newcomer.origin] += 1
        origin = counts.most_common(1)[0][0]
        candidates = [one for one in silent if one.origin == origin]
        if newcomer.origin == origin and not newcomer.stream.pending():
            return False
        if newcomer.origin != origin and not candidates:
            candidates = list(self._waiting.get(origin, ()))
        if not candidates:
            return False
        victim = max(candidates, key=_came)
        victim.give_up_row()
        self._send_away(victim, TOO_MANY)
        return True

    def _send_away(self, client: Client, reason: str) -> None:
        client.end(reason, "53300")
        self.leave(client)


def _came(client: Client) -> float:
    return client.started_s
