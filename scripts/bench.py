"""Paired benchmark: PostgreSQL itself, PgBouncer and pooler take turns on the same pgbench workload.

What counts first is the pooler's CPU time per transaction: throughput and latency on one machine also measure
pgbench and PostgreSQL. Every turn runs all programs one after the other, each turn begins with the next one,
and a ratio is the median of the turns' ratios to PgBouncer; so a drift of the machine favours none.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pooler.dev.postgres import SUPERUSER  # noqa: E402
from pooler.dev.processes import Account, account, workplace  # noqa: E402
from scripts import against, connect, pgbouncer  # noqa: E402
from scripts.against import Workload  # noqa: E402
from scripts.figures import BASE, Cell, Figure, markdown, quantile, versions_of, write_json  # noqa: E402
from tests.support.affinity import on_one_core  # noqa: E402
from tests.support.certificates import Authority  # noqa: E402
from tests.support.pooler import Bouncer, PgBouncer, Pooler  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402
from tests.support.processes import cpu_s  # noqa: E402
from tests.support.tls_postgres import debians_programs  # noqa: E402

DIRECT = "direct"
OFF = ", session_state off"
SCALE = 10

FIGURES: tuple[Figure, ...] = (
    ("cpu_us", "CPU µs/tx", "{:.1f}"),
    ("tps", "tx/s", "{:.0f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
)


@dataclass(frozen=True)
class Run:
    """What one pgbench run measured; no CPU time for direct PostgreSQL."""

    cpu_us: float | None
    tps: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Program:
    """Something that pgbench can be pointed at."""

    name: str
    host: str
    socket_dir: Path
    port: int
    pid: int | None  # the process tree whose CPU time counts
    databases: dict[str, str]  # by transport: both ways of a transaction use the same


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").split("\n")[0])

    def several(convert: Callable[[str], Any]) -> Callable[[str], list[Any]]:
        return lambda text: [convert(word) for word in text.split(",") if word]

    many = max(2, os.cpu_count() or 2)
    parser.add_argument("--turns", type=int, default=5, help="turns of each workload (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of each run (default 2)")
    parser.add_argument("--clients", type=several(int), default=[1, 32, 200], help="default 1,32,200")
    parser.add_argument(
        "--modes", type=several(str), default=["simple", "extended"], help="default simple,extended"
    )
    parser.add_argument("--transports", type=several(str), default=["tcp", "unix"], help="default tcp,unix")
    parser.add_argument(
        "--workers", type=several(int), default=[1, many], help=f"of pooler; default 1,{many}"
    )
    parser.add_argument(
        "--session-state",
        action="store_true",
        help="pooler with session_state = auto against off, also both at the same time on one core, in four "
        "times as many turns; PgBouncer in session pooling",
    )
    parser.add_argument(
        "--tls", action="store_true", help="clients over TCP with TLS (but direct); needs Debian's postgresql"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "bench", help="directory of JSON and plot (default bench)"
    )
    parser.add_argument(
        "--load",
        type=float,
        metavar="SHARE",
        help="all get the same load: this share of what PgBouncer can do (0.7: latencies at seven tenths)",
    )
    parser.add_argument("--pgbouncer", metavar="PROGRAM|SUITES", help=pgbouncer.HELP)
    parser.add_argument("--against", metavar="COMMIT", help=against.HELP)
    parser.add_argument("--connect", action="store_true", help=connect.HELP)
    names = ",".join(connect.LOGINS)
    parser.add_argument("--logins", type=several(str), default=list(connect.LOGINS), help=f"default {names}")
    drivers = ",".join(connect.DRIVERS)
    parser.add_argument(
        "--drivers", type=several(str), default=list(connect.DRIVERS), help=f"default {drivers}"
    )
    chosen = parser.parse_args(argv)
    if chosen.against:
        parser.set_defaults(**against.DEFAULTS)
    if chosen.connect:
        parser.set_defaults(**connect.DEFAULTS)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Measures all workloads, prints the table, writes JSON and plot."""
    arguments = parse_arguments(argv)
    if arguments.pgbouncer:
        os.environ["POOLER_PGBOUNCER"] = str(pgbouncer.program(arguments.pgbouncer))
    if arguments.against:
        return against.compare(arguments)
    if arguments.connect:
        return connect.compare(arguments)
    workloads = [
        Workload(mode, clients, transport)
        for transport in arguments.transports
        for mode in arguments.modes
        for clients in arguments.clients
    ]
    owner = account()
    with workplace(owner, "pooler-bench-") as work, ExitStack() as stack:
        if arguments.tls:
            os.environ.setdefault("POOLER_PGBIN", str(debians_programs()))
            os.environ["PGSSLMODE"] = "prefer"
        pg = Postgres(owner, work, max_connections="300", log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        pg.pgbench_tables(scale=SCALE)
        tls = tls_settings(work, owner) if arguments.tls else {}
        most = max(arguments.clients)
        programs = start_programs(pg, work, arguments.workers, stack, arguments.session_state, tls, most)
        if BASE not in {program.name for program in programs}:
            if arguments.load:
                raise SystemExit("--load is a share of what PgBouncer can do: it is not installed")
            print("pgbouncer is not installed: no ratios", file=sys.stderr)
        cells = []
        for workload in workloads:
            cells += measure(pg, programs, workload, arguments)
        # before anything is stopped: minutes of measuring must not be lost to trouble at the end
        print(f"\n{markdown(cells, FIGURES)}", flush=True)
        if arguments.session_state:
            ratios = auto_to_off(pg, programs, workloads, 4 * arguments.turns, arguments.seconds)
            print(f"\n{ratios}", flush=True)
        settings = {"turns": arguments.turns, "seconds": arguments.seconds, "scale": SCALE}
        settings["load"] = arguments.load
        write_json(arguments.output / "bench.json", cells, FIGURES, versions_of(pg), settings)
        write_plot(arguments.output / "bench.svg", cells)
    return 0


def tls_settings(work: Path, owner: Account) -> dict[str, Any]:
    """What lets clients in by TLS only: the same certificate, versions and ciphers for all."""
    pair = Authority(work / "tls", owner).sign("server", "/CN=localhost")
    return {
        "client_tls_sslmode": "prefer",
        "client_tls_key_file": pair.key,
        "client_tls_cert_file": pair.cert,
    }


def start_programs(
    pg: Postgres,
    work: Path,
    workers: Sequence[int],
    stack: ExitStack,
    session_state: bool,
    settings: dict[str, Any],
    most_clients: int,
) -> list[Program]:
    """Everything that takes turns, running; stopped when the stack unwinds.

    For `-M prepared` PgBouncer needs session pooling, unless it is 1.21 or later: so both of its ways differ.
    """
    programs = [Program(DIRECT, pg.host, pg.socket_dir, pg.port, None, {"tcp": "p0", "unix": "p0"})]
    kinds: list[tuple[str, type[Bouncer], dict[str, Any]]] = [
        (f"pooler, {count} worker{'s' * (count > 1)}", Pooler, {"workers": count}) for count in workers
    ]
    if session_state:
        kinds += [(f"{name}{OFF}", kind, {**keys, "session_state": "off"}) for name, kind, keys in kinds]
    if PgBouncer.find():
        kinds.insert(0, (BASE, PgBouncer, {"pool_mode": "session"} if session_state else {}))
    for number, (name, kind, keywords) in enumerate(kinds):
        sessions = keywords.get("pool_mode") == "session"  # each client keeps a server
        target = f"dbname=p0 pool_size={max(20, most_clients) if sessions else 20}"
        targets = {"tcp": target, "unix": f"{target} host={pg.socket_dir}"}
        bouncer = kind(
            pg, pg.cluster.owner, work / f"b{number}", targets, **keywords, **settings, max_client_conn=1000
        )
        stack.callback(bouncer.stop)
        bouncer.start()
        programs.append(
            Program(
                name,
                bouncer.host,
                bouncer.directory,
                bouncer.port,
                bouncer.pid,
                {"tcp": "tcp", "unix": "unix"},
            )
        )
    return programs


def measure(
    pg: Postgres, programs: Sequence[Program], workload: Workload, arguments: argparse.Namespace
) -> list[Cell]:
    """All turns of one workload."""
    cells = [Cell(workload, program.name) for program in programs]
    for program in programs:
        run(pg, program, workload, 3)  # opens its servers, fills caches
    base = next((program for program in programs if program.name == BASE), None)
    rate = arguments.load * run(pg, base, workload, 3).tps if arguments.load and base else None
    if rate:
        print(f"{workload}: {rate:.0f} transactions/s for all", file=sys.stderr)
    for turn in range(arguments.turns):
        print(f"{workload}: turn {turn + 1} of {arguments.turns}", file=sys.stderr)
        for step in range(len(programs)):
            chosen = (turn + step) % len(programs)
            cells[chosen].runs.append(run(pg, programs[chosen], workload, arguments.seconds, rate))
    return cells


def run(pg: Postgres, program: Program, workload: Workload, seconds: int, rate: float | None = None) -> Run:
    """One run of pgbench; latencies are of one transaction in ten, so that writing them costs little.

    At a `rate` (transactions per second) a latency counts from when its transaction was due.
    """
    host = program.host if workload.transport == "tcp" else program.socket_dir
    with tempfile.TemporaryDirectory() as directory:
        command = [
            *(pg.programs / "pgbench", "-S", "-n", "-M", workload.mode, "-c", workload.clients, "-j", 1),
            *("-T", seconds, "-h", host, "-p", program.port, "-U", SUPERUSER),
            *("--log", "--log-prefix", f"{directory}/log", "--sampling-rate", 0.1),
            *(("-R", round(rate)) if rate else ()),
            program.databases[workload.transport],
        ]
        before = cpu_s(program.pid) if program.pid else 0
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        after = cpu_s(program.pid) if program.pid else 0
        count = re.search(r"actually processed: (\d+)", result.stdout)
        tps = re.search(r"^tps = ([\d.]+)", result.stdout, re.MULTILINE)
        failed = re.search(r"failed transactions: (\d+)", result.stdout)
        if result.returncode or not count or not tps or (failed and failed[1] != "0"):
            raise SystemExit(
                f"pgbench on {program.name}, {workload}:\n{result.stdout[-800:]}{result.stderr[-800:]}"
            )
        latencies_ms = sorted(
            int(line.split()[2]) / 1000
            for log in Path(directory).iterdir()
            for line in log.read_text().splitlines()
        )
    cpu_us = (after - before) / int(count[1]) * 1e6 if program.pid else None
    return Run(cpu_us, float(tps[1]), quantile(latencies_ms, 0.5), quantile(latencies_ms, 0.99))


def auto_to_off(
    pg: Postgres, programs: Sequence[Program], workloads: Sequence[Workload], turns: int, seconds: int
) -> str:
    """What following a session's state costs where there is none: CPU per transaction, auto to off.

    Both run at the same time, on one core, everything else on the others: so the machine's moods are common.
    (That is fair to the same program only: two programs disturb each other's batches differently.)
    """
    lines = []
    for off in (program for program in programs if program.name.endswith(OFF)):
        auto = next(program for program in programs if program.name == off.name.removesuffix(OFF))
        chosen = [program.pid for program in (auto, off) if program.pid]
        with on_one_core(chosen, [os.getpid(), pg.pid]), ThreadPoolExecutor(2) as threads:
            for workload in workloads:
                ratios = []
                for turn in range(turns + 1):  # the first one opens servers and fills caches
                    order = (auto, off) if turn % 2 else (off, auto)
                    runs = {p.name: threads.submit(run, pg, p, workload, seconds) for p in order}
                    cpu = {name: future.result().cpu_us or 0 for name, future in runs.items()}
                    ratios.append(cpu[auto.name] / cpu[off.name])
                low, median, high = statistics.quantiles(ratios[1:], n=4)
                lines.append(
                    f"{workload}, {auto.name}: auto / off = {median:.3f} (quartiles {low:.3f}, {high:.3f})"
                )
    return "\n".join(lines)


def write_plot(path: Path, cells: Sequence[Cell]) -> None:
    """CPU time per transaction and throughput of every workload, as bars; nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install 'pooler[bench]' brings matplotlib", file=sys.stderr)
        return
    matplotlib.use("svg")
    from matplotlib import pyplot

    workloads = list(dict.fromkeys(cell.workload for cell in cells))
    programs = list(dict.fromkeys(cell.program for cell in cells))
    panels = (
        ("cpu_us", "CPU µs per transaction (less is better)"),
        ("tps", "transactions/s (more is better)"),
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 1.5 + 0.6 * len(workloads)), sharey=True)
    height = 0.8 / len(programs)
    for axis, (attribute, title) in zip(axes, panels, strict=True):
        for number, program in enumerate(programs):
            values = [cell.median(attribute) or 0 for cell in cells if cell.program == program]
            positions = [index + number * height for index in range(len(workloads))]
            axis.barh(positions, values, height, label=program)
        axis.set_title(title)
    axes[0].set_yticks([index + 0.4 - height / 2 for index in range(len(workloads))], map(str, workloads))
    axes[0].invert_yaxis()
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="lower center", ncols=len(programs))
    figure.savefig(path)
    print(f"plot: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
