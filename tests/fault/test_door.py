"""More logins at once than max_unauthenticated: a storm is served in turn, silent sockets make room."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.fault.conftest import GuardedPooler, MakeShared
from tests.support.health import assert_no_bugs
from tests.support.hostile import read_to_end
from tests.support.pooler import Pooler
from tests.support.processes import wait_for

MakePooler = Callable[..., Pooler]


def test_storm_is_served_in_turn(make_shared: MakeShared) -> None:
    """Many more logins than may be under way, with a proof to compute for each: all of them succeed."""
    pooler = make_shared(
        GuardedPooler, workers=1, auth_type="scram-sha-256", max_unauthenticated=2, max_client_conn=200
    )
    failures: list[object] = []

    def log_in() -> None:
        try:
            assert pooler.sql("SELECT 1") == [(1,)]
        except Exception as error:
            failures.append(error)

    with pooler.expect_log(r"2 clients are in their login \(max_unauthenticated\)"):
        threads = [threading.Thread(target=log_in) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]
    assert_no_bugs(pooler)


def test_silent_sockets_make_room(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, max_unauthenticated=8, tcp_defer_accept=0)
    silent = [pooler.wire() for _ in range(8)]
    wait_for(lambda: login_clients(pooler) == 8, 8, "eight logins")
    late = [pooler.wire() for _ in range(8)]
    with pooler.wire() as wire:
        assert wire.login().rows("SELECT 1") == [[b"1"]]
    for victim in silent:
        (word,) = read_to_end(victim)
        assert word.fields["C"] == "53300"
        victim.close()
    for wire in late:
        wire.close()
    wait_for(lambda: login_clients(pooler) == 0, 5, "no login left")
    assert_no_bugs(pooler)


def login_clients(pooler: Pooler) -> int:
    return int(pooler.show("lists", list="login_clients")[0]["items"])
