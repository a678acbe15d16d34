"""A few seconds of bent bytes, always the same ones; `scripts/fuzz` runs for longer, with other seeds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from tests.fuzz import long_model
from tests.fuzz.neighbour import Neighbour
from tests.support.fakeserver import FakeServer
from tests.support.fuzzing import DATABASES, BentServers, Fuzzer
from tests.support.lying import LyingServers, Neighbours
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

#: Enough to meet every stream and every kind of change many times.
SEEDS = 1200
SERVER_SEEDS = 150
LIAR_SEEDS = 400
#: On a slow machine fewer of them have to do, but not less than these, which take as long as they take.
LONGEST_S = 8.0
MESSAGES = 30_000
FEWEST, FEWEST_SERVERS = 50, 10


def test_bent_clients(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases=DATABASES, client_login_timeout=3)
    fuzzer = Fuzzer(pooler, pg)
    deadline = time.monotonic() + LONGEST_S
    seed = 0
    while seed < SEEDS and (seed < FEWEST or time.monotonic() < deadline):
        seed += 1
        fuzzer.clients(seed)
    fuzzer.check()


def test_bent_servers(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    servers = BentServers()
    with FakeServer({"*": servers}) as fake:
        databases = {**DATABASES, "*": f"port={fake.port} password=secret pool_size=2"}
        pooler = make_pooler(workers=2, databases=databases, query_wait_timeout=2)
        fuzzer = Fuzzer(pooler, pg)
        deadline = time.monotonic() + LONGEST_S / 2
        seed = 0
        while seed < SERVER_SEEDS and (len(fake.connections) < FEWEST_SERVERS or time.monotonic() < deadline):
            seed += 1
            fuzzer.client_of_bent_server(servers, seed)
        fuzzer.check()


def test_lying_servers(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Well-formed lies in every field of a server's messages; clients of another database notice nothing."""
    liars = LyingServers()
    with FakeServer({"*": liars}) as fake:
        databases = {**DATABASES, "*": f"port={fake.port} password=secret pool_size=2"}
        pooler = make_pooler(workers=2, databases=databases, query_wait_timeout=2, server_answer_timeout=1)
        fuzzer = Fuzzer(pooler, pg)
        deadline = time.monotonic() + LONGEST_S
        with Neighbours(pooler, "p0") as neighbours:
            seed = 0
            while seed < LIAR_SEEDS and time.monotonic() < deadline:
                seed += 1
                fuzzer.client_of_liar(liars, seed)
        neighbours.check()
        assert len(fake.connections) > 10, "too slow to show anything"
        fuzzer.check()


def test_model(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Long scripts of many clients, each answer as the reference model says; backends are terminated."""
    pooler = make_pooler(workers=2, databases=long_model.databases(pg), query_wait_timeout=0)
    options = argparse.Namespace(messages=MESSAGES, seed=None, direct=False, no_kills=False, faults=1)
    long_model.learn(pooler)
    with Neighbour(pooler, pg, long_model.NEIGHBOURS) as neighbour:
        run = long_model.Run(pooler, pg, options, neighbour)
        run.go(first=1)
    long_model.judge(run)
    assert run.figures.messages >= MESSAGES
    assert run.figures.uncompared < run.figures.messages, run.figures
