"""What clients do at PostgreSQL to databases and roles, which all databases share: idle servers are not to be
in the way, and servers of what was dropped or altered are not to serve new clients. A relay tells when such a
statement passes, or when its transaction is over (`EFFECT_DATABASE` of `core/sql/effects.h`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from pooler.config.model import Database
from pooler.core import SharedDdl

if TYPE_CHECKING:
    from pooler.worker.console_operations import ConsoleOperations
    from pooler.worker.context import WorkerContext


#: Servers are closed so often at most for what the clients of one database begin, and for the same thing
#: done: such statements may be refused, or not be reached, everybody may alter the own role, and anybody may
#: send many. So each interval is twice the one before, up to this, until there was a pause of that length.
#: PostgreSQL waits for five seconds until it says that others are connected.
INTERVAL_S = 0.5
LONGEST_BEGINS_S, LONGEST_DONE_S = 2.0, 64.0

#: Names that may wait for one turn, and turns that are waited for: nobody drops as many databases at once.
NAMES_MAX = 1000

#: Words that stand for the role that says them.
ONESELF = frozenset({"current_user", "current_role", "session_user"})

What = tuple[SharedDdl, str]
Turn = tuple[str, What | None]


class DatabaseDdl:
    """What one worker's clients do to databases and roles."""

    def __init__(self, context: WorkerContext, operations: ConsoleOperations) -> None:
        self.context = context
        self._operations = operations
        #: When a database's clients have their turn again, and after which interval: for what begins, and for
        #: each thing done.
        self._next: dict[Turn, tuple[float, float]] = {}
        self._waiting: dict[Turn, set[What]] = {}  # a greenlet waits for each turn

    def heard(self, pool: int, name: str, change: int) -> None:
        """A client of `pool` is about to do something to the database of that name at its PostgreSQL, or has
        done so to that database or role. An empty name means all roles.
        """
        asking, user, _ = self.context.tables.pool_key(pool)
        what = SharedDdl(change), user if change >= SharedDdl.ROLE and name in ONESELF else name
        now = time.monotonic()
        turn = (asking, None if what[0] == SharedDdl.BEGINS else what)
        waiting = self._waiting.get(turn)
        wait_s = self._next.get(turn, (0.0, 0.0))[0] - now
        if wait_s <= 0:
            self._take_turn(turn, now)
            self._close(asking, {what})
        elif waiting is not None and len(waiting) < NAMES_MAX:
            waiting.add(what)
        elif waiting is None and len(self._waiting) < NAMES_MAX:
            self._waiting[turn] = {what}
            self.context.spawn(self._close_later, turn, wait_s)

    def _take_turn(self, turn: Turn, now: float) -> None:
        due, interval = self._next.get(turn, (0.0, 0.0))
        calm = now > due + interval
        interval = (
            INTERVAL_S if calm else min(2 * interval, LONGEST_BEGINS_S if turn[1] is None else LONGEST_DONE_S)
        )
        if len(self._next) >= NAMES_MAX:
            self._next = {
                known: (due, after) for known, (due, after) in self._next.items() if due + after > now
            }
        self._next[turn] = now + interval, interval

    def _close_later(self, turn: Turn, wait_s: float) -> None:
        gevent.sleep(wait_s)
        self._take_turn(turn, time.monotonic())
        self._close(turn[0], self._waiting.pop(turn))

    def _close(self, asking: str, changes: set[What]) -> None:
        config = self.context.config
        here = config.find_database(asking)
        if here is None:
            return
        databases = {name for change, name in changes if change in (SharedDdl.BEGINS, SharedDdl.DATABASE)}
        roles = {name for change, name in changes if change in (SharedDdl.ROLE, SharedDdl.ROLE_GONE)}
        there: set[str] = set()  # databases of the same PostgreSQL
        for row in self.context.tables.databases():
            other = config.find_database(row["name"])
            if other is None or not same_place(here, other):
                continue
            there.add(row["name"])
            if other.dbname in databases:
                self._operations.close_idle(row["index"], mark=True)
        for pool in self.context.tables.pool_rows():
            database, user, _ = self.context.tables.pool_key(pool)
            if database not in there:
                continue
            named = config.find_database(database)
            if user in roles or "" in roles:
                self._operations.close_idle(-1, mark=True, pool=pool)
            elif named is None or named.dbname not in databases:
                continue
            self.context.tables.login_forgiven(pool)


def same_place(one: Database, other: Database) -> bool:
    """Whether two entries lead to the same PostgreSQL; one that has two spellings is taken for two."""
    hosts = one.hosts == other.hosts or not set(one.hosts).isdisjoint(other.hosts)
    return hosts and one.port == other.port
