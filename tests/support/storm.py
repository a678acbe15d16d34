"""Hundreds of raw clients in one thread: each asks, reads the answer, asks again, and returns when cut off.

Cheap enough to stand beside two busy cores. Every break is kept with the local port of the socket, so that a
test can tell whose clients they were.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from types import TracebackType

from tests.support.processes import wait_for
from tests.support.wire import TERMINATE, Message, query, startup

#: A client that was cut off or refused tries again after this.
RETURN_S = 0.02
#: The loop looks at the clock at least this often.
TICK_S = 0.01


class Storm:
    """`count` clients of one database that go on asking until the end of the block."""

    def __init__(
        self,
        address: tuple[str, int],
        count: int,
        text: str = "SELECT 1",
        user: str = "bouncer",
        database: str = "p0",
    ) -> None:
        self.address = address
        self.count = count
        self.question = query(text)
        self.greeting = startup(user, database)
        self.answers = 0
        self.logins = 0
        self.slowest_s = 0.0
        self.errors: Counter[str] = Counter()  # "57P01 terminating connection ..." -> how often
        self.breaks: list[int] = []  # local ports of clients that were cut off after their login
        self.refusals = 0  # attempts that ended before the login was done
        self.ports: set[int] = set()  # of those that are logged in
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._members: dict[int, _Member] = {}
        self._due: list[float] = [0.0] * count  # when an absent client comes back
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storm")

    def __enter__(self) -> Storm:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def wait_until_complete(self, timeout_s: float = 10) -> None:
        """All clients are logged in."""
        wait_for(lambda: len(self.ports) == self.count or not self._thread.is_alive(), timeout_s, f"{self}")
        assert self._failure is None, self._failure

    def wait_for_answers(self, more: int, timeout_s: float = 10) -> None:
        """That many answers more than now."""
        goal = self.answers + more
        wait_for(lambda: self.answers >= goal, timeout_s, f"{more} more answers, {self}")

    def __str__(self) -> str:
        return (
            f"{len(self.ports)} of {self.count} clients, {self.answers} answers, {len(self.breaks)} breaks, "
            f"{self.refusals} refusals, errors {dict(self.errors)}"
        )

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                now = time.monotonic()
                for index in range(self.count):
                    if index not in self._members and self._due[index] <= now:
                        self._come(index)
                for key, events in self._selector.select(TICK_S):
                    self._serve(key.data, events)
        except BaseException as failure:
            self._failure = failure
        finally:
            for member in self._members.values():
                with contextlib.suppress(OSError):
                    member.sock.send(TERMINATE)
                member.sock.close()
            self._selector.close()

    def _come(self, index: int) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        code = sock.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._absent(index, refused=True)
            return
        self._members[index] = _Member(index, sock)
        self._selector.register(sock, selectors.EVENT_WRITE, self._members[index])

    def _absent(self, index: int, refused: bool) -> None:
        self.refusals += refused
        self._due[index] = time.monotonic() + RETURN_S

    def _serve(self, member: _Member, events: int) -> None:
        alive = False
        with contextlib.suppress(ConnectionError, TimeoutError):
            if events & selectors.EVENT_WRITE:
                member.sock.send(self.greeting)
                self._selector.modify(member.sock, selectors.EVENT_READ, member)
                alive = True
            else:
                alive = self._read(member)
        if alive:
            return
        self._selector.unregister(member.sock)
        member.sock.close()
        del self._members[member.index]
        if member.port:
            self.breaks.append(member.port)
            self.ports.discard(member.port)
        self._absent(member.index, refused=not member.port)

    def _read(self, member: _Member) -> bool:
        data = member.sock.recv(65536)
        member.buffer += data
        for message in member.messages():
            if message.type == "E":
                self.errors[f"{message.fields.get('C')} {message.fields.get('M')}"] += 1
            elif message.type == "Z":
                self._ready(member)
        return bool(data)

    def _ready(self, member: _Member) -> None:
        now = time.monotonic()
        if member.port:
            self.answers += 1
            self.slowest_s = max(self.slowest_s, now - member.asked_s)
        else:
            member.port = member.sock.getsockname()[1]
            self.logins += 1
            self.ports.add(member.port)
        member.asked_s = now
        member.sock.send(self.question)


class _Member:
    """One client: its socket, and what it read of a message that is not complete."""

    def __init__(self, index: int, sock: socket.socket) -> None:
        self.index = index
        self.sock = sock
        self.buffer = b""
        self.port = 0  # 0: not logged in yet
        self.asked_s = 0.0

    def messages(self) -> list[Message]:
        """What is complete."""
        found = []
        while len(self.buffer) >= 5:
            kind, length = struct.unpack_from("!cI", self.buffer)
            if len(self.buffer) < length + 1:
                break
            found.append(Message(kind.decode("latin-1"), self.buffer[5 : length + 1]))
            self.buffer = self.buffer[length + 1 :]
        return found
