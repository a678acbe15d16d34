"""The long run of the fuzzer, for scripts/fuzz: rounds of seeds until the time is over, all checked."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from pooler.dev.processes import account
from tests.support.fakeserver import FakeServer
from tests.support.fuzzing import DATABASES, LIAR_DATABASES, BentServers, Fuzzer, in_workplace
from tests.support.lying import LyingServers, Neighbours
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

#: Seeds between two checks: few enough to find the one that did it.
ROUND = 300
SERVER_ROUND = 40
LIAR_ROUND = 300
#: A healthy client waits for no answer longer than this, on a machine with other work.
LONGEST_WAIT_S = 2.0


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("first", nargs="?", type=int, default=None, help="first seed (default: by chance)")
    parser.add_argument("last", nargs="?", type=int, default=None, help="last seed (default: by time)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def run(work: Path, options: argparse.Namespace) -> int:
    """Rounds against one pooler; the exit code."""
    owner = account()
    pg = Postgres(owner, work)
    pg.create()
    first = random.randrange(10**9) if options.first is None else options.first
    try:
        servers = BentServers()
        liars = LyingServers()
        with FakeServer({"*": servers}) as fake, FakeServer({"*": liars}) as lying:
            databases = {
                **DATABASES,
                **{
                    f"liar{n}": f"port={lying.port} password=secret pool_size=2"
                    for n in range(LIAR_DATABASES)
                },
                "*": f"port={fake.port} password=secret pool_size=2",
            }
            pooler = Pooler(
                pg,
                owner,
                work / "pooler",
                databases=databases,
                workers=options.workers,
                client_login_timeout=3,
                query_wait_timeout=3,
            )
            pooler.start()
            try:
                return rounds(Fuzzer(pooler, pg), servers, liars, first, options)
            finally:
                pooler.stop()
    finally:
        pg.stop()


def rounds(
    fuzzer: Fuzzer, servers: BentServers, liars: LyingServers, first: int, options: argparse.Namespace
) -> int:
    """Round after round; says which one failed."""
    deadline = time.monotonic() + options.seconds
    seed = first
    while True:
        last = seed + ROUND - 1 if options.last is None else min(options.last, seed + ROUND - 1)
        print(f"seeds {seed} to {last}", flush=True)
        try:
            for number in range(seed, last + 1):
                fuzzer.clients(number)
            for number in range(seed, min(last, seed + SERVER_ROUND) + 1):
                fuzzer.client_of_bent_server(servers, number)
            with Neighbours(fuzzer.pooler, "p0") as neighbours:
                for number in range(seed, min(last, seed + LIAR_ROUND) + 1):
                    fuzzer.client_of_liar(liars, number)
            neighbours.check()
            assert neighbours.longest_s < LONGEST_WAIT_S, f"a neighbour waited {neighbours.longest_s:.1f} s"
            fuzzer.check()
        except (AssertionError, OSError) as error:
            print(f"FAILED: {error}\nagain with: scripts/fuzz {seed} {last}\n{fuzzer.pooler.story()}")
            return 1
        seed = last + 1
        if options.last is not None and seed > options.last:
            return 0
        if options.last is None and time.monotonic() > deadline:
            return 0


def main() -> int:
    """Makes the work place, runs, cleans up."""
    return in_workplace(run, arguments())


if __name__ == "__main__":
    sys.exit(main())
