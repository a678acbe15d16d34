"""Other clients of a pool, who use all of its servers between any two messages of those under test.

A quiet client always gets its own server back, and everything seems to work. So before each of its steps as
many neighbours as the pool has servers begin a transaction at the same time, each on another server, and do
some harm there. Then one of them ends, the one on a server that the client under test did not have last;
the others stay in their transactions. So that is the server where the step has to run, right after the
harm. Then all others end too.

A client under test that keeps its server (in a transaction, or pinned) leaves one server less for
neighbours: one of them waits in the pooler's queue and comes to its turn some time later. Nothing here
waits for it: neighbours are machines that go on when something comes for them, and whoever did not get a
server in time does not stop in his transaction any more. `Gang.receive` lets them go on while the client
under test waits for its reply.
"""

from __future__ import annotations

import enum
import itertools
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator

from tests.protocol.conformance.harm import (
    ENDINGS,
    HARMS,
    OWN_FAULT,
    QUIET_ENDINGS,
    QUIET_HARMS,
    Ending,
    Harm,
    by_name,
)
from tests.support.wire import EndOfStream, Message, Wire, query

#: A round that takes longer than this goes on without those who have no server by then.
ROUND_S = 5.0
#: When nothing came for so long: look whether all that are missing wait in the pooler's queue.
QUIET_S = 0.003
#: So long they stay in their transactions for a client that waits.
HOLD_S = 0.3
#: So many looks in a row have to say it: a client is shown with its server a moment longer than it has it.
LOOKS = 3
#: At the end nobody holds anything any more, so all have to come to their end.
FINISH_S = 10.0
#: So many more than servers may wait in the queue.
SPARE = 2

#: Makes a connection; the login is the neighbour's.
Connect = Callable[[], Wire]
#: How many clients wait for a server although none is free or on its way; those with these ports have left.
Waiting = Callable[[set[int]], int]


def depart(wire: Wire, how: str) -> None:
    """A client's end: "terminate", "fin", "reset", or "half": in the middle of a message."""
    if how == "half":
        wire.send(query("SELECT 'the rest never comes'")[:12])
    elif how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "terminate":
        wire.close()
    else:
        wire.socket.close()


class Phase(enum.Enum):
    IDLE = enum.auto()
    OPENING = enum.auto()  # until its transaction is open and the harm done
    HOLDING = enum.auto()  # stays in the transaction
    ENDING = enum.auto()
    GONE = enum.auto()


class Neighbour:
    """One of them: a list of requests, of which each is answered with one ReadyForQuery."""

    def __init__(self, wire: Wire, hello: bytes, name: str, quiet: bool) -> None:
        self.wire = wire
        self._say = by_name if quiet else query
        self.port: int = wire.socket.getsockname()[1]
        self.name = name
        self._hello = hello  # its startup packet; a login is answered with ReadyForQuery like all else
        self.phase = Phase.IDLE
        self.pid = 0
        self.stops = False
        self.problems: list[str] = []
        self._requests: deque[bytes] = deque()
        self._after: list[bytes] = []
        self._harm = Harm()
        self._ending = Ending()

    @property
    def busy(self) -> bool:
        return self.phase in (Phase.OPENING, Phase.ENDING)

    def begin(self, harm: Harm, ending: Ending, inside: bool) -> None:
        """Opens a transaction; the harm is done in it or after it."""
        self._harm, self._ending = harm, ending
        self.pid, self.stops, self.phase = 0, True, Phase.OPENING
        after = [self._say(text) for text in ending.after]
        self._requests.append(self._say("SELECT pg_backend_pid()"))
        if inside:
            self._requests.extend(harm.requests)
            self._after = [self._say(ending.finish), *after]
        else:
            self._after = [self._say("COMMIT"), *harm.requests, *after]
        self._requests.appendleft(self._say("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"))
        if self._hello:
            self._requests.appendleft(self._hello)
            self._hello = b""
        self._next()

    def end(self) -> None:
        """Ends its transaction, now or as soon as it has come so far."""
        self.stops = False
        if self.phase is Phase.HOLDING:
            self.phase = Phase.ENDING
            self._requests.extend(self._after)
            self._next()

    def go_on(self) -> None:
        """Something came: takes it; after a ReadyForQuery the next request goes out."""
        try:
            message = self.wire.receive()
        except (EndOfStream, TimeoutError) as error:
            self._failed(f"{type(error).__name__}")
            self.leave("fin")
            return
        if message.type == "D" and not self.pid:
            self.pid = int(message.values[0] or 0)
        elif message.type == "E":
            if message.fields["C"] not in (*self._harm.sqlstates, *self._ending.sqlstates, *OWN_FAULT):
                self._failed(f"{message.fields['C']} {message.fields['M']}")
        elif message.type == "Z":
            self._next()

    def _failed(self, what: str) -> None:
        self.problems.append(f"{self.name} ({self._harm.name}, then {self._ending.name}): {what}")

    def _next(self) -> None:
        if self._requests:
            self.wire.send(self._requests.popleft())
        elif self.phase is Phase.OPENING:
            self.phase = Phase.HOLDING
            if not self.stops:
                self.end()
        elif self._ending.leaves:
            self.leave(self._ending.leaves)
        else:
            self.phase = Phase.IDLE

    def leave(self, how: str) -> None:
        """Goes, one way or another."""
        depart(self.wire, how)
        self.phase = Phase.GONE


class Gang:
    """The neighbours of one pool. `quiet` ones do nothing that ends what another client has on a server: they
    find what is there although it should be replaced, or is no client's.
    """

    def __init__(
        self, servers: int, connect: Connect, hello: bytes, waiting: Waiting, quiet: bool = False
    ) -> None:
        self.servers = servers
        self._quiet = quiet
        self.problems: list[str] = []
        #: Of every round: the servers that neighbours had, and the one of them that was left to the client.
        self.rounds: list[tuple[list[int], int]] = []
        self._connect = connect
        self._hello = hello
        self._waiting = waiting
        self._names = itertools.count(1)
        self._plans = plans(QUIET_HARMS, QUIET_ENDINGS) if quiet else plans(HARMS, ENDINGS)
        self._all: list[Neighbour] = []
        self._departed: set[int] = set()

    def meet(self, wire: Wire) -> None:
        """A client under test has come, perhaps from the port of somebody who left."""
        self._departed.discard(wire.socket.getsockname()[1])

    def before(self, held: int) -> None:
        """Harm on all servers but those that the clients under test hold; leaves them one to run on."""
        free = self.servers - held
        if free <= 0:
            return
        waiting = [one for one in self._all if one.busy]
        starting = [self._idle() for _ in range(min(free, self.servers + SPARE - len(waiting)))]
        for one in starting:
            one.begin(*next(self._plans))
        self._pump(lambda: [one for one in starting if one.phase is Phase.OPENING])
        for one in starting:
            one.stops = False
        holding = sorted((one for one in starting if one.phase is Phase.HOLDING), key=lambda one: one.pid)
        if holding:
            last = self.rounds[-1][1] if self.rounds else 0
            chosen = next((one for one in holding if one.pid > last), holding[0])
            self.rounds.append(([one.pid for one in holding], chosen.pid))
            chosen.end()
            self._pump(lambda: [chosen] if chosen.busy else [])

    def receive(self, wire: Wire) -> Message:
        """The next message for a client under test; neighbours go on meanwhile.

        Statements like CREATE INDEX CONCURRENTLY wait for all transactions: after a while they end.
        """
        start = time.monotonic()
        deadline = start + (wire.socket.gettimeout() or FINISH_S)
        while not self._step([wire], HOLD_S):
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError
            if now > start + HOLD_S:
                for one in self._all:
                    one.end()
        return wire.receive()

    def after(self) -> None:
        """All end what they hold; who waits in the queue goes on waiting."""
        for one in self._all:
            one.end()
        self._pump(lambda: [one for one in self._all if one.busy])

    def finish(self) -> list[str]:
        """No client under test is left: all have to come to their end. What went wrong for them."""
        self.after()
        deadline = time.monotonic() + FINISH_S
        while any(one.busy for one in self._all) and time.monotonic() < deadline:
            self._step([], QUIET_S)
        self._forget([f"{one.name} got no server: {one.phase}" for one in self._all if one.busy])
        problems, self.problems = self.problems, []
        return problems

    def close(self) -> None:
        """All leave at once."""
        for one in self._all:
            if one.phase is not Phase.GONE:
                one.leave("fin")
        self._all.clear()

    def _idle(self) -> Neighbour:
        """One that has nothing to do, or a new one."""
        for one in self._all:
            if one.phase is Phase.IDLE:
                one.phase = Phase.OPENING
                return one
        self._all.append(
            Neighbour(self._connect(), self._hello, f"neighbour {next(self._names)}", self._quiet)
        )
        self._departed.discard(self._all[-1].port)
        return self._idle()

    def _forget(self, problems: list[str]) -> None:
        """Those who went; and who are in trouble go, so that nobody else is."""
        for one in self._all:
            if problems and one.phase is not Phase.GONE:
                one.leave("fin")
            self.problems += one.problems
            one.problems = []
            if one.phase is Phase.GONE:
                self._departed.add(one.port)
        self.problems += problems
        self._all = [one for one in self._all if one.phase is not Phase.GONE]

    def _pump(self, unfinished: Callable[[], list[Neighbour]]) -> None:
        """Lets neighbours go on until those are ready, or all of them wait in the queue."""
        deadline = time.monotonic() + ROUND_S
        looks = 0
        while unfinished() and looks < LOOKS and time.monotonic() < deadline:
            if self._step([], QUIET_S):
                looks = 0
            else:
                looks = looks + 1 if self._all_wait() else 0
        self._forget([])

    def _all_wait(self) -> bool:
        left = {one.port for one in self._all if one.phase is Phase.GONE}
        return self._waiting(self._departed | left) >= sum(one.busy for one in self._all)

    def _step(self, others: list[Wire], timeout_s: float) -> bool:
        """Takes what has come for neighbours, waits so long for it; whether something came (for `others`)."""
        busy = {one.wire.socket: one for one in self._all if one.busy}
        awaited = [wire.socket for wire in others]
        ready, _, _ = select.select([*awaited, *busy], [], [], max(timeout_s, 0))
        for sock in ready:
            if sock in busy:
                busy[sock].go_on()
        return any(sock in awaited for sock in ready) if others else bool(ready)


def plans(harms: list[Harm], endings: list[Ending]) -> Iterator[tuple[Harm, Ending, bool]]:
    """All combinations of harm and ending for ever, neighbours of one round differing in both."""
    for number in itertools.count():
        harm = harms[number % len(harms)]
        ending = endings[(number + number // len(harms)) % len(endings)]
        inside = harm.only_inside or ending.finish != "COMMIT" or (number // 2) % 2 == 0
        if not (harm.pins and ending.keeps):
            yield harm, ending, inside
