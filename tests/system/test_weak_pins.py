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
from tests.support.wire import SYNC, Wire, bind, execute, parse, query

MakePooler = Callable[..., Pooler]


def cancel(pooler: Pooler, wire: Wire) -> None:
    with pooler.wire() as other:
        other.send(wire.cancel_request())
        other.expect_closed()


#: Says too much to be looked at as one message.
LONG = parse(f"SELECT length('{'x' * 40_000}')")


def make_floating(wire: Wire) -> None:
    """From now on it keeps its servers: nobody knows what the statement was parsed under."""
    wire.send(parse("SET DateStyle = German") + bind() + execute() + parse("SELECT 1", "floating") + SYNC)
    wire.receive_until("Z")


def test_a_client_that_has_begun_a_message(make_pooler: MakePooler, pg: Postgres) -> None:
    """Sequences of others were discarded for it, and the rest of the message is not there yet."""
    pg.sql("CREATE SEQUENCE weakly; GRANT ALL ON weakly TO PUBLIC", dbname="p0")
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    pooler.learn_catalogs()
    with pooled(pooler) as other, pooled(pooler) as mine:
        make_floating(mine)
        other.query("SELECT nextval('weakly')")
        mine.query("SELECT 1")
        assert [pin["reason"] for pin in pooler.show("pins", database="p0")] == ["setting"]
        mine.send(LONG[:-10])
        mine.expect_silence(0.3)
        assert other.rows("SELECT 1") == [[b"1"]]
        mine.send(LONG[-10:] + bind() + execute() + SYNC)
        mine.expect("12DCZ")
        mine.close()
        other.close()
    pg.sql("DROP SEQUENCE weakly", dbname="p0")


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
