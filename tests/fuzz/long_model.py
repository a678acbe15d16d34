"""The long run of the reference model, for scripts/fuzz model: many clients at random, all answers compared.

Each seed is a few clients of one database that share its servers; a seed of each database runs at a time.
Their scripts are the same each time. What else happens is not: when backends are terminated, who is first.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import selectors
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pooler.dev.processes import account, tail
from tests.fuzz.neighbour import Neighbour
from tests.fuzz.reports import assert_no_reports
from tests.fuzz.shrink import Pipelines, fails, smaller
from tests.fuzz.speaker import Figures, Speaker
from tests.protocol.model.model import REPORTED, SETTINGS
from tests.support.exchange import direct, pooled
from tests.support.fuzzing import in_workplace
from tests.support.health import assert_no_bugs, restarts
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import Wire

#: Of each pool: its database at PostgreSQL, its options, the settings that follow a client.
POOLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "one": ("p0", "pool_size=1", SETTINGS),
    "off": ("p1", "pool_size=1 session_state=off", (REPORTED,)),
    "two": ("p2", "pool_size=2", SETTINGS),
    "strict": ("p1", "pool_size=1 session_state=strict", SETTINGS),
}
NEIGHBOURS = "p3"
CLIENTS = (1, 2, 3, 5)
CONNECTIONS = 6  # of each client

#: Backends of a database are terminated so often.
KILL_S = (2.0, 20.0)
LOOK_S, REPORT_S = 0.1, 30.0

#: PostgreSQL logs nothing of a million errors that are meant.
QUIET = {"log_min_messages": "log", "log_connections": "off", "log_disconnections": "off"}


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz model", description=__doc__)
    parser.add_argument("--messages", type=float, default=100_000, help="how many (default: 100,000)")
    parser.add_argument("--seed", type=int, default=None, help="this seed alone, which has shown a fault")
    parser.add_argument("--first", type=int, default=None, help="the first seed (default: by chance)")
    parser.add_argument("--no-kills", action="store_true", help="leave backends alone")
    parser.add_argument("--log", action="store_true", help="have pooler log each end of a connection")
    parser.add_argument("--direct", action="store_true", help="PostgreSQL itself: whether the model is right")
    parser.add_argument("--faults", type=int, default=1, help="go on until there were so many")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


@dataclass
class Seed:
    """The clients of one seed."""

    number: int
    database: str
    speakers: list[Speaker]


@dataclass
class Run:
    """All seeds against one pooler."""

    pooler: Pooler
    pg: Postgres
    options: argparse.Namespace
    neighbour: Neighbour
    figures: Figures = field(default_factory=Figures)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    under_way: dict[str, Seed] = field(default_factory=dict)
    kills: int = 0
    next_kill: dict[str, float] = field(default_factory=lambda: dict.fromkeys(POOLS, 0.0))  # of each database
    failed: Speaker | None = None

    def begin(self, number: int, database: str) -> None:
        """Starts the clients of a seed."""
        chance = random.Random(number)
        settings = POOLS[database][2]
        speakers = [
            Speaker(
                *(self.server, POOLS[database][0] if self.options.direct else database, settings),
                *(number, client, CONNECTIONS),
                *(self.figures, self.selector),
            )
            for client in range(chance.choice(CLIENTS))
        ]
        self.under_way[database] = Seed(number, database, speakers)

    def turn(self) -> None:
        """One write of each client, then whatever has come."""
        more = False
        for seed in self.under_way.values():
            for speaker in seed.speakers:
                with self._named(seed, speaker):
                    more = speaker.push() or more
        for key, _ in self.selector.select(0 if more else 0.2):
            speaker = key.data
            with self._named(self.under_way[database_of(speaker.seed)], speaker):
                speaker.pull()

    @property
    def server(self) -> Pooler | Postgres:
        return self.pg if self.options.direct else self.pooler

    @contextlib.contextmanager
    def _named(self, seed: Seed, speaker: Speaker) -> Iterator[None]:
        """A fault with its seed, and what all clients of the seed have done."""
        try:
            yield
        except AssertionError as fault:
            stories = [other.story() for other in seed.speakers if other is not speaker]
            told = "\n".join((f"seed {seed.number}: {fault}", *stories, "It fails for", speaker.story()))
            self.figures.faults += 1
            self.failed = speaker
            if self.figures.faults >= self.options.faults:
                raise AssertionError(told) from fault
            print(f"FAULT: {told}", flush=True)
            speaker.drop()

    def look(self) -> None:
        """Whether somebody waits in vain; terminates backends when it is time."""
        now = time.monotonic()
        for seed in self.under_way.values():
            for speaker in seed.speakers:
                with self._named(seed, speaker):
                    speaker.look()
            if now > self.next_kill[seed.database] and not self.options.no_kills:
                self.next_kill[seed.database] = now + random.uniform(*KILL_S)
                self.kills += self.pg.terminate_backends(POOLS[seed.database][0])
                self._forget_backends(POOLS[seed.database][0])

    def _forget_backends(self, where: str) -> None:
        for seed in self.under_way.values():
            for speaker in seed.speakers if POOLS[seed.database][0] == where else ():
                speaker.backends_die()

    def go(self, first: int) -> None:
        """Seed after seed for each database, until there were enough messages."""
        for number in range(first, first + (1 if self.options.seed is not None else len(POOLS))):
            self.begin(number, database_of(number))
        started = last_look = last_report = time.monotonic()
        while self.under_way:
            self.turn()
            now = time.monotonic()
            if now > last_look + LOOK_S:
                last_look = now
                self.look()
            if now > last_report + REPORT_S:
                last_report = now
                self.report(now - started)
            for seed in [seed for seed in self.under_way.values() if all(s.is_over for s in seed.speakers)]:
                del self.under_way[seed.database]
                if self.figures.messages < self.options.messages and self.options.seed is None:
                    self.begin(seed.number + len(POOLS), seed.database)
        self.report(time.monotonic() - started)
        self.selector.close()

    def drop(self) -> None:
        """Nobody is there any more."""
        for seed in self.under_way.values():
            for speaker in seed.speakers:
                speaker.drop()

    def report(self, seconds: float) -> None:
        """A line with all figures."""
        seeds = ", ".join(str(seed.number) for seed in self.under_way.values())
        per_second = self.figures.messages / seconds
        print(
            f"{seconds:.0f} s: {self.figures}, {self.kills} backends killed, {per_second:.0f} messages/s;",
            f"{self.neighbour}; seeds {seeds}",
            flush=True,
        )


def database_of(seed: int) -> str:
    return list(POOLS)[seed % len(POOLS)]


def shortest(speaker: Speaker) -> str:
    """The least that this client has to send, alone, for the same kind of fault."""
    server, database = speaker.server, speaker.database

    def connect() -> Wire:
        return pooled(server, database) if isinstance(server, Pooler) else direct(server, database)

    def still_fails(pipelines: Pipelines) -> bool:
        return fails(connect, isinstance(server, Pooler), pipelines)

    if not still_fails(speaker.sent):
        return "It alone does not fail again."
    found = smaller(speaker.sent, still_fails)
    return "\n".join(("This is enough:", *(f"  [{', '.join(map(repr, ops))}]" for ops in found)))


def judge(run: Run) -> None:
    """What a run must not have done to others."""
    assert_no_bugs(run.pooler)
    assert restarts(run.pooler) == 0, run.pooler.story()
    run.neighbour.check()
    assert not run.figures.faults, "there were faults"
    assert_no_reports()


def databases(pg: Postgres) -> dict[str, str]:
    """The pools of a pooler, with what is in their databases."""
    for where, _, _ in POOLS.values():
        pg.sql("CREATE TABLE IF NOT EXISTS modelled (n int)", dbname=where, user="bouncer")
    pools = {name: f"dbname={where} {keys}" for name, (where, keys, _) in POOLS.items()}
    return {**pools, NEIGHBOURS: ""}


def learn(pooler: Pooler) -> None:
    """What the catalogs say: before, each transaction is asked for, and texts are not shared."""
    for name, (_, keys, _) in POOLS.items():
        if "off" not in keys:
            pooler.learn_catalogs(name)


def run(work: Path, options: argparse.Namespace) -> int:
    """All of it; the exit code."""
    owner = account()
    pg = Postgres(owner, work, **QUIET)
    pg.create()
    first = options.seed if options.seed is not None else options.first
    first = random.randrange(10**9) if first is None else first
    try:
        pooler = Pooler(
            *(pg, owner, work / "pooler"),
            databases=databases(pg),
            workers=options.workers,
            query_wait_timeout=0,
            log_connections=int(options.log),
            log_disconnections=int(options.log),
            log_pooler_errors=int(options.log),
        )
        pooler.start()
        long = None
        try:
            learn(pooler)
            with Neighbour(pooler, pg, NEIGHBOURS) as neighbour:
                long = Run(pooler, pg, options, neighbour)
                long.go(first)
            judge(long)
        except AssertionError as fault:
            print(f"FAILED: {fault}\n{pooler.story()}\n{tail(pg.cluster.log, 40)}", flush=True)
            if long is not None and long.failed is not None:
                long.drop()
                print(shortest(long.failed))
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
