"""The long run of lying servers, for scripts/fuzz servers: many clients, each of servers of its own that lie.

The same seed gives the same lies to the same messages; clients of other databases must not notice any of it.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from pathlib import Path

from pooler.dev.processes import account
from tests.fuzz.neighbour import Neighbour
from tests.fuzz.reports import assert_no_reports
from tests.support.fakeserver import FakeServer
from tests.support.fuzzing import DATABASES, Fuzzer, in_workplace
from tests.support.lying import LyingServers, Neighbours, lied_to
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

#: So many clients at once, each of so many databases in turns, so that hardly anybody backs off.
CLIENTS, POOLS_OF_EACH = 20, 20
REPORT_S = 30.0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz servers", description=__doc__)
    parser.add_argument("--answers", type=float, default=10_000, help="made by chance (default: 10,000)")
    parser.add_argument("--first", type=int, default=None, help="first seed (default: by chance)")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


class Client(threading.Thread):
    """Seed after seed of one server that lies."""

    def __init__(self, pooler: Pooler, number: int, first: int, over: threading.Event) -> None:
        super().__init__(name=f"client {number}")
        self.pooler = pooler
        self.number = number
        self.servers = LyingServers()
        self.seed = first + number
        self.over = over
        self.seeds = 0
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.servers.seed = self.seed
                lied_to(self.pooler, database(self.number, self.seeds), self.seed)
                self.seed += CLIENTS
                self.seeds += 1
        except (AssertionError, OSError) as fault:
            self.fault = fault
            self.over.set()


def database(client: int, seeds: int) -> str:
    return f"liar{client}_{seeds % POOLS_OF_EACH}"


def go(pooler: Pooler, clients: list[Client], enough: float, neighbour: Neighbour) -> None:
    """Until so many lies were told."""
    for client in clients:
        client.start()
    over = clients[0].over
    started = time.monotonic()
    told = 0
    while told < enough and not over.wait(min(REPORT_S, 1 + told / 1000)):
        told = sum(client.servers.lies for client in clients)
        seconds = time.monotonic() - started
        print(
            f"{seconds:.0f} s: {told} answers made by chance among those to"
            f" {sum(client.servers.answers for client in clients)} messages,"
            f" {sum(client.seeds for client in clients)} connections, seeds up to {clients[0].seed};",
            f"{told / seconds:.0f} per second; {neighbour}",
            flush=True,
        )
    over.set()
    for client in clients:
        client.join()
    for client in clients:
        assert client.fault is None, f"seed {client.seed}: {client.fault!r}"


def run(work: Path, options: argparse.Namespace) -> int:
    """All of it; the exit code."""
    owner = account()
    pg = Postgres(owner, work)
    pg.create()
    first = random.randrange(10**9) if options.first is None else options.first
    over = threading.Event()
    pooler = Pooler(
        *(pg, owner, work / "pooler"),
        workers=options.workers,
        client_login_timeout=3,
        query_wait_timeout=3,
        server_answer_timeout=1,
        log_connections=0,
        log_disconnections=0,
        log_pooler_errors=0,
    )
    clients = [Client(pooler, number, first, over) for number in range(CLIENTS)]
    scripts = {
        database(n, seeds): clients[n].servers for n in range(CLIENTS) for seeds in range(POOLS_OF_EACH)
    }
    try:
        with FakeServer(scripts) as lying:
            keys = f"port={lying.port} password=secret pool_size=2"
            pooler.databases = {**DATABASES, "p1": "", **dict.fromkeys(scripts, keys)}
            pooler.start()
            try:
                fuzzer = Fuzzer(pooler, pg)
                with Neighbour(pooler, pg, "p1") as neighbour, Neighbours(pooler, "p0") as others:
                    go(pooler, clients, options.answers, neighbour)
                others.check()
                neighbour.check()
                fuzzer.check()
                assert_no_reports()
            except AssertionError as fault:
                print(f"FAILED: {fault}\n{pooler.story()}")
                return 1
            finally:
                pooler.stop()
    finally:
        pg.stop()
    return 0


def main() -> int:
    """Makes the work place, runs, cleans up."""
    return in_workplace(run, arguments())


if __name__ == "__main__":
    sys.exit(main())
