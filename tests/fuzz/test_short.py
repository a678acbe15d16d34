"""A few seconds of bent bytes, always the same ones; `scripts/fuzz` runs for longer, with other seeds."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.fakeserver import FakeServer
from tests.support.fuzzing import DATABASES, BentServers, Fuzzer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

#: Enough to meet every stream and every kind of change many times.
SEEDS = 1200
SERVER_SEEDS = 150
#: On a slow machine fewer of them have to do.
LONGEST_S = 8.0


def test_bent_clients(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases=DATABASES, client_login_timeout=3)
    fuzzer = Fuzzer(pooler, pg)
    deadline = time.monotonic() + LONGEST_S
    seed = 0
    while seed < SEEDS and time.monotonic() < deadline:
        seed += 1
        fuzzer.clients(seed)
    assert seed > 50, "too slow to show anything"
    fuzzer.check()


def test_bent_servers(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    with FakeServer({"bent": BentServers(0)}) as fake:
        databases = {**DATABASES, "bent": f"port={fake.port} password=secret pool_size=2"}
        pooler = make_pooler(workers=2, databases=databases, server_login_retry=0.05, query_wait_timeout=2)
        fuzzer = Fuzzer(pooler, pg)
        deadline = time.monotonic() + LONGEST_S / 2
        while fake.connections.get("bent", 0) < SERVER_SEEDS and time.monotonic() < deadline:
            fuzzer.client_of_bent_server("bent")
        assert fake.connections.get("bent", 0) > 5, "too slow to show anything"
        fuzzer.check()
