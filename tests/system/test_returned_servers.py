"""What a server may be left in and what becomes of it: given back, not kept, not with other settings."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query

MakePooler = Callable[..., Pooler]

ONE = {"p0": "pool_size=1"}


def until_ready(wire: Wire) -> list[str]:
    """Types of the messages up to ReadyForQuery."""
    types: list[str] = []
    while not types or types[-1] != "Z":
        types.append(wire.receive().type)
    return types


def assert_free(pooler: Pooler) -> None:
    """The pool's only server serves somebody else."""
    with pooler.wire(timeout_s=3) as other:
        assert other.login().rows("SELECT 1") == [[b"1"]]


def test_late_copy_data_does_not_keep_the_server(make_pooler: MakePooler, pg: Postgres) -> None:
    """A COPY fails while its client is in the middle of a CopyData message; the rest of it is no matter."""
    pooler = make_pooler(workers=1, databases=ONE)
    with pooler.wire() as wire:
        wire.login()
        wire.rows("CREATE TABLE IF NOT EXISTS review_copy (n int)")
        wire.send(query("COPY review_copy FROM STDIN"))
        assert wire.receive().type == "G"
        rest = b"x" * 50_000
        wire.send(b"d" + struct.pack("!I", 8) + b"abc\n", b"d" + struct.pack("!I", 4 + 2 * len(rest)) + rest)
        types = until_ready(wire)
        assert types == ["E", "Z"], types
        wire.send(rest)
        assert_free(pooler)
        assert wire.rows("SELECT 2") == [[b"2"]]


def test_rollback_of_a_client_that_left_takes_its_settings_back(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, databases=ONE)
    pooler.learn_catalogs()  # else the server is closed: it may have run anything
    with pooler.wire() as first:
        first.login(TimeZone="UTC")
        first.rows("SELECT 1")
        first.rows("BEGIN")
        first.rows("SET TimeZone = 'Asia/Tokyo'")
    wait_for(lambda: pooler.pool()["sv_idle"] == 1, 3, "the rollback")
    with pooler.wire() as second:
        second.login(TimeZone="Asia/Tokyo")
        assert second.rows("SELECT current_setting('TimeZone')") == [[b"Asia/Tokyo"]]


def test_idle_server_with_a_message_in_pieces(make_pooler: MakePooler, pg: Postgres) -> None:
    """Notifications reach an idle server, more than one read brings: it comes back to the pool."""
    pooler = make_pooler(workers=1, databases=ONE)
    with pooler.wire() as wire:
        wire.login()
        wire.rows("LISTEN review")
        pg.sql(
            "SELECT count(pg_notify('review', n || repeat('x', 7900))) FROM generate_series(1, 2000) n",
            dbname="p0",
        )
        assert_free(pooler)


def test_settings_too_long_for_one_statement(make_pooler: MakePooler) -> None:
    """A client whose settings cannot be applied is refused, or gets them; it never runs with another's."""
    pooler = make_pooler(workers=1, databases=ONE, max_packet_size=2**30)
    with pooler.wire() as first:
        first.login(TimeZone="Asia/Tokyo")
        assert first.rows("SELECT current_setting('TimeZone')") == [[b"Asia/Tokyo"]]
    with pooler.wire() as second:
        try:
            second.login(TimeZone="Europe/Berlin", application_name="'" * 5000)
            zone = second.rows("SELECT current_setting('TimeZone')")
        except Exception:
            return
        assert zone == [[b"Europe/Berlin"]]
