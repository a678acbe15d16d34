"""One process plays all workers: `World` does to the shared tables what relays and greenlets would do, one
step at a time, by a clock of its own.

It knows only what the real ones would know: which clients a worker believes to have a server (`attached`),
which connections are being opened (`dials`), closed (`closing`) or looked after without a client (`tested`),
and the cancel requests on their way. What it knows is compared with the tables by
`tests.simulation.invariants`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pooler.core import FAIL, KILL, WELCOME, CancelVerdict, LoginVerdict
from pooler.core._core import PlayedTables

CL_LOGIN, CL_IDLE, CL_WAITING, CL_ACTIVE = 1, 2, 3, 4
SL_LOGIN, SL_IDLE, SL_ACTIVE, SL_PARKED, SL_CLOSING, SL_RECLAIM = 1, 2, 3, 4, 5, 6
HANDED, CANCELED = 1, 2
ORDER_DIAL, ORDER_CLOSE = 1, 4
NO_ROW = -1

#: Far ahead of any real clock, so that the few operations that look at the real one see "long ago", always.
EPOCH_US = 10**15
SECOND_US = 1_000_000
FOREVER_S = 1e10  # a lifetime that ends long after EPOCH_US


@dataclass(frozen=True)
class Pool:
    """Names and limits of one pool."""

    database: str = "d0"
    user: str = "u0"
    instance: str = "host:5432"
    size: int = 2
    min_size: int = 0
    reserve_size: int = 0
    reserve_timeout_s: float = 0.0
    forced_user: bool = False


@dataclass
class Cancel:
    """A cancel request between cancel_begin and cancel_end."""

    worker: int
    slot: int
    generation: int
    row: int
    client_id: int


@dataclass
class World:
    """PlayedTables, and everything that the workers remember about them."""

    pools: list[Pool]
    workers: int = 1
    slots: int = 16
    clients: int = 64
    round_robin: bool = False
    now: int = EPOCH_US
    tables: PlayedTables = field(init=False)
    dials: dict[int, int] = field(default_factory=dict)
    closing: dict[int, int] = field(default_factory=dict)
    tested: dict[int, int] = field(default_factory=dict)
    attached: dict[int, int] = field(default_factory=dict)
    members: dict[int, tuple[int, int]] = field(default_factory=dict)  # row -> (worker, pool)
    logging_in: set[int] = field(default_factory=set)
    dedicated: set[int] = field(default_factory=set)  # clients that get a server of their own
    cancels: list[Cancel] = field(default_factory=list)
    served: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = PlayedTables(
            workers=self.workers, slots=self.slots, clients=self.clients,
            databases=8, users=8, pools=max(8, len(self.pools)), instances=4,
        )  # fmt: skip
        self.tables.set_global_limits(0, self.round_robin)
        for number, pool in enumerate(self.pools):
            names = (self.database(pool), self.user(pool), self.instance(pool))
            assert self.tables.open_pool(*names) == number, "pools of a World differ in their names"
            self.limit_pool(number, pool)
        for worker in range(self.workers):
            self.tables.worker_starting(worker, 1000 + worker)

    # ---- limits

    def database(self, pool: Pool) -> int:
        return int(self.tables.database(pool.database))

    def user(self, pool: Pool) -> int:
        return int(self.tables.user(pool.user))

    def instance(self, pool: Pool) -> int:
        return int(self.tables.instance(pool.instance))

    def limit_pool(self, number: int, pool: Pool) -> None:
        self.pools[number] = pool
        self.tables.set_pool(
            number, mode="transaction", size=pool.size, min_size=pool.min_size,
            reserve_size=pool.reserve_size, reserve_timeout=pool.reserve_timeout_s, query_timeout=0,
            query_wait_timeout=0, idle_transaction_timeout=0, transaction_timeout=0, client_idle_timeout=0,
            server_lifetime=0, forced_user=pool.forced_user,
        )  # fmt: skip

    # ---- the clock

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * SECOND_US)

    # ---- clients

    def connect(self, worker: int, pool: int) -> int | None:
        """A client that has logged in and is idle; None where a limit refuses it."""
        row = self._login(worker, pool)
        if row is not None:
            self._play("idle", row, worker)
        return row

    def connect_early(self, worker: int, pool: int) -> int | None:
        """A client whose login waits for the pool's first connection."""
        row = self._login(worker, pool)
        if row is not None:
            self.logging_in.add(row)
            self._play("wait_welcome", row, worker)
        return row

    def connect_dedicated(self, worker: int, pool: int) -> int | None:
        """A client whose login waits for a server of its own."""
        row = self._login(worker, pool)
        if row is not None:
            self.logging_in.add(row)
            self.dedicated.add(row)
            self._play("wait_dedicated", row, worker)
        return row

    def opened_for(self, slot: int) -> int | None:
        """The client that a slot is opened for alone, if it is still there."""
        row, number = self.tables.slot_dedicated(slot) or (NO_ROW, 0)
        there = row in self.members and self.tables.client_id(row) == number
        return row if there else None

    def _login(self, worker: int, pool: int) -> int | None:
        row = int(self.tables.client_new(worker))
        if row < 0:
            return None
        plan = self.pools[pool]
        verdict = self.tables.client_login(row, self.database(plan), self.user(plan), pool)
        if verdict is not LoginVerdict.OK:
            self.tables.client_free(row)
            return None
        self.members[row] = (worker, pool)
        return row

    def acquire(self, row: int) -> int | None:
        """An idle client wants a server: its slot, or None: it waits."""
        worker, _ = self.members[row]
        slot = self._play("acquire", row, worker)
        return self._attach(row, slot)

    def _attach(self, row: int, slot: int) -> int | None:
        if slot == NO_ROW:
            return None
        self.attached[row] = slot
        self.served.append(row)
        self._play("used", slot, self.members[row][0])
        return slot

    def release(self, row: int) -> None:
        """The client's transaction is over; a server of its own ends with it."""
        if row in self.dedicated:
            self.leave(row)
            return
        slot = self.attached.pop(row)
        self._play("release", slot, self.members[row][0])

    def reset(self, row: int) -> None:
        """The client lets go of its server, which is cleaned before anybody else gets it."""
        if row in self.dedicated:
            self.leave(row)
            return
        slot = self.attached.pop(row)
        self._play("detach", slot, self.members[row][0])
        self.tested[slot] = self.members[row][0]

    def leave(self, row: int) -> None:
        """The client hangs up, whatever it was doing; a server in the middle of something is closed."""
        worker, _ = self.members[row]
        if row in self.attached:
            self.close_server(self.attached.pop(row), worker)
        caller = NO_ROW if row in self.logging_in else worker  # a login is a greenlet's, not the relay's
        self.logging_in.discard(row)
        self.dedicated.discard(row)
        del self.members[row]
        self._play("client_free", row, caller)

    # ---- servers

    def dialed(self, slot: int) -> None:
        """The socket exists and the master has its duplicate."""
        self.tables.slot_dialed(slot)

    def opened(self, slot: int) -> None:
        """PostgreSQL has accepted; the server is published."""
        worker = self.dials.pop(slot)
        self.tables.slot_dialed(slot)
        self.tables.slot_key(slot, 1, b"key", "")
        if self.tables.slot_dedicated(slot) is not None:
            self._opened_dedicated(slot, worker)
            return
        self.tables.slot_login(slot, b"w\0", FOREVER_S)
        self._play("place", slot, worker)

    def _opened_dedicated(self, slot: int, worker: int) -> None:
        row = self.opened_for(slot)
        if row is None:  # it has left meanwhile
            self.tables.slot_failed(slot, worker, False)
            self.closing[slot] = worker
            return
        self.logging_in.discard(row)
        self._play("dedicated", slot, worker)
        self._attach(row, slot)

    def refused(self, slot: int, fatal: bool = False, retry_s: float = 0.0) -> None:
        """The login failed, and PostgreSQL has let go."""
        self.failed(slot, fatal, retry_s)
        self.closed(slot)

    def failed(self, slot: int, fatal: bool = False, retry_s: float = 0.0) -> None:
        """The login failed; PostgreSQL may still see the connection."""
        worker = self.dials.pop(slot)
        retry_at = self.now + round(retry_s * SECOND_US) if retry_s else 0
        alone, row = self.tables.slot_dedicated(slot) is not None, self.opened_for(slot)
        if not (alone and fatal):
            self.tables._play_login_failed(self.tables.slot(slot).pool, fatal, retry_at)
        self.tables.slot_failed(slot, worker, False)
        self.closing[slot] = worker
        if row is not None and fatal:
            self.leave(row)
        elif row is not None:
            self._play("wait_dedicated", row, worker)

    def close_server(self, slot: int, worker: int) -> None:
        self._play("begin_close", slot, worker)
        self.closing[slot] = worker

    def crash_server(self, row: int, unused: bool) -> None:
        """A client's server breaks: before its first byte the client waits again, later it is closed too."""
        worker, _ = self.members[row]
        self.close_server(self.attached.pop(row), worker)
        if unused and row not in self.dedicated:
            self._attach(row, self._play("requeue", row, worker))
        else:
            self.leave(row)

    def closed(self, slot: int) -> None:
        """End of stream: PostgreSQL has let go of it."""
        self._play("freed", slot, self.closing.pop(slot))

    def notice(self, slot: int, worker: int) -> bool:
        """Something arrived on an idle server: `worker` looks at it (False: somebody else has it)."""
        mine = bool(self.tables._play_claim_idle(slot, self.tables.slot(slot).generation, worker))
        if mine:
            self.tested[slot] = worker
        return mine

    def tested_well(self, slot: int) -> None:
        self._play("release", slot, self.tested.pop(slot))

    def take_closing(self, slots: Iterable[int], worker: int) -> None:
        for slot in slots:
            self.closing[slot] = worker

    # ---- housekeeping

    def tick(self, worker: int) -> None:
        for slot in self.tables._play_tick(worker, self.now):
            self.dials[slot] = worker

    def expire(self, worker: int, idle_timeout_s: float) -> None:
        timeout = round(idle_timeout_s * SECOND_US)
        self.take_closing(self.tables._play_expired(worker, self.now, timeout), worker)

    def pause(self, database: int, worker: int) -> None:
        """PAUSE as the console does it (-1: all databases)."""
        self.tables.set_paused(database, True)
        self.take_closing(self.tables.take_idle(database, worker, False), worker)

    def resume(self, database: int, worker: int) -> None:
        self.tables.set_paused(database, False)
        self.tick(worker)

    # ---- cancel requests

    def cancel(self, row: int, worker: int) -> CancelVerdict:
        """A cancel request for this client reaches `worker`."""
        self.tables._play_unguard(row)
        found = self.tables.cancel_begin(*self.tables.client_key(row), worker)
        if found.verdict is CancelVerdict.FORWARD:
            self.cancels.append(Cancel(worker, *found[1:]))
        return found.verdict

    def cancel_over(self, index: int = 0) -> None:
        at = self.cancels.pop(index)
        self.tables._play_cancel_end(at.slot, at.generation, at.row, at.client_id, at.worker, self.now)

    # ---- workers

    def attend(self, worker: int) -> None:
        """The worker's doorbell rang."""
        clients, slots = self.tables._play_attention(worker)
        for row, number, orders in clients:
            assert self.tables.client_id(row) == number, "an order for somebody else"
            assert self.members[row][0] == worker, f"client {row} is not of worker {worker}"
            self._obey(row, orders)
        for slot, orders in slots:
            if orders & ORDER_DIAL:
                self.dials[slot] = worker
            if orders & ORDER_CLOSE:
                self.closing[slot] = worker

    def attend_all(self) -> None:
        for worker in range(self.workers):
            self.attend(worker)

    def _obey(self, row: int, orders: int) -> None:
        worker, _ = self.members[row]
        if orders & KILL or (orders & FAIL and row in self.logging_in):
            self.leave(row)
            return
        if orders & WELCOME and row in self.logging_in:
            self.logging_in.discard(row)
            self._play("idle", row, worker)
        there = self.tables._truth()[1][row]
        if orders & HANDED and there["state"] == CL_ACTIVE and row not in self.attached:
            self._attach(row, there["slot"])

    def die(self, worker: int) -> dict[str, int]:
        """SIGKILL; a replacement with the same number takes over at once."""
        left: dict[str, int] = self.tables.worker_died(worker)
        for row in [row for row, (home, _) in self.members.items() if home == worker]:
            del self.members[row]
            self.attached.pop(row, None)
            self.logging_in.discard(row)
            self.dedicated.discard(row)
        for held in (self.dials, self.closing, self.tested):
            for slot in [slot for slot, owner in held.items() if owner == worker]:
                del held[slot]
        self.cancels = [at for at in self.cancels if at.worker != worker]
        self.tables.worker_starting(worker, 2000 + worker)
        return left

    def reclaim(self, worker: int) -> int:
        """`worker` takes over what dead ones left; how many slots."""
        slots = [slot for slot, row in self.tables._truth()[0].items() if row["state"] == SL_RECLAIM]
        for slot in slots:
            assert self.tables._play_reclaim(slot, worker)
            self.closing[slot] = worker
        return len(slots)

    # ---- the one door to the tables

    def _play(self, what: str, row: int, worker: int) -> int:
        """Does it, takes the work that comes back; the slot for the caller's client."""
        out = self.tables._play(what, row, worker, self.now)
        if out["dial"] != NO_ROW:
            self.dials[out["dial"]] = worker
        if out["close"] != NO_ROW:
            self.closing[out["close"]] = worker
        if out["client"] != NO_ROW:
            self._attach(out["client"], self.tables._truth()[1][out["client"]]["slot"])
        return int(out["slot"])
