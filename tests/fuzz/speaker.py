"""A client of the long run of the reference model: long random scripts by seed, and every answer compared."""

from __future__ import annotations

import enum
import random
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.protocol.model.drive import LOST, TERMINATED, check, is_cut, said
from tests.protocol.model.model import Backend, Op
from tests.protocol.model.pieces import PIECES, Group, Order, Piece, about_settings
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import TERMINATE, Message, startup

#: So many messages, more or less, go into a pipeline before its answers are awaited.
PIPELINES = (1, 1, 2, 3, 5, 8, 20, 60, 150, 400)
#: So many go in one write.
WRITES = (1, 2, 3, 8, 30, 1000)
#: A connection has about so many messages in all, then another one follows.
CONNECTION = (20, 300, 1000, 3000)

#: What is sent while a COPY is under way, mostly; anything else ends the connection.
IN_COPY: Piece = tuple(Op(kind) for kind in (*["good"] * 6, *["bad"] * 2, *["c"] * 4, "f", "S", "H"))
OTHERWISE = 0.003  # how often it is something else
#: What leads out of a transaction that is left open between two pipelines, so that others have their turn.
WAY_OUT: tuple[Piece, ...] = ((Op("Q", text="COMMIT"),), (Op("Q", text="ROLLBACK"),))

#: A backend that was terminated is noticed by all its clients within this, on a machine with other work.
MORTAL_S = 10.0
#: Nothing is silent for longer, on a machine with other work.
PATIENCE_S = 60.0


class Desynchronised(AssertionError):
    """A client has heard something else than the model says."""


@dataclass
class Figures:
    """What a run has done so far."""

    faults: int = 0  # what pooler did wrong
    messages: int = 0  # whose answers were compared
    answers: int = 0
    connections: int = 0
    lost: int = 0  # and that ended with an unnamed statement that pooler may not know
    repeats: int = 0  # ParameterStatus messages with the value that the client knew
    killed: int = 0  # or with their backend
    uncompared: int = 0  # messages of these, and of connections that were reset
    slowest_s: float = 0.0  # pipeline


@dataclass
class Script:
    """What one connection sends, made as it goes: what comes next depends on where the model is."""

    chance: random.Random
    groups: tuple[Group, ...]
    about: tuple[Group, ...]
    model: Backend
    order: Order = field(init=False)
    ends: list[int] = field(default_factory=list)  # how many answers there are behind each message

    def __post_init__(self) -> None:
        self.order = Order(self.model)

    def pipeline(self, size: int) -> list[Op]:
        """The next messages, with an end that makes PostgreSQL say all that it has to say."""
        ops: list[Op] = []
        self.ends.clear()
        while len(ops) < size and not self.model.ended:
            for op in self._piece():
                if self._ends_all(op) and self.chance.random() > OTHERWISE:
                    break
                self._take(op, ops)
        if self.model.status != "I" and not self.model.copy and self.chance.random() < 0.5:
            self._take(Op("S"), ops)
            for op in self.chance.choice(WAY_OUT):
                self._take(op, ops)
        self._take(Op("H" if self.model.copy or self.chance.random() < 0.3 else "S"), ops)
        return ops

    def _ends_all(self, op: Op) -> bool:
        """Whether the connection ends for it, in a COPY."""
        return self.model.copy != "" and op.kind not in ("good", "bad", "c", "f", "S", "H")

    def _piece(self) -> Piece:
        if self.model.copy and self.chance.random() > OTHERWISE:
            return (self.chance.choice(IN_COPY),)
        groups = self.about if self.chance.random() < 0.25 else self.groups
        return self.chance.choice(self.chance.choice(groups))

    def _take(self, op: Op, ops: list[Op]) -> None:
        before = len(self.model.said)
        sent = self.order.take(op)
        ops.extend(sent)
        if len(sent) > 1:  # a Sync went first
            self.ends.append(before + 1 + self.model.said[before].startswith("S"))
        if sent:
            self.ends.append(len(self.model.said))


class State(enum.Enum):
    LOGIN = enum.auto()
    TALKS = enum.auto()
    LEAVES = enum.auto()  # has said Terminate, or closed its side; the rest of the answers comes
    OVER = enum.auto()


#: What a message says, by its bytes: most of them come again and again.
_known: dict[bytes, str | None] = {}
KNOWN_MAX = 20_000


def read(data: bytearray, heard: list[str]) -> None:
    """Takes whole messages off the data; what they say, as the model writes it."""
    at, size = 0, len(data)
    while size - at >= 5:
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        if end > size:
            break
        raw = bytes(data[at:end])
        at = end
        if raw not in _known:
            if len(_known) > KNOWN_MAX:
                _known.clear()
            _known[raw] = said(Message(chr(raw[0]), raw[5:]))
        if (what := _known[raw]) is not None:
            heard.append(what)
    del data[:at]


class Speaker:
    """One client of a seed: connection after connection, pipeline after pipeline."""

    def __init__(
        self,
        server: Pooler | Postgres,
        database: str,
        settings: tuple[str, ...],
        seed: int,
        client: int,
        connections: int,
        figures: Figures,
        selector: selectors.BaseSelector,
    ) -> None:
        self.server = server
        self.database = database
        self.about = about_settings(settings)
        self.seed = seed
        self.name = f"{seed}.{client}"
        self.left = connections
        self.number = 0
        self.figures = figures
        self.selector = selector
        self.mortal_until = 0.0
        self._connect()

    @property
    def is_over(self) -> bool:
        return self.state is State.OVER and self.left <= 0

    # -- a connection

    def _connect(self) -> None:
        self.number += 1
        self.left -= 1
        self.figures.connections += 1
        mark = f"{self.name}.{self.number}"
        self.chance = random.Random(mark)
        self.model = Backend(mark)
        self.script = Script(self.chance, PIECES, self.about, self.model)
        self.remaining = self.chance.choice(CONNECTION)
        self.encoded: dict[Op, bytes] = {}
        self.sent: list[list[Op]] = []  # all of this connection, for the report of a fault
        self.heard: list[str] = []
        self.compared = 0
        self.under_way = 0
        self.data = bytearray()
        self.last_data = b""
        self.reported = ""
        self.state = State.LOGIN
        self.cut = False  # the end of the connection has to follow
        self.shut = self.reset = False
        self.reset_after = 0
        self.began = time.monotonic()
        self.socket = socket.create_connection((self.server.host, self.server.port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.selector.register(self.socket, selectors.EVENT_READ, self)
        self.writes: deque[bytes] = deque([startup(database=self.database)])

    def _close(self, count_as: str = "") -> None:
        if count_as:
            setattr(self.figures, count_as, getattr(self.figures, count_as) + 1)
        self.figures.uncompared += self.under_way
        self.selector.unregister(self.socket)
        self.socket.close()
        self.state = State.OVER
        if self.left > 0:
            self._connect()

    # -- what it sends

    def _next(self) -> None:
        """The next pipeline, or the last one."""
        self.reported = "S" + self.model.reported
        self.model.forget()
        del self.heard[: self.compared]
        self.compared = 0
        self.began = time.monotonic()
        ops = self.script.pipeline(min(self.remaining, self.chance.choice(PIPELINES)))
        self.remaining -= len(ops)
        self.sent.append(ops)
        self.under_way = len(ops)
        self.writes.extend(self._in_writes(ops))
        if self.remaining <= 0 and not self.model.ended:
            self._leave()

    def _in_writes(self, ops: list[Op]) -> Iterator[bytes]:
        size = self.chance.choice(WRITES)
        for at in range(0, len(ops), size):
            yield b"".join(map(self._data, ops[at : at + size]))

    def _data(self, op: Op) -> bytes:
        found = self.encoded.get(op)
        if found is None:
            found = self.encoded[op] = op.data(self.model.mark)
        return found

    def _leave(self) -> None:
        """Behind the last pipeline: says Terminate, closes its side, or resets the connection."""
        self.state = State.LEAVES
        how = self.chance.choice(("terminate", "end of stream", "reset"))
        if how == "terminate":
            self.writes.append(TERMINATE)
        self.shut = how == "end of stream"
        self.reset = how == "reset"
        self.reset_after = self.chance.randrange(len(self.writes) + 1)  # writes that are left

    def push(self) -> bool:
        """One write, if there is one; whether there are more."""
        if not self.writes:
            return False
        try:
            sent = self.socket.send(self.writes[0])
        except BlockingIOError:
            return False
        except OSError:
            self.writes.clear()  # what was said before is still there to be read
            return False
        if sent < len(self.writes[0]):
            self.writes[0] = self.writes[0][sent:]
            return True
        self.writes.popleft()
        if self.state is State.LEAVES:
            if self.reset and len(self.writes) <= self.reset_after:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._close()
                return True
            if self.shut and not self.writes:
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    return False
        if not self.writes and self.state is not State.LOGIN:
            self._compare()  # nothing may be left to be said
        return bool(self.writes)

    # -- what it hears

    def pull(self) -> None:
        """Reads what has come."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._at_end()
            return
        self.data += data
        self.last_data = data[-300:]
        if self.state is State.LOGIN:
            self._greeted()
            return
        read(self.data, self.heard)
        self._compare()

    def _greeted(self) -> None:
        heard: list[str] = []
        at = self.data.find(b"Z\0\0\0\5I")
        if b"application_name" in self.data and b"application_name\0\0" not in self.data:
            raise Desynchronised(f"{self.name}: greeted with another's: {bytes(self.data)!r}")
        if self.data[:1] == b"E":
            raise Desynchronised(f"{self.name}: refused: {bytes(self.data)!r}")
        if at >= 0:
            del self.data[: at + 6]
            self.state = State.TALKS
            read(self.data, heard)
            if heard:
                raise Desynchronised(f"{self.name}: said behind the login: {heard}")
            self._next()

    def _compare(self) -> None:
        heard, want = self.heard, self.model.said
        if self.cut:
            return
        if heard[self.compared :] == want[self.compared : len(heard)]:
            self.figures.answers += len(heard) - self.compared
            self.compared = len(heard)
            if self.compared == len(want) and not self.writes and not self.model.ended:
                self._answered()
            return
        while self.compared < len(want) and heard[self.compared] == want[self.compared]:
            self.compared += 1
            self.figures.answers += 1
        odd = heard[self.compared]
        if odd == self._reported():
            self.figures.repeats += 1
            del heard[self.compared]
            self._compare()
            return
        if [odd] in LOST and self.compared in self.model.lost and isinstance(self.server, Pooler):
            self._close("lost")
        elif odd in TERMINATED or self.model.ended or (self.model.copy and self.state is State.LEAVES):
            self.cut = True  # judged at the end
        else:
            raise Desynchronised(f"{odd} instead of {want[self.compared : self.compared + 1]}")

    def _reported(self) -> str:
        """What the client was told last of what is reported to it."""
        told = [what for what in self.model.said[: self.compared] if what.startswith("S")]
        return told[-1] if told else self.reported

    def _answered(self) -> None:
        self.figures.messages += self.under_way
        self.under_way = 0
        self.figures.slowest_s = max(self.figures.slowest_s, time.monotonic() - self.began)
        if self.state is State.TALKS:
            self._next()

    def _at_end(self) -> None:
        """The connection has ended: as the model says, or as pooler may where nobody can know."""
        if self.state is State.LOGIN:
            raise Desynchronised("closed in the login")
        if self.state is State.LEAVES and self.reset:
            self._close()
            return
        if self.state is State.TALKS and not self.model.ended and self.heard == self.model.said:
            whole = False  # it should not have ended
        else:
            try:
                check(self.heard, self.model, pooler=isinstance(self.server, Pooler))
                whole = True
            except AssertionError:
                whole = False
        if not whole:
            if not self._is_mortal() or not is_cut(self.heard, self.model):
                raise Desynchronised("the connection has ended")
            self._close("killed")
        else:
            self.figures.messages += self.under_way
            self.under_way = 0
            self._close()

    def _is_mortal(self) -> bool:
        return self.began < self.mortal_until

    def backends_die(self) -> None:
        """Backends of its database have just been terminated; one of them may be its own."""
        self.mortal_until = time.monotonic() + MORTAL_S

    # -- reports

    def look(self) -> None:
        """Whether its answers come at all."""
        if time.monotonic() - self.began > PATIENCE_S and self.state is not State.OVER:
            raise Desynchronised("silence")

    def story(self, last: int = 40) -> str:
        """What it has sent and heard: the pipeline under way, and some messages that came before it."""
        before = [op for pipeline in self.sent[:-1] for op in pipeline]
        lines = [f"client {self.name}.{self.number} of {self.database}, {self.state.name}"]
        lines += [f"  {op}" for op in before[-last:]]
        lines.append("  -- all of that is answered; the pipeline under way, and its answers:")
        at = 0
        for op, end in zip(self.sent[-1] if self.sent else (), self.script.ends, strict=False):
            lines.append(f"  {op!s:60} {' '.join(self.model.said[at:end])}")
            if at <= self.compared < end:
                lines.append(
                    f"  -- heard were {self.heard[max(at, self.compared - 10) : self.compared + 20]}"
                )
            at = end
        lines.append(f"  -- the last bytes: {self.last_data!r}")
        return "\n".join(lines)

    def drop(self) -> None:
        """No more of it."""
        self.left = 0
        if self.state is not State.OVER:
            self._close()
