"""How fast the catalogs of a large database are known, what that costs, and what clients notice of it.

A database with many functions and tables; clients that log in, run one query, and leave. The time is that
from the query to its answer: first at PostgreSQL itself, then through pooler from the first server on until
everything is known, then while functions are replaced past pooler all the time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def first_queries(connect: Callable[[], Wire], until: Callable[[int], bool]) -> list[float]:
    """Milliseconds of the first query of one client after the other."""
    found: list[float] = []
    while not until(len(found)):
        with connect() as wire:
            begin = time.perf_counter()
            wire.rows(TEXT)
            found.append(1000 * (time.perf_counter() - begin))
    return found


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


def row(what: str, times: Sequence[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"| {what} | {len(times)} | {times[0]:.1f} | {cuts[49]:.1f} | {cuts[98]:.1f} | {max(times):.1f} |"


def known(pooler: Pooler) -> dict[str, object] | None:
    """The row of the database once everything is known of it."""
    rows = pooler.show("catalogs", database=DATABASE)
    return rows[0] if rows and rows[0]["state"] == "known" and not rows[0]["asked"] else None


def measure(pg: Postgres, pooler: Pooler, options: argparse.Namespace) -> Iterator[str]:
    yield "| what | queries | first, ms | median | p99 | longest |"
    yield "|---|---|---|---|---|---|"
    yield row("direct", first_queries(lambda: direct(pg, database=DATABASE), lambda n: n == options.queries))
    found: dict[str, object] = {}
    before, began = cpu_s(pooler.pid), time.monotonic()

    def watch() -> None:
        while not (at := known(pooler)):
            time.sleep(0.02)
        found.update(at, after=time.monotonic() - began, cpu=cpu_s(pooler.pid) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield row(
        "until all is known",
        first_queries(
            lambda: pooler.wire().login(database=DATABASE), lambda n: n > 100 and not watcher.is_alive()
        ),
    )
    yield row(
        "known", first_queries(lambda: pooler.wire().login(database=DATABASE), lambda n: n == options.queries)
    )
    with replacing(pg, options.replaced, options.lines, options.tables, options.functions) as done:
        begin = time.monotonic()
        times = first_queries(
            lambda: direct(pg, database=DATABASE), lambda n: time.monotonic() > begin + options.seconds
        )
        yield row(f"direct, {done[0] / options.seconds:.0f} functions replaced a second", times)
    with replacing(pg, options.replaced, options.lines, options.tables, options.functions) as done:
        begin = time.monotonic()
        times = first_queries(
            lambda: pooler.wire().login(database=DATABASE),
            lambda n: time.monotonic() > begin + options.seconds,
        )
        yield row(f"pooler, {done[0] / options.seconds:.0f} functions replaced a second", times)
    after, cpu = found.pop("after"), found.pop("cpu")
    yield f"\nknown {after:.2f} s after the first client came; CPU of pooler {cpu:.2f} s, clients' too"
    yield "; ".join(f"{name} {value}" for name, value in found.items())


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/catalogs", description=__doc__)
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--tables", type=int, default=5_000)
    parser.add_argument("--lines", type=int, default=60, help="of each function, of about 80 bytes")
    parser.add_argument("--queries", type=int, default=1000, help="where nothing is waited for")
    parser.add_argument("--seconds", type=float, default=20, help="in which functions are replaced")
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
            pooler = Pooler(pg, owner, work / "pooler", databases, workers=options.workers)
            pooler.start()
            try:
                for line in measure(pg, pooler, options):
                    print(line, flush=True)
            finally:
                pooler.stop()
        finally:
            pg.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
