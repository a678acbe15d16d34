"""One connection of a relay: what is read and written, in order, whatever the socket takes at a time."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pooler.core._core import Connection, ConnLoop

BUFFER = 65536
#: More than a pair of sockets holds.
FLOOD = b"f" * (1 << 20)


class Line:
    """A connection and the socket at its other end, on a loop of their own."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.loop = ConnLoop(self.epoll.fileno())
        self.mine, self.peer = socket.socketpair()
        self.mine.setblocking(False)
        self.peer.setblocking(False)
        self.connection = Connection(self.loop, self.mine.fileno(), "it")

    def close(self) -> None:
        self.mine.close()
        self.peer.close()
        self.epoll.close()

    def heard(self) -> bytes:
        """All that the peer can read now."""
        found = b""
        while True:
            try:
                more = self.peer.recv(1 << 20)
            except BlockingIOError:
                return found
            if not more:
                return found
            found += more

    def watched(self) -> int:
        """The events for which epoll watches it; 0: it does not."""
        text = Path(f"/proc/self/fdinfo/{self.epoll.fileno()}").read_text()
        for line in text.splitlines():
            words = line.split()
            if words[:2] == ["tfd:", str(self.mine.fileno())]:
                return int(words[3], 16)
        return 0


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


# ---- reading ----


def test_the_stash_comes_before_what_the_socket_has(line: Line) -> None:
    assert line.connection.stash(b"one ")
    line.peer.send(b"two")
    assert line.connection.fill() == (b"one two", True)
    assert line.connection.stashed == b""
    assert line.connection.fill() == (b"", False)


def test_a_short_read_has_emptied_the_socket(line: Line) -> None:
    line.peer.send(b"abc")
    assert line.connection.fill() == (b"abc", True)
    assert "readable" not in line.connection.facts
    line.peer.send(b"def")
    assert line.connection.fill() == (b"", False), "it is not read before epoll says so"
    line.connection.can_read()
    assert line.connection.fill() == (b"def", True)


def test_a_read_that_got_all_it_asked_for_has_not(line: Line) -> None:
    line.peer.send(b"abcdef")
    assert line.connection.fill(4) == (b"abcd", True)
    assert "readable" in line.connection.facts
    assert line.connection.fill(4) == (b"ef", True)
    assert "readable" not in line.connection.facts


def test_where_the_stash_fills_the_buffer_nothing_is_read(line: Line) -> None:
    assert line.connection.stash(b"abcd")
    line.peer.send(b"ef")
    assert line.connection.fill(4) == (b"abcd", False)
    assert "readable" in line.connection.facts


def test_unread_goes_in_front(line: Line) -> None:
    assert line.connection.stash(b"three ")
    assert line.connection.unread(b"two ")
    assert line.connection.unread(b"")
    assert line.connection.unread(b"one ")
    assert line.connection.stashed == b"one two three "


def test_reading_on_goes_behind(line: Line) -> None:
    assert line.connection.stash(b"one ")
    line.peer.send(b"two three")
    assert line.connection.read_on(4)
    assert line.connection.stashed == b"one two "
    assert line.connection.read_on(BUFFER * 2)
    assert line.connection.stashed == b"one two three"
    assert line.connection.read_on(4)
    assert line.connection.stashed == b"one two three"


def test_an_end_is_told_from_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for linger, broken in ((False, False), (True, True)):
            peer = socket.create_connection(server.getsockname())
            mine, _ = server.accept()
            with mine, select.epoll() as epoll:
                connection = Connection(ConnLoop(epoll.fileno()), mine.fileno(), "it")
                if linger:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                select.select([mine], [], [], 5)
                assert connection.fill() == (b"", False)
                facts = connection.facts
                assert ("eof" in facts, "hangup" in facts, "readable" in facts) == (True, True, False)
                assert ("broken" in facts) == broken


def test_what_came_before_the_end_is_read(line: Line) -> None:
    line.peer.send(b"bye")
    line.peer.shutdown(socket.SHUT_WR)
    assert line.connection.fill() == (b"bye", True)
    line.connection.can_read()
    assert line.connection.fill() == (b"", False)
    assert "eof" in line.connection.facts


# ---- writing ----


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 300_000)),
            st.tuples(st.just("append"), st.integers(0, 300_000)),
            st.tuples(st.sampled_from(["read", "flush"]), st.integers(1, 300_000)),
        ),
        max_size=20,
    )
)
def test_the_stream_is_what_was_sent(steps: list[tuple[str, int]]) -> None:
    line = Line()
    sent, heard = b"", b""
    for number, (what, n) in enumerate(steps):
        if what in ("send", "append"):
            data = bytes([number]) * n
            getattr(line.connection, what)(data)
            sent += data
        elif what == "flush":
            line.connection.flush()
        else:
            with contextlib.suppress(BlockingIOError):
                heard += line.peer.recv(n)
        assert sent.endswith(line.connection.out)
        assert "stuck" not in line.connection.facts or line.connection.out
    while len(heard) < len(sent):
        line.connection.flush()
        heard += line.heard()
    line.connection.flush()
    assert (heard, line.connection.out, "stuck" in line.connection.facts) == (sent, b"", False)
    line.close()


def test_writability_is_asked_for_only_while_something_is_stuck(line: Line) -> None:
    assert line.watched() == 0
    assert line.connection.arm()
    assert line.watched() & (select.EPOLLIN | select.EPOLLOUT) == select.EPOLLIN
    assert line.watched() & select.EPOLLET
    line.connection.send(FLOOD)
    assert line.watched() & select.EPOLLOUT
    while line.heard():
        line.connection.flush()
    assert not line.watched() & select.EPOLLOUT
    line.connection.disarm()
    assert line.watched() == 0


def test_since_when_nothing_goes_out(line: Line) -> None:
    line.loop.now = 1000
    line.connection.send(b"little")
    assert "stuck" not in line.connection.facts
    line.connection.send(FLOOD)
    line.loop.now = 2000
    line.connection.flush()
    line.connection.send(b"more")
    assert ("stuck" in line.connection.facts, line.connection.stuck_since) == (True, 1000)
    assert line.heard()
    line.loop.now = 3000
    line.connection.flush()
    assert ("stuck" in line.connection.facts, line.connection.stuck_since) == (True, 3000), "some went out"


def test_a_peer_that_is_gone_takes_all(line: Line) -> None:
    """That it is gone is noticed when it is read; until then nothing piles up."""
    line.peer.close()
    line.connection.send(FLOOD)
    assert line.connection.out == b""
    assert {"broken", "hangup", "readable"} <= line.connection.facts


# ---- what connections share ----


def test_connections_with_work_left_have_their_turns_once(line: Line) -> None:
    other = Connection(line.loop, -1, "other")
    for one in (other, line.connection, other):
        one.work_left()
    assert line.loop.ready == ["other", "it"]


def test_the_memory_of_one_that_is_dead_ends_after_the_round(line: Line) -> None:
    other = Connection(line.loop, -1, "other")
    other.work_left()
    line.connection.stash(b"left")
    line.connection.append(b"left")
    for one in (line.connection, other):
        one.end()
        one.work_left()
    assert (line.connection.stashed, line.connection.out) == (b"", b"")
    assert line.loop.closed == ["it"]
    assert line.loop.ready == ["other"], "it is in a list already, which is looked through"


def test_the_read_buffer_grows_for_a_message_and_shrinks_again(line: Line) -> None:
    assert line.loop.buffer_bytes == BUFFER
    assert line.loop.need_buffer(1000)
    assert line.loop.buffer_bytes == BUFFER
    assert line.loop.need_buffer(1 << 20)
    line.loop.trim_buffer()
    assert line.loop.buffer_bytes == 1 << 20, "such messages may come often"
    assert line.loop.need_buffer((1 << 20) + 1)
    line.loop.trim_buffer()
    assert line.loop.buffer_bytes == BUFFER
    line.peer.send(b"x")
    assert line.connection.fill() == (b"x", True)
