"""How fast the catalogs of a large database are known, what that costs, and what clients notice of it.

A database with many functions and tables; clients that log in, run one query, and leave, one after the other
and in turns at PostgreSQL itself and through pooler. The time is that from the query to its answer: from the
first server on until everything is known, then when it is, then while functions are replaced past pooler all
the time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from pooler.dev.processes import account, workplace  # noqa: E402
from tests.support.exchange import direct  # noqa: E402
from tests.support.pooler import Pooler  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402
from tests.support.processes import cpu_s  # noqa: E402
from tests.support.wire import Wire  # noqa: E402

DATABASE = "large"
TEXT = "SELECT n FROM t7 WHERE n = f7(1)"
#: Statements of a body, of about 80 bytes each.
STATEMENT = "    INSERT INTO t{number} (n) SELECT count(*) FROM t{other} WHERE n > a AND n < a + {line};\n"


def function(number: int, lines: int, tables: int) -> str:
    body = "".join(
        STATEMENT.format(number=number % tables, other=(number + line) % tables, line=line)
        for line in range(lines)
    )
    return (
        f"CREATE OR REPLACE FUNCTION f{number}(a int) RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n"
        f"    IF a < 0 THEN\n{body}    END IF;\n    RETURN a;\nEND $$;"
    )


def fill(pg: Postgres, functions: int, tables: int, lines: int) -> None:
    pg.sql(f"CREATE DATABASE {DATABASE}")
    for begin in range(0, tables, 500):
        numbers = range(begin, min(begin + 500, tables))
        pg.sql("; ".join(f"CREATE TABLE t{number} (n int)" for number in numbers), dbname=DATABASE)
    for begin in range(0, functions, 500):
        numbers = range(begin, min(begin + 500, functions))
        pg.sql("\n".join(function(number, lines, tables) for number in numbers), dbname=DATABASE)
    pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO bouncer", dbname=DATABASE)


def first_query(wire: Wire) -> float:
    """Milliseconds of the only query of a client."""
    with wire:
        begin = time.perf_counter()
        wire.rows(TEXT)
        return 1000 * (time.perf_counter() - begin)


class Pairs:
    """First queries at PostgreSQL itself and through pooler, one after the other: of each turn a list."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.direct: list[list[float]] = []
        self.pooled: list[list[float]] = []

    def take(self, pg: Postgres, pooler: Pooler, until: Callable[[int], bool]) -> None:
        at_pg: list[float] = []
        through: list[float] = []
        while not until(len(through)):
            through.append(first_query(pooler.wire().login(database=DATABASE)))
            at_pg.append(first_query(direct(pg, database=DATABASE)))
        self.direct.append(at_pg)
        self.pooled.append(through)

    def rows(self) -> Iterator[str]:
        at_pg, through = [list(itertools.chain(*turns)) for turns in (self.direct, self.pooled)]
        above = [p99(here) - p99(there) for here, there in zip(self.pooled, self.direct, strict=True)]
        spread = f"{min(above):.1f} to {max(above):.1f}"
        yield f"| {self.what}: direct | {figures(at_pg)} | | |"
        yield f"| {self.what}: pooler | {figures(through)} | {p99(through) - p99(at_pg):.1f} | {spread} |"


def p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def figures(times: Sequence[float]) -> str:
    return f"{len(times)} | {statistics.median(times):.1f} | {p99(times):.1f} | {max(times):.1f}"


@contextmanager
def replacing(pg: Postgres, per_s: float, lines: int, tables: int, functions: int) -> Iterator[list[int]]:
    """Functions are replaced at PostgreSQL itself, so many a second; the number of those that were."""
    over, done = threading.Event(), [0]

    def work() -> None:
        with direct(pg, database=DATABASE) as wire:
            begin = time.monotonic()
            while not over.is_set():
                wire.query(function(done[0] % functions, lines, tables))
                done[0] += 1
                over.wait(max(0.0, begin + done[0] / per_s - time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def known(pooler: Pooler) -> dict[str, object] | None:
    """The row of the database once everything is known of it."""
    rows = pooler.show("catalogs", database=DATABASE)
    return rows[0] if rows and rows[0]["state"] == "known" and not rows[0]["asked"] else None


@contextmanager
def watched(pooler: Pooler, found: dict[str, object]) -> Iterator[threading.Thread]:
    """When everything is known, and what it has cost."""
    before, began = cpu_s(pooler.pid), time.monotonic()

    def watch() -> None:
        while not (at := known(pooler)):
            time.sleep(0.02)
        found.update(at, after=time.monotonic() - began, cpu=cpu_s(pooler.pid) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.join()


def turn(
    pg: Postgres, pooler: Pooler, options: argparse.Namespace, unread: Pairs, read: Pairs, changing: Pairs
) -> dict[str, object]:
    """One pooler from its start on; what is known then, and how it came."""
    found: dict[str, object] = {}
    with watched(pooler, found) as watcher:
        unread.take(pg, pooler, lambda n: n > 100 and not watcher.is_alive())
    read.take(pg, pooler, lambda n: n == options.queries)
    with replacing(pg, options.replaced, options.lines, options.tables, options.functions) as done:
        end = time.monotonic() + options.seconds
        changing.take(pg, pooler, lambda n: n > 100 and time.monotonic() > end)
        found["replaced"] = f"{done[0] / options.seconds:.0f}"
    return found


def measure(
    start: Callable[[int], AbstractContextManager[Pooler]], pg: Postgres, options: argparse.Namespace
) -> Iterator[str]:
    kinds = [Pairs("until all is known"), Pairs("known"), Pairs("functions are replaced")]
    for number in range(options.turns):
        load = os.getloadavg()[0]
        with start(number) as pooler:
            found = turn(pg, pooler, options, *kinds)
        after, cpu, replaced = found.pop("after"), found.pop("cpu"), found.pop("replaced")
        yield (
            f"turn {number}: known {after:.2f} s after the first client came; CPU of pooler {cpu:.2f} s,"
            f" clients' too; then {replaced} functions a second replaced; load before {load:.1f}"
        )
    yield "; ".join(f"{name} {value}" for name, value in found.items()) + "\n"
    yield "| what | queries | median, ms | p99 | longest | p99 above direct | turn by turn |"
    yield "|---|---|---|---|---|---|---|"
    for kind in kinds:
        yield from kind.rows()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/catalogs", description=__doc__)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--tables", type=int, default=5_000)
    parser.add_argument("--lines", type=int, default=60, help="of each function, of about 80 bytes")
    parser.add_argument("--turns", type=int, default=10, help="each with a pooler that knows nothing yet")
    parser.add_argument("--queries", type=int, default=300, help="of a turn, when all is known")
    parser.add_argument(
        "--seconds", type=float, default=10, help="of a turn, in which functions are replaced"
    )
    parser.add_argument("--replaced", type=float, default=100, help="functions a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pool-size", type=int, default=5)
    options = parser.parse_args(argv)
    owner = account()
    with workplace(owner, "pooler-catalogs-") as work:
        pg = Postgres(owner, work)
        pg.create()
        try:
            fill(pg, options.functions, options.tables, options.lines)
            databases = {DATABASE: f"pool_size={options.pool_size}"}

            @contextmanager
            def start(number: int) -> Iterator[Pooler]:
                pooler = Pooler(pg, owner, work / f"pooler{number}", databases, workers=options.workers)
                pooler.start()
                try:
                    yield pooler
                finally:
                    pooler.stop()

            for line in measure(start, pg, options):
                print(line, flush=True)
        finally:
            pg.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
