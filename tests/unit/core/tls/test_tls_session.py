"""A session of TLS by itself: what it reads of a socket before others have their turn."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
from contextlib import closing
from pathlib import Path

import pytest

from pooler.core._core import TlsContext, TlsSession, tls_key_updates
from pooler.dev.processes import Account
from tests.support.certificates import Authority, Pair

#: Those of the longest record, and of its head; no read of ours takes as many again.
RECORD_BYTES = 17_408

CHANGES = 2_000


@pytest.fixture(scope="module")
def pair(work: Path, owner: Account) -> Pair:
    return Authority(work / "sessions", owner).sign("server", "/CN=localhost")


@pytest.fixture
def ends(pair: Pair) -> tuple[TlsSession, TlsSession]:
    """A client and a server that have shaken hands, without a socket."""
    context = TlsContext(server=True, key=pair.key.read_bytes(), certificate=pair.cert.read_bytes())
    client, server = TlsContext(server=False).session(), context.session()
    bytes_for_server, done = client.handshake(b"")[1], False
    while not done:
        done, bytes_for_client, _ = server.handshake(bytes_for_server)
        bytes_for_server = client.handshake(bytes_for_client)[1]
    return client, server


def unread(end: socket.socket) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(end, termios.FIONREAD, count)
    return count[0]


def test_new_keys_without_end_do_not_hold_a_read(ends: tuple[TlsSession, TlsSession]) -> None:
    """OpenSSL reads on behind what carries no data: a read of ours returns, and says that more may come."""
    client, server = ends
    flood = tls_key_updates(client, CHANGES, b"behind them")
    assert len(flood) > 3 * RECORD_BYTES
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ours.setblocking(False)
        server.attach(ours.fileno())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(flood))
        theirs.sendall(flood)
        reads, before, data = 0, unread(ours), None
        while data is None:
            assert before - unread(ours) <= reads * RECORD_BYTES
            data = server.read(65536)
            reads += 1
            assert server.paused is (data is None)
        assert data == b"behind them"
        assert reads > 3


def test_much_data_is_read_at_once(ends: tuple[TlsSession, TlsSession]) -> None:
    client, server = ends
    sent = b"".join(tls_key_updates(client, 0, bytes(16_384)) for _ in range(4))
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ours.setblocking(False)
        server.attach(ours.fileno())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(sent))
        theirs.sendall(sent)
        assert server.read(65_536) == bytes(65_536)
