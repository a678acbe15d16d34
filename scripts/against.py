"""The pooler of this tree against that of another commit: CPU time per transaction, the same load in turns.

The other commit lies in a worktree below build/against, with a compiled core of its own and the packages of
this tree's environment. Both poolers run all the time, with one worker, on the same core; PostgreSQL and
pgbench are on the others. One after the other has the load, and each turn begins with the one that had it
last. A ratio is that of a turn, so a drift of the machine favours neither. It is measured in the midst
of a run of pgbench: logins and first Parses are no part of it. Before that both have read the catalogs, if
their pooler is one that does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import account, workplace
from tests.support.affinity import on_one_core
from tests.support.pooler import TESTED_PACKAGE, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import cpu_s, wait_for

ROOT = Path(__file__).resolve().parents[1]

#: What scripts/bench does by default, where it compares commits.
DEFAULTS = {
    "turns": 20,
    "clients": [32],
    "modes": ["simple", "extended", "prepared"],
    "transports": ["tcp"],
}

HELP = (
    "only this tree's pooler and that of another commit, on one core: CPU time per transaction, the ratios' "
    "median and quartiles; then the default is 20 turns, 32 clients, simple,extended,prepared, tcp"
)

#: A client's first transactions are another matter: they follow its login, and prepare statements.
FIRST_TRANSACTIONS = 10

#: pgbench goes on for longer than what is measured of it.
REST_S = 1

HERE = "this tree"


@dataclass(frozen=True)
class Workload:
    """What pgbench does: one row of the table."""

    mode: str
    clients: int
    transport: str

    def __str__(self) -> str:
        return f"{self.mode}, {self.clients} client{'s' * (self.clients > 1)}, {self.transport}"


@dataclass(frozen=True)
class Load(Workload):
    """And for how long it is measured."""

    seconds: int


@dataclass(frozen=True)
class Turn:
    """CPU microseconds per transaction of both, and the questions about sessions that both have asked."""

    here_us: float
    there_us: float
    here_asks: float
    there_asks: float


def compare(options: Namespace) -> int:
    """Measures all workloads and prints the table."""
    if options.turns < 2:
        raise SystemExit("--turns: quartiles need two at least")
    if options.tls or options.session_state:
        raise SystemExit("--against goes with neither --tls nor --session-state")
    loads = [
        Load(mode, clients, transport, options.seconds)
        for transport in options.transports
        for mode in options.modes
        for clients in options.clients
    ]
    name, tree = build(options.against)
    owner = account()
    with workplace(owner, "pooler-bench-") as work, ExitStack() as stack:
        pg = Postgres(owner, work, max_connections="300", log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        pg.pgbench_tables(scale=10)
        poolers: list[Pooler] = []
        for package in (TESTED_PACKAGE, tree / "pooler"):
            targets = {"tcp": "dbname=p0", "unix": f"dbname=p0 host={pg.socket_dir}"}
            directory = work / f"b{len(poolers)}"
            pooler = Pooler(pg, owner, directory, targets, workers=1, package=package, max_client_conn=1000)
            stack.callback(pooler.stop)
            pooler.start()
            poolers.append(pooler)
        here, there = poolers
        rows = []
        with on_one_core([here.pid, there.pid], [os.getpid(), pg.pid]):
            for load in loads:
                rows.append(row_of(load, list(turns(here, there, load, options.turns))))
        print(f"\n{table(name, rows)}")
    return 0


# The other commit.


def build(commit: str) -> tuple[str, Path]:
    """Its short name, and where it lies with its core compiled; nothing is done twice."""
    name = command("git", "rev-parse", "--short=12", "--verify", f"{commit}^{{commit}}").strip()
    tree = ROOT / "build" / "against" / name
    if not (tree / ".git").exists():
        command("git", "worktree", "add", "--force", "--detach", tree, name)
    print(f"compiling the core of {name}", file=sys.stderr)
    command(sys.executable, "setup.py", "-q", "build_ext", "--inplace", directory=tree)
    command(sys.executable, "-m", "compileall", "-q", "pooler", directory=tree)
    return name, tree


def command(*words: str | Path, directory: Path = ROOT) -> str:
    """Its output; ends the program with it when the command fails."""
    result = subprocess.run([str(word) for word in words], cwd=directory, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{result.stderr.strip()[-2000:]}")
    return result.stdout


# Measuring.


def turns(here: Pooler, there: Pooler, load: Load, count: int) -> Iterator[Turn]:
    """Both in turns, warmed up before."""
    for pooler in (here, there):
        warm_up(pooler, load)
    for number in range(count):
        print(f"{load}: turn {number + 1} of {count}", file=sys.stderr)
        order = (here, there) if number % 2 else (there, here)
        found = {pooler: under_load(pooler, load) for pooler in order}
        yield Turn(found[here][0], found[there][0], found[here][1], found[there][1])


def warm_up(pooler: Pooler, load: Load) -> None:
    """Its servers are open, its caches full; and it knows the catalogs, if it is one that reads them."""
    with pgbench(pooler, load, 2):
        pass
    try:
        pooler.console("SHOW CATALOGS")
    except psycopg2.Error as error:
        if "invalid command" not in str(error):
            raise
    else:
        pooler.learn_catalogs(load.transport, SUPERUSER)


def under_load(pooler: Pooler, load: Load) -> tuple[float, float]:
    """CPU microseconds per transaction of all its processes; its questions about sessions per transaction."""
    with pooler.connect(dbname="pgbouncer", user=SUPERUSER) as console, console.cursor() as cursor:

        def total(what: str, column: str) -> int:
            cursor.execute(f"SHOW {what}")
            names = [field.name for field in cursor.description or ()]
            return sum(int(row[names.index(column)]) for row in cursor if row[0] == load.transport)

        def transactions() -> int:
            return total("STATS", "total_xact_count")

        first = transactions() + FIRST_TRANSACTIONS * load.clients
        with pgbench(pooler, load, load.seconds + REST_S) as process:
            wait_for(lambda: transactions() > first, 30, "transactions")
            asked = total("PIN_TOTALS", "session_asks")
            before, cpu_before_s = transactions(), cpu_s(pooler.pid)
            time.sleep(load.seconds)
            after, cpu_after_s = transactions(), cpu_s(pooler.pid)
            if process.poll() is not None:
                raise SystemExit(f"{load}: pgbench has ended before its time; use more --seconds")
            asked = total("PIN_TOTALS", "session_asks") - asked
    return (cpu_after_s - cpu_before_s) / (after - before) * 1e6, asked / (after - before)


@contextmanager
def pgbench(pooler: Pooler, load: Load, seconds: int) -> Iterator[subprocess.Popen[str]]:
    """pgbench's SELECTs by primary key, over when the block is; ends the program when a transaction fails."""
    host = pooler.host if load.transport == "tcp" else pooler.directory
    words = [
        *(pooler.pg.programs / "pgbench", "-S", "-n", "-M", load.mode, "-c", load.clients, "-j", 1),
        *("-T", seconds, "-h", host, "-p", pooler.port, "-U", SUPERUSER, load.transport),
    ]
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
        output, errors = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
        process.wait()
    if process.returncode or "failed transactions: 0 " not in output:
        raise SystemExit(f"pgbench, {load}:\n{output[-800:]}{errors[-800:]}")


# What comes out.


def row_of(load: Load, found: Sequence[Turn]) -> list[str]:
    low, median, high = statistics.quantiles((turn.here_us / turn.there_us for turn in found), n=4)
    here_us, there_us = (
        statistics.median(getattr(turn, side) for turn in found) for side in ("here_us", "there_us")
    )
    asks = [
        1000 * statistics.mean(getattr(turn, side) for turn in found) for side in ("here_asks", "there_asks")
    ]
    return [
        *(str(load), str(len(found)), f"{here_us:.2f}", f"{there_us:.2f}"),
        *(f"{median:.3f}", f"{low:.3f}", f"{high:.3f}", f"{asks[0]:.2f} / {asks[1]:.2f}"),
    ]


def table(name: str, rows: Sequence[Sequence[str]]) -> str:
    """Markdown, in columns that also stand below each other on a terminal."""
    headings = ["workload", "turns", f"{HERE}, µs/tx", f"{name}, µs/tx", "ratio", "lower quartile"]
    headings += ["upper quartile", "asks per 1,000 tx"]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
