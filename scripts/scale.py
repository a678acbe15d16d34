"""What many clients cost: memory and CPU of idle ones, SHOW and RELOAD beside busy ones, a storm of logins.

PgBouncer (if there is one) and pooler take turns; only one of them runs at a time, each with as many
servers as asked for, over as many databases (which are four of PostgreSQL's). Idle clients log in and stay;
busy ones are pgbench's, at a steady rate; a probe asks one small question after the other, and tells how
long answers take while the console is asked for everything and the configuration is loaded again and again.
The longest turn of a relay is in CPU time of its thread (SHOW TURNS).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pooler.dev.processes import Account, account, workplace  # noqa: E402
from scripts import pgbouncer  # noqa: E402
from scripts.connect import allow_descriptors  # noqa: E402
from scripts.figures import Machine, quantile  # noqa: E402
from tests.support.login_load import Caller, log_in  # noqa: E402
from tests.support.pooler import Bouncer, PgBouncer, Pooler  # noqa: E402
from tests.support.postgres import DATABASES, PASSWORDS, Postgres  # noqa: E402
from tests.support.processes import cpu_s, pss_kb, wait_for  # noqa: E402
from tests.support.wire import query, startup  # noqa: E402

USER, STORMER = "bouncer", "suser"
AT_ONCE = 200  # logins of idle clients on their way
SETTLE_S = 4.0  # after which memory and CPU are those of clients that do nothing
PROBE_PAUSE_S = 0.002
ROUND_PAUSE_S = 1.0  # between two rounds of asking the console for everything
SHOWS = [
    *("clients", "servers", "sockets", "active_sockets", "pools", "databases", "users", "lists", "config"),
    *("stats", "stats_totals", "stats_averages", "totals", "mem", "state"),
]
SHOWS_OURS = ("slots", "pins", "pin_totals", "workers", "catalogs", "listeners")

HEADINGS = (
    "program", "clients", "bytes each", "idle CPU %", "SHOW CLIENTS ms", "RELOAD ms", "longest turn ms",
    "probe p50 ms", "p99", "p99.9", "storm p99 ms",
)  # fmt: skip


@dataclass(frozen=True)
class Rest:
    """What so many clients cost that do nothing."""

    bytes_each: float
    cpu_percent: float


@dataclass(frozen=True)
class Load:
    """What the console, a probe and a storm of logins see beside them; None: not told, or not asked for."""

    show_ms: float
    reload_ms: float
    longest_turn_ms: float | None
    probe_ms: tuple[float, float, float]
    storm_ms: float | None


def row(name: str, clients: int, rest: Rest, load: Load) -> str:
    """As a row of the table."""
    turn, storm = (f"{x:.1f}" if x is not None else "-" for x in (load.longest_turn_ms, load.storm_ms))
    probe = " | ".join(f"{x:.2f}" for x in load.probe_ms)
    cells = f"{rest.bytes_each:.0f} | {rest.cpu_percent:.3f} | {load.show_ms:.1f} | {load.reload_ms:.0f}"
    return f"| {name} | {clients} | {cells} | {turn} | {probe} | {storm} |"


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__)
    parser.add_argument(
        "--clients", default="1000,2000,5000,10000", help="idle ones, growing (default %(default)s)"
    )
    parser.add_argument("--busy", type=int, default=100, help="clients of pgbench (default 100)")
    parser.add_argument(
        "--rate", type=int, default=1000, help="transactions per second of all of them (default 1000)"
    )
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--databases", type=int, default=200)
    parser.add_argument(
        "--seconds", type=int, default=10, help="of rest, and of load, each time (default 10)"
    )
    parser.add_argument(
        "--storm", type=int, default=0, help="so many clients log in at once by SCRAM, twice each"
    )
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="pooler without PgBouncer beside it")
    parser.add_argument("--pgbouncer", metavar="PROGRAM|SUITES", help=pgbouncer.HELP)
    parser.add_argument("--probe", nargs=3, metavar=("PORT", "DATABASE", "SECONDS"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# ---- clients


def connect(port: int, database: str, user: str = USER) -> socket.socket:
    """A client that has begun to log in."""
    client = socket.create_connection(("127.0.0.1", port), 60)
    client.sendall(startup(user, database, application_name="scale"))
    return client


def until_ready(client: socket.socket) -> int:
    """Reads up to ReadyForQuery; how many bytes."""
    size, end = 0, b""
    while end[:5] != b"Z\0\0\0\5":
        data = client.recv(1 << 20)
        if not data or b"FATAL\0" in data[:64]:
            raise SystemExit(f"a client was closed: {data[:200]!r}")
        size, end = size + len(data), (end + data[-6:])[-6:]
    return size


def ask(client: socket.socket, sql: str) -> float:
    """Milliseconds until all of the answer is there."""
    asked = query(sql)
    began = time.perf_counter()
    client.sendall(asked)
    until_ready(client)
    return (time.perf_counter() - began) * 1000


def log_in_more(port: int, databases: Sequence[str], there: list[socket.socket], count: int) -> None:
    """Idle clients, up to so many."""
    while len(there) < count:
        new = range(len(there), min(count, len(there) + AT_ONCE))
        batch = [connect(port, databases[number % len(databases)]) for number in new]
        for client in batch:
            until_ready(client)
        there += batch


def probe(port: int, database: str, seconds: float) -> None:
    """Prints how many milliseconds each small query took."""
    client, took = connect(port, database), []
    until_ready(client)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        took.append(ask(client, "SELECT 1"))
        time.sleep(PROBE_PAUSE_S)
    print(json.dumps(took))


# ---- one program


def databases_of(options: argparse.Namespace) -> dict[str, str]:
    """Each with its share of the servers, which are open from the beginning."""
    count, servers = options.databases, options.servers
    return {
        f"d{number}": f"dbname={DATABASES[number % len(DATABASES)]} user={USER} pool_size=20"
        f" min_pool_size={servers * (number + 1) // count - servers * number // count}"
        for number in range(count)
    }


@contextmanager
def started(
    kind: type[Bouncer], pg: Postgres, owner: Account, work: Path, options: argparse.Namespace
) -> Iterator[Bouncer]:
    """The program with all its servers."""
    rules = work / "hba"
    rules.write_text(f"host all {STORMER} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
    owner.give(rules)
    most = max(map(int, options.clients.split(",")))
    keywords = {"workers": options.workers} if kind is Pooler else {}
    settings: dict[str, Any] = {
        "max_client_conn": most + 2 * options.storm + 1000,
        "listen_backlog": max(AT_ONCE, options.storm, 128),
        "auth_type": "hba",
        "auth_hba_file": rules,
        "log_connections": 0,
        "log_disconnections": 0,
        "server_idle_timeout": 0,
    }
    bouncer = kind(pg, owner, work / kind.__name__, databases_of(options), **settings, **keywords)
    ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (STORMER,))
    bouncer.passwords[STORMER] = stored
    with ExitStack() as stack:
        stack.callback(bouncer.kill)
        bouncer.start()
        served = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = %s"
        )
        wait_for(lambda: pg.sql(served, (USER,))[0][0] >= options.servers, 180, "all servers")
        yield bouncer
        bouncer.stop()


def everything(console: socket.socket, bouncer: Bouncer, seconds: float) -> tuple[float, float | None]:
    """Asks for everything and reloads, for so long: milliseconds of a RELOAD, and of the longest turn."""
    shows = (*SHOWS, *SHOWS_OURS) if isinstance(bouncer, Pooler) else SHOWS
    reloads: list[float] = []
    end = time.perf_counter() + seconds
    if isinstance(bouncer, Pooler):
        ask(console, "SHOW TURNS")
    while time.perf_counter() < end or not reloads:
        for show in shows:
            ask(console, f"SHOW {show}")
        reloads.append(ask(console, "RELOAD"))
        time.sleep(ROUND_PAUSE_S)
    if not isinstance(bouncer, Pooler):
        return statistics.median(reloads), None
    return statistics.median(reloads), max(row["longest_us"] for row in bouncer.show("turns")) / 1000


def under_load(
    pg: Postgres, bouncer: Bouncer, console: socket.socket, options: argparse.Namespace
) -> tuple[float, float | None, tuple[float, float, float]]:
    """The console's figures, and the probe's quantiles, beside busy clients."""
    with ExitStack() as stack:
        for number in range(len(DATABASES)):
            share = max(1, options.busy // len(DATABASES))
            rate = max(1, options.rate // len(DATABASES))
            words = f"pgbench -S -n -c {share} -j 1 -R {rate} -T {options.seconds + 3}".split()
            words[0] = str(pg.programs / "pgbench")
            load = subprocess.Popen(
                [*words, bouncer.dsn(dbname=f"d{number % options.databases}")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(load.wait)
        time.sleep(1)
        words = [
            str(Path(__file__)),
            "--probe",
            str(bouncer.port),
            f"d{options.databases - 1}",
            str(options.seconds),
        ]
        prober = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
        stack.callback(prober.kill)
        reload_ms, turn_ms = everything(console, bouncer, options.seconds)
        output, _ = prober.communicate(timeout=60)
    took = sorted(json.loads(output))
    return reload_ms, turn_ms, (quantile(took, 0.5), quantile(took, 0.99), quantile(took, 0.999))


def storm(bouncer: Bouncer, count: int) -> float | None:
    """p99 of login and first query of so many clients at once, in milliseconds."""
    if not count:
        return None
    caller = Caller(STORMER, PASSWORDS[STORMER], "d0")
    return log_in(caller, bouncer.host, bouncer.port, count, 2 * count).p99_ms


def rests(bouncer: Bouncer, counts: Sequence[int], seconds: float) -> Iterator[Rest]:
    """What idle clients cost, before anything else has happened."""
    idle: list[socket.socket] = []
    time.sleep(SETTLE_S)
    empty_kb = pss_kb(bouncer.pid)
    for count in counts:
        log_in_more(bouncer.port, list(bouncer.databases), idle, count)
        time.sleep(SETTLE_S)
        used_kb, before_s = pss_kb(bouncer.pid), cpu_s(bouncer.pid)
        time.sleep(seconds)
        percent = (cpu_s(bouncer.pid) - before_s) / seconds * 100
        yield Rest((used_kb - empty_kb) * 1024 / count, percent)
    for client in idle:
        client.close()


def loads(
    pg: Postgres, bouncer: Bouncer, counts: Sequence[int], options: argparse.Namespace
) -> Iterator[Load]:
    """What is seen beside them."""
    idle: list[socket.socket] = []
    with contextlib.closing(connect(bouncer.port, "pgbouncer", "postgres")) as console:
        until_ready(console)
        for count in counts:
            log_in_more(bouncer.port, list(bouncer.databases), idle, count)
            show_ms = statistics.median(ask(console, "SHOW CLIENTS") for _ in range(7))
            yield Load(show_ms, *under_load(pg, bouncer, console, options), storm(bouncer, options.storm))
    for client in idle:
        client.close()


def main(argv: Sequence[str]) -> int:
    """Prints a row for each number of clients, of each program and turn."""
    options = arguments(argv)
    if options.probe:
        port, database, seconds = options.probe
        probe(int(port), database, float(seconds))
        return 0
    if options.pgbouncer:
        os.environ["POOLER_PGBOUNCER"] = str(pgbouncer.program(options.pgbouncer))
    owner, machine = account(), Machine()
    counts = [int(word) for word in options.clients.split(",")]
    allow_descriptors()
    kinds = [Pooler] if options.alone or not PgBouncer.find() else [PgBouncer, Pooler]
    most = str(options.servers + 20 * len(DATABASES) + 60)
    with workplace(owner, "pooler-scale-") as work, ExitStack() as stack:
        pg = Postgres(owner, work, max_connections=most, log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        for database in DATABASES:
            pg.pgbench_tables(database)
            pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC", dbname=database)
        print(f"| {' | '.join(HEADINGS)} |\n| --- |{' ---: |' * (len(HEADINGS) - 1)}", flush=True)
        for number in range(options.turns):
            for kind in kinds[:: 1 if number % 2 else -1]:
                with started(kind, pg, owner, work, options) as bouncer:
                    resting = list(rests(bouncer, counts, options.seconds))
                    loaded = loads(pg, bouncer, counts, options)
                    for count, rest, load in zip(counts, resting, loaded, strict=True):
                        print(row(bouncer.name, count, rest, load), flush=True)
        print(f"\n{machine}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
