"""Servers that lie, by seed: they log in like PostgreSQL, then answer with messages whose fields are wrong.

Where `tests.support.fuzzing` bends bytes, this makes messages: each is framed well enough to be read, and
lies in what it says about itself or about what it was asked. The same seed gives the same lies.
"""

from __future__ import annotations

import contextlib
import random
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.support.fakeserver import KEY, PARAMETERS, READY, WELCOME, Peer, usual_answer
from tests.support.pooler import Pooler
from tests.support.wire import (
    FLUSH,
    SYNC,
    EndOfStream,
    Wire,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
    startup,
)

#: Names of parameters, settings, channels, statements that mean something to a pooler.
NAMES = (
    b"TimeZone",
    b"client_encoding",
    b"standard_conforming_strings",
    b"application_name",
    b"DateStyle",
    b"search_path",
    b"in_hot_standby",
    b"role",
    b"session_authorization",
    b"app.name",
    b"pooler_1",
    b"",
    b"x" * 63,
    b"x" * 300,
)
LETTERS = (b"s", b"p", b"l", b"f", b"k", b"d", b"o", b"n", b"x", b"e", b"q", b"v", b"", b"ss", b"\xff")
NUMBERS = (b"0", b"7", b"9", b"/", b":", b"-1", b"4294967296", b"9" * 30)
TAGS = (
    b"SELECT 1",
    b"DISCARD ALL",
    b"DEALLOCATE ALL",
    b"ROLLBACK",
    b"CREATE TABLE",
    b"ALTER ",
    b"COMMIT",
    b"SET",
    b"",
)
CODES = (b"0A000", b"42601", b"08P01", b"26000", b"22012", b"57P01", b"57014", b"", b"x", b"123456")
ROUTINES = (b"RevalidateCachedQuery", b"PortalSetResultFormat", b"")

#: What every healthy client says, and no client of a liar may ever hear.
SECRET = b"kept-from-liars"

Make = Callable[[random.Random], bytes]


def text(chance: random.Random) -> bytes:
    """A value, often one that is read as something else."""
    return chance.choice(
        (
            b"",
            b"on",
            b"off",
            b"UTF8",
            b"SJIS",
            b"pooler_1",
            b"1000pooler_1x",
            b"a\0b",
            b"'",
            b"\\",
            b'"',
            b"%s%n",
            b"A" * chance.randint(0, 600),
            b"B" * chance.choice((8000, 16370, 16384, 20000)),
            chance.randbytes(chance.randint(0, 10)),
            chance.choice(NUMBERS),
            chance.choice(NAMES),
        )
    )


def count_of(chance: random.Random, right: int) -> bytes:
    """A number of fields, mostly the right one."""
    return struct.pack("!H", right if chance.random() < 0.8 else chance.choice((0, 1, 2, 255, 65535)))


def field(chance: random.Random, value: bytes | None) -> bytes:
    """A column with its length, mostly the right one."""
    if value is None:
        return b"\xff" * 4
    wrong = (0, 1, len(value) + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
    size = len(value) if chance.random() < 0.9 else chance.choice(wrong)
    return struct.pack("!I", size) + value


def row(chance: random.Random) -> bytes:
    values = [chance.choice(LETTERS)]
    for _ in range(chance.randint(0, 4)):
        values.append(chance.choice((text(chance), chance.choice(NAMES), chance.choice(NUMBERS))))
    packed = b"".join(field(chance, None if chance.random() < 0.1 else value) for value in values)
    return message("D", count_of(chance, len(values)), packed)


def description(chance: random.Random) -> bytes:
    names = [chance.choice(NAMES) for _ in range(chance.randint(0, 3))]
    columns = b"".join(
        name + b"\0" + chance.randbytes(chance.choice((18, 18, 18, 17, 19, 0))) for name in names
    )
    return message("T", count_of(chance, len(names)), columns)


def parameters(chance: random.Random) -> bytes:
    types = chance.randint(0, 3)
    return message("t", count_of(chance, types), chance.randbytes(4 * types + chance.choice((0, 0, 0, 1))))


def failure(chance: random.Random, kind: str = "E") -> bytes:
    """An error or a notice: fields that are missing, doubled, empty, cut."""
    place = chance.choice((*NUMBERS, b"12", b"1000pooler_1x", b"", b"+5", b" 5"))
    severity = chance.choice((b"ERROR", b"ERROR", b"ERROR", b"FATAL", b"PANIC", b""))
    fields = [
        b"S" + severity,
        b"V" + severity,
        b"C" + chance.choice(CODES),
        b"M" + text(chance),
        b"P" + place,
        b"R" + chance.choice(ROUTINES),
    ]
    fields = [one for one in fields if chance.random() < 0.85]
    if chance.random() < 0.2:
        chance.shuffle(fields)
    end = chance.choice((b"\0", b"\0", b"\0", b"\0", b"", b"\0\0", b"\0x"))
    return message(kind, b"".join(one + b"\0" for one in fields) + end)


def notification(chance: random.Random) -> bytes:
    """Of any length, down to none."""
    body = (
        struct.pack("!I", chance.choice((0, 1, 4711, 0xFFFFFFFF)))
        + chance.choice(NAMES)
        + b"\0"
        + text(chance)
        + b"\0"
    )
    if chance.random() < 0.4:
        body = body[: chance.randint(0, len(body))]
    return message("A", body)


def status(chance: random.Random) -> bytes:
    """A ParameterStatus, or a storm of them."""
    if chance.random() < 0.1:
        return b"".join(message("S", b"app.p%d\0%d\0" % (n, n)) for n in range(300))
    body = chance.choice(NAMES) + b"\0" + text(chance) + chance.choice((b"\0", b"\0", b"\0", b"", b"\0x"))
    return message("S", body)


def nothing_in_it(chance: random.Random) -> bytes:
    return message(chance.choice("123nsIc"), chance.choice((b"", b"", b"", b"x")))


def copying(chance: random.Random) -> bytes:
    columns = chance.randint(0, 3)
    return message(chance.choice("GHWd"), b"\0" + count_of(chance, columns) + b"\0\0" * columns)


def complete(chance: random.Random) -> bytes:
    return message("C", chance.choice(TAGS) + chance.choice((b"\0", b"\0", b"\0", b"", b"\0x\0")))


def ready(chance: random.Random) -> bytes:
    return message("Z", chance.choice((b"I", b"I", b"T", b"E", b"X", b"", b"II", b"\0")))


def anything(chance: random.Random) -> bytes:
    """A head of any type and length."""
    lengths = (0, 3, 4, 5, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    return bytes([chance.randrange(256)]) + struct.pack("!I", chance.choice(lengths)) + chance.randbytes(8)


LIES: tuple[tuple[int, Make], ...] = (
    (20, row),
    (6, description),
    (4, parameters),
    (12, failure),
    (4, lambda chance: failure(chance, "N")),
    (10, notification),
    (12, status),
    (6, nothing_in_it),
    (4, copying),
    (6, complete),
    (5, ready),
    (1, anything),
)
WEIGHTS = [weight for weight, _ in LIES]
MAKERS = [make for _, make in LIES]


class LyingServers:
    """A script for the fake server; `seed` says how its next connections lie, and how often. `lies` counts
    the messages that were made by chance, `answers` the requests that were answered.
    """

    def __init__(self) -> None:
        self.seed = 0
        self.lies = self.answers = 0
        self._connections = 0

    def __call__(self, peer: Peer) -> None:
        self._connections += 1
        chance = random.Random(f"liar {self.seed}")
        often = chance.choice((0.02, 0.1, 0.3, 0.7))
        most = chance.choice((4, 4, 4, 40))
        peer.socket.settimeout(2)
        welcome = WELCOME
        if chance.random() < 0.1:
            welcome = welcome.replace(PARAMETERS, PARAMETERS + status(chance))
        if chance.random() < 0.1:
            key = message("K", chance.randbytes(chance.choice((8, 8, 8, 4, 12, 300))))
            welcome = welcome.replace(KEY, key)
        peer.send(welcome)
        self._answer(peer, chance, often, most)

    def _answer(self, peer: Peer, chance: random.Random, often: float, most: int) -> None:
        while True:
            kind, body = peer.message()
            if kind == b"X":
                return
            data = b""
            for _ in range(chance.randint(0, most)):
                if chance.random() < often:
                    data += chance.choices(MAKERS, WEIGHTS)[0](chance)
                    self.lies += 1
            data += usual_answer(kind, body)
            if kind in b"QS" and chance.random() < often / 4:
                data = data[: -len(READY)] + ready(chance)
            if chance.random() < often / 10:
                data = data[: chance.randint(0, len(data))]
            self._send(peer, data, chance)
            self.answers += 1

    @staticmethod
    def _send(peer: Peer, data: bytes, chance: random.Random) -> None:
        if len(data) > 1 and chance.random() < 0.2:
            cut = chance.randrange(len(data))
            peer.send(data[:cut])
            time.sleep(0.001)
            data = data[cut:]
        if data:
            peer.send(data)


NAMED = parse("SELECT 1", "s") + describe("S", "s") + bind(name="s") + describe() + execute()

#: What clients of a liar send: all that has a pooler read answers.
SESSIONS: tuple[bytes, ...] = (
    query("SELECT 1"),
    query("DO $$ a $$"),
    query("SET TimeZone = 'UTC'"),
    query("RESET ALL"),
    query("DISCARD ALL"),
    query("BEGIN") + query("SELECT nextval('q')") + query("COMMIT"),
    query("SELECT pg_advisory_lock(1)"),
    query("LISTEN v"),
    query("NOTIFY v, 'x'"),
    query("UNLISTEN *"),
    query("CREATE TABLE t (n int)"),
    query("EXECUTE s -- " + "x" * 200),
    query("DEALLOCATE s"),
    NAMED + SYNC,
    bind(name="s") + execute() + SYNC,
    NAMED + FLUSH + close("S", "s") + SYNC,
    parse("SELECT 1") + bind() + execute() + SYNC,
    query("COPY t FROM STDIN") + message("d", b"1\n") + message("c") + SYNC,
    query("SELECT currval('q')") + query("SELECT 2"),
)


class Neighbours:
    """Healthy clients of another database, at work while others are lied to."""

    def __init__(self, pooler: Pooler, database: str, count: int = 4) -> None:
        self.wires = [
            pooler.wire().login(database=database, application_name=SECRET.decode()) for _ in range(count)
        ]
        self.longest_s = 0.0
        self.answers = 0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="neighbours")

    def __enter__(self) -> Neighbours:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for wire in self.wires:
            wire.close()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                for number, wire in enumerate(self.wires):
                    self._ask(wire, number)
                time.sleep(0.002)
        except (AssertionError, EndOfStream, OSError) as failure:
            self.failure = failure

    def _ask(self, wire: Wire, number: int) -> None:
        started = time.monotonic()
        mark = b"%s-%d-%d" % (SECRET, number, self.answers)
        assert wire.rows(f"SELECT '{mark.decode()}'") == [[mark]]
        self.longest_s = max(self.longest_s, time.monotonic() - started)
        self.answers += 1

    def check(self) -> None:
        """All of them got all of their answers, and nothing else."""
        assert self.failure is None, repr(self.failure)
        assert self.answers, "they never had their turn"


def lied_to(pooler: Pooler, database: str, seed: int) -> None:
    """One client of a liar: sends what has the pooler ask and read, and must not hear what others say."""
    chance = random.Random(f"client {seed}")
    with pooler.wire(timeout_s=0.15) as wire, contextlib.suppress(OSError):
        parameters: dict[str, Any] = {"TimeZone": "UTC"} if chance.random() < 0.3 else {}
        wire.send(startup(database=database, **parameters))
        _hear(wire, chance)
        for _ in range(chance.randint(1, 6)):
            wire.send(*chance.choices(SESSIONS, k=chance.choice((1, 1, 1, 2, 4))))
            _hear(wire, chance)


def _hear(wire: Wire, chance: random.Random) -> None:
    """Whatever has come, up to something like an end."""
    heard = b""
    with contextlib.suppress(TimeoutError):
        while b"Z\0\0\0\5" not in heard:
            data = wire.socket.recv(1 << 20)
            if not data:
                break
            heard += data
            assert SECRET not in heard, heard[:2000]
            if len(heard) > 1 << 20 or chance.random() < 0.01:
                break
