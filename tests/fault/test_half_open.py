"""Hosts that fall silent and never close: what was asked of them is given up in time, and service goes on.

The fake server plays a host behind a dead network: it neither answers nor ends a connection until the test
lets it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import PATIENCE_S, WELCOME, FakeServer, Peer, Script
from tests.support.health import assert_no_bugs
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import startup

MakePooler = Callable[..., Pooler]


class Silence:
    """Scripts whose connections fall silent, each but for the numbers that stay sane, until the test ends."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.count = 0

    def fall(self) -> None:
        self.over.wait(PATIENCE_S)

    def first(self, silent: Script) -> Script:
        """The first connection does this and falls silent; the others are sane."""

        def script(peer: Peer) -> None:
            self.count += 1
            if self.count == 1:
                silent(peer)
                self.fall()
            else:
                peer.send(WELCOME)
                peer.serve()

        return script


@pytest.fixture
def silence() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.over.set()


def states(pooler: Pooler, database: str) -> list[str]:
    return sorted(row["state"] for row in pooler.show("slots", database=database))


@pytest.mark.parametrize("query_of_ours", [False, True], ids=["login", "connect_query"])
def test_login_that_never_ends(make_pooler: MakePooler, silence: Silence, query_of_ours: bool) -> None:
    """The next server is opened although the host has not closed the connection, which goes on to count."""
    silent: Script = (lambda peer: peer.send(WELCOME)) if query_of_ours else (lambda peer: None)
    with FakeServer({"*": silence.first(silent)}) as fake:
        keys = "connect_query='SELECT 1'" if query_of_ours else ""
        pooler = make_pooler(
            workers=1,
            databases={"f": f"port={fake.port} pool_size=2 {keys}"},
            server_connect_timeout=1,
        )
        with pooler.wire(timeout_s=6) as wire:
            wire.send(startup(database="f"))
            wire.receive_until("Z")
            assert wire.rows("SELECT 1") == [[b"1"]]
            assert states(pooler, "f") == ["closing", "idle"]
            if query_of_ours:
                wait_for(lambda: fake.cancels, 3, "a cancel request for what the connection runs")
            silence.over.set()
            wait_for(lambda: states(pooler, "f") == ["idle"], 3, "the end of the first")
        assert_no_bugs(pooler)
