"""A server that its client keeps only for what nobody else would miss is given up while others wait, whatever
that client waits for; the client goes on with another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.exchange import pooled
from tests.support.fakeserver import Peer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.spoiler import Spoiler
from tests.support.wire import Wire, query

MakePooler = Callable[..., Pooler]


def cancel(pooler: Pooler, wire: Wire) -> None:
    with pooler.wire() as other:
        other.send(wire.cancel_request())
        other.expect_closed()


def test_a_client_whose_message_waits_for_a_cancel_request(make_pooler: MakePooler, pg: Postgres) -> None:
    """Nobody tells it of the end of that request, for the server is not its any more by then."""
    deliver = threading.Event()

    def hold(_peer: Peer) -> None:
        deliver.wait(20)

    with Spoiler(pg, hold) as spoiler:
        pooler = make_pooler(workers=1, databases={"p0": f"port={spoiler.port} pool_size=1"})
        pooler.learn_catalogs()
        with pooled(pooler) as ear, pooled(pooler) as other, pooler.wire() as mine:
            ear.query("LISTEN weakly")
            mine.login(temp_buffers="2MB").query("SELECT 1")
            assert [pin["reason"] for pin in pooler.show("pins", database="p0")] == ["setting"]
            canceler = threading.Thread(target=cancel, args=(pooler, mine))
            canceler.start()
            wait_for(lambda: spoiler.cancels, 5, "the cancel request")
            mine.send(query("NOTIFY weakly"))
            other.send(query("SELECT 1"))
            try:
                wait_for(lambda: pooler.pool("p0")["cl_waiting"] == 2, 5, "both without a server")
            finally:
                deliver.set()
                canceler.join()
            other.expect("TDCZ")
            mine.expect("CZ")
            ear.receive_until("A")
            for wire in (ear, other, mine):
                wire.close()
