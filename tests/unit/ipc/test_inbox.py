"""Datagrams and descriptors through an inbox."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator

import pytest

from pooler.ipc import fds, inbox
from pooler.ipc.inbox import Datagram, Kind, MalformedDatagram
from tests.support.messages import send_client, send_closed

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    receive_end, send_end = inbox.open_pair()
    with receive_end, send_end:
        yield receive_end, send_end


def same_file(a: int, b: int) -> bool:
    x, y = os.fstat(a), os.fstat(b)
    return (x.st_dev, x.st_ino) == (y.st_dev, y.st_ino)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_format_is_what_the_relay_parses() -> None:
    assert inbox.FORMAT.pack(Kind.SERVER, -2, 7) == b"\2\0\0\0\xfe\xff\xff\xff\7\0\0\0"
    assert (Kind.CLIENT, Kind.SERVER, Kind.CLOSED) == (1, 2, 3)


def test_empty(pair: Pair) -> None:
    assert inbox.receive(pair[0]) is None


@pytest.mark.parametrize("is_unix", [False, True])
def test_client(pair: Pair, is_unix: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert send_client(pair[1], theirs.fileno(), is_unix)
        got = inbox.receive(pair[0])
        assert got is not None
        assert got[:3] == (Kind.CLIENT, int(is_unix), 0)
        assert not os.get_inheritable(got.fd)
        theirs.close()
        with socket.socket(fileno=got.fd) as moved:
            moved.sendall(b"hello")
            assert ours.recv(10) == b"hello"


def test_order_and_values(pair: Pair) -> None:
    with open(os.devnull) as null:
        assert inbox.send_server(pair[1], 17, 2**32 - 1, null.fileno())
        assert send_closed(pair[1], 17, 2**32 - 1)
        server, closed = inbox.receive(pair[0]), inbox.receive(pair[0])
        assert server is not None
        assert server[:3] == (Kind.SERVER, 17, 2**32 - 1)
        assert same_file(server.fd, null.fileno())
        os.close(server.fd)
    assert closed == Datagram(Kind.CLOSED, 17, 2**32 - 1, -1)


def test_full_is_an_answer(pair: Pair) -> None:
    before = open_fds()
    with open(os.devnull) as null:
        sent = 0
        while send_client(pair[1], null.fileno(), False):
            sent += 1
        assert sent > 50
        assert not send_closed(pair[1], 0, 0)
        for _ in range(sent):
            got = inbox.receive(pair[0])
            assert got is not None
            os.close(got.fd)
    assert inbox.receive(pair[0]) is None
    assert open_fds() == before


@pytest.mark.parametrize("payload", [b"x", b"x" * 13, inbox.FORMAT.pack(9, 0, 0), b"x" * 100])
def test_malformed_leaks_nothing(pair: Pair, payload: bytes) -> None:
    with open(os.devnull) as null:
        before = open_fds()
        assert fds.send(pair[1], payload, null.fileno())
        with pytest.raises(MalformedDatagram):
            inbox.receive(pair[0])
        assert open_fds() == before


def test_more_descriptors_than_asked_for_leak_nothing(pair: Pair) -> None:
    with open(os.devnull) as null:
        before = open_fds()
        rights = array.array("i", [null.fileno()] * 5)
        pair[1].sendmsg([inbox.FORMAT.pack(1, 0, 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        got = inbox.receive(pair[0])
        assert got is not None
        os.close(got.fd)
        assert open_fds() == before


def test_what_was_queued_outlives_the_reader(pair: Pair) -> None:
    """A worker that dies leaves its mail to its replacement."""
    assert send_closed(pair[1], 1, 1)
    assert send_closed(pair[1], 2, 2)
    pid = os.fork()
    if pid == 0:
        code = 0 if inbox.receive(pair[0]) == Datagram(Kind.CLOSED, 1, 1) else 1
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert inbox.receive(pair[0]) == Datagram(Kind.CLOSED, 2, 2)
