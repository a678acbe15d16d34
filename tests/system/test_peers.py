"""Peers: cancel requests that arrive at the wrong instance reach the right one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query

MakePooler = Callable[..., Pooler]


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def pair(request: pytest.FixtureRequest, make_pooler: MakePooler) -> tuple[Pooler, Pooler]:
    """Instances 1 and 258 (both bytes of the number are used) that know each other; peer 7 is not there."""
    found = [make_pooler(workers=request.param, databases={"p0": "pool_size=2"}) for _ in range(2)]
    peers = dict(zip((1, 258), found, strict=True))
    lines = [f"{number} = host={one.directory} port={one.port}" for number, one in peers.items()]
    lines += [f"7 = host={found[0].directory} port=1", ""]
    for number, one in peers.items():
        one.extra = "\n".join(["[peers]", *lines])
        one.configure(peer_id=number)
    return found[0], found[1]


def ask(pooler: Pooler, key: bytes) -> None:
    with pooler.wire() as other:
        other.send(cancel_bytes(key))
        other.expect_closed()


def cancel_bytes(key: bytes) -> bytes:
    return (8 + len(key)).to_bytes(4, "big") + (80877102).to_bytes(4, "big") + key


def key_of(wire: Wire) -> bytes:
    return wire.cancel_request()[8:]


def wait_until_running(pg: Postgres) -> None:
    text = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%%'"
    wait_for(lambda: pg.sql(text), 5, "a running query")


def test_the_key_tells_whose_client_it_is(pair: tuple[Pooler, Pooler]) -> None:
    keys = set()
    for number, pooler in zip((1, 258), pair, strict=True):
        for _ in range(20):
            with pooled(pooler) as wire:
                key = key_of(wire)
            assert key[1] + (key[2] << 8) == number
            assert key[7] & 3 == 3
            assert key[0] < 128
            keys.add(key)
    assert len(keys) == 40


def test_a_cancel_request_finds_its_peer(pair: tuple[Pooler, Pooler], pg: Postgres) -> None:
    here, there = pair
    with pooled(here) as wire:
        for at in (there, here, there):
            wire.send(query("SELECT pg_sleep(60)"))
            wait_until_running(pg)
            ask(at, key_of(wire))
            assert wire.receive_until("E")[-1].fields["C"] == "57014"
            wire.expect("Z")
        assert wire.query("SELECT 1")
    assert there.show("peer_pools") == [
        {
            "peer_id": 1,
            "cl_active_cancel_req": 0,
            "cl_waiting_cancel_req": 0,
            "sv_active_cancel": 0,
            "sv_login": 0,
        }
    ]
    assert here.show("peer_pools") == []
    rows = {row["peer_id"]: row["pool_size"] for row in there.show("peers")}
    assert rows == {1: 20, 7: 20, 258: 20}
    lists = {row["list"]: row["items"] for row in there.show("lists")}
    assert (lists["peers"], lists["peer_pools"]) == (3, 1)


def test_a_waiting_query_of_a_peer(pair: tuple[Pooler, Pooler]) -> None:
    here, there = pair
    with pooled(here) as one, pooled(here) as two, pooled(here) as waiting:
        for wire in (one, two):
            wire.query("BEGIN")
        waiting.send(query("SELECT 1"))
        wait_for(lambda: here.pool()["cl_waiting"], 5, "a waiting client")
        ask(there, key_of(waiting))
        assert waiting.receive_until("E")[-1].fields["C"] == "57014"


def test_a_request_is_not_handed_on_for_ever(pair: tuple[Pooler, Pooler], pg: Postgres) -> None:
    here, there = pair
    with pooled(here) as wire:
        wire.send(query("SELECT pg_sleep(60)"))
        wait_until_running(pg)
        key = key_of(wire)
        with there.expect_log("because: failed to forward cancel request because its TTL was exhausted"):
            ask(there, key[:7] + bytes([key[7] & ~3]))
        with there.expect_log("closing because: could not find peer to forward request to"):
            ask(there, key[:1] + bytes([99, 0]) + key[3:])
        with there.expect_log("closing because: failed to forward cancel request to its peer"):
            ask(there, key[:1] + bytes([7, 0]) + key[3:])
        with here.expect_log("closing because: failed cancel request"):
            ask(there, key[:7] + bytes([key[7] ^ 4]))
        for hops in (1, 2, 3):  # as it arrives from other peers
            ask(there, key[:7] + bytes([key[7] & ~3 | hops]))
            assert wire.receive_until("E")[-1].fields["C"] == "57014"
            wire.expect("Z")
            wire.send(query("SELECT pg_sleep(60)"))
            wait_until_running(pg)
        ask(here, key)
        wire.receive_until("Z")


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A peer that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_pool_size_of_a_peer(pair: tuple[Pooler, Pooler], silent: socket.socket) -> None:
    here, _ = pair
    here.extra = f"[peers]\n9 = host=127.0.0.1 port={silent.getsockname()[1]} pool_size=2\n"
    here.configure(cancel_wait_timeout=1)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            wire = stack.enter_context(here.wire())
            wire.send(cancel_bytes(b"\x01\x09\x00\x04\x05\x06\x07\x03"))
        with here.expect_log("closing because: cancel_wait_timeout", count=3):
            wait_for(lambda: here.show("peer_pools")[0]["sv_active_cancel"] == 2, 5, "two connections")
            silent.settimeout(5)
            taken = [stack.enter_context(silent.accept()[0]) for _ in range(2)]
        for sock in taken:
            sock.settimeout(5)
            assert sock.recv(100) == cancel_bytes(b"\x01\x09\x00\x04\x05\x06\x07\x02")
        silent.settimeout(0.1)
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_peer_that_answers_without_end(make_pooler: MakePooler, silent: socket.socket) -> None:
    """Only its end is waited for: while it talks others are served, by the same worker."""
    pooler = make_pooler(workers=1, databases={"p0": ""})
    pooler.extra = f"[peers]\n9 = host=127.0.0.1 port={silent.getsockname()[1]}\n"
    pooler.configure(peer_id=1)
    stop = threading.Event()

    def talk(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                sock.sendall(b"x" * (1 << 20))

    with pooler.wire() as wire:
        wire.send(cancel_bytes(b"\x01\x09\x00\x04\x05\x06\x07\x03"))
        silent.settimeout(5)
        taken, _ = silent.accept()
        with taken:
            talker = threading.Thread(target=talk, args=(taken,))
            talker.start()
            try:
                for _ in range(3):
                    assert pooler.show("workers")
            finally:
                stop.set()
                talker.join()
