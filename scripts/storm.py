"""A storm of logins by TLS and SCRAM, while others run queries: what it does to the queries' latency.

PgBouncer (if there is one) and pooler take turns. pgbench keeps a few connections busy at a steady rate,
first in quiet, then while another process logs in and out by TLS as fast as it can. All of it shares this
machine's cores: the other side of each handshake is work here, too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench import quantile, tls_settings  # noqa: E402

from pooler.dev.processes import account, workplace  # noqa: E402
from tests.support.pooler import Bouncer, PgBouncer, Pooler  # noqa: E402
from tests.support.postgres import PASSWORDS, Postgres  # noqa: E402

USER = "suser"  # whose secret is SCRAM's
DATABASE = "p0"
RATE, BUSY = 400, 4  # transactions per second of all, on so many connections

#: Run by a process of its own: logins, `width` at a time.
LOGINS = """
import sys, time, psycopg2
from concurrent.futures import ThreadPoolExecutor
dsn, count, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def login(_):
    connection = psycopg2.connect(dsn)
    connection.cursor().execute("SELECT 1")
    connection.close()
began = time.time()
with ThreadPoolExecutor(width) as threads:
    list(threads.map(login, range(count)))
print(began, time.time())
"""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--logins", type=int, default=500, help="in one storm")
    parser.add_argument("--width", type=int, default=100, help="how many at a time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nice", type=int, default=0, help="of the process that logs in")
    parser.add_argument("--alone", action="store_true", help="pooler without PgBouncer beside it")
    return parser.parse_args(argv)


def latencies(pg: Postgres, bouncer: Bouncer, seconds: int) -> list[tuple[float, float]]:
    """(when it ended, seconds since the epoch; milliseconds) of the queries of a run of pgbench."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [
                *(str(pg.programs / "pgbench"), "-S", "-n", "-c", str(BUSY), "-j", "1", "-R", str(RATE)),
                *("-T", str(seconds), "--log", "--log-prefix", f"{directory}/log"),
                bouncer.dsn(user=USER, sslmode="disable"),
            ],
            check=True,
            capture_output=True,
        )
        lines = [line.split() for log in Path(directory).iterdir() for line in log.read_text().splitlines()]
    return [(int(line[4]) + int(line[5]) / 1e6, int(line[2]) / 1e3) for line in lines]


def storm(bouncer: Bouncer, options: argparse.Namespace) -> tuple[float, float]:
    """Logs in as often as asked for; when it began and ended."""
    command = [sys.executable, "-c", LOGINS, bouncer.dsn(user=USER, sslmode="require")]
    done = subprocess.run(
        ["nice", "-n", str(options.nice), *command, str(options.logins), str(options.width)],
        check=True,
        capture_output=True,
        text=True,
    )
    began, ended = map(float, done.stdout.split())
    return began, ended


@dataclass
class Result:
    """Latencies in milliseconds, and how many logins a second there were meanwhile."""

    logins_per_s: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    storm: list[float] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """The results of another turn."""
        for mine, its in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.extend(its)

    def row(self, name: str) -> str:
        """As a row of the table."""
        quiet, storm = ([quantile(sorted(part), q) for q in (0.5, 0.99)] for part in (self.quiet, self.storm))
        rate = sum(self.logins_per_s) / len(self.logins_per_s)
        figures = f"{quiet[0]:.2f} | {quiet[1]:.2f} | {storm[0]:.2f} | {storm[1]:.2f}"
        return f"| {name} | {rate:.0f} | {figures} | {storm[1] / quiet[1]:.1f}× |"


def turn(pg: Postgres, bouncer: Bouncer, options: argparse.Namespace) -> Result:
    """Quiet and storm of one program."""
    quiet = [took for _, took in latencies(pg, bouncer, 3)]
    found: list[tuple[float, float]] = []
    reader = threading.Thread(target=lambda: found.extend(latencies(pg, bouncer, 12)))
    reader.start()
    time.sleep(1.5)
    began, ended = storm(bouncer, options)
    reader.join()
    during = [took for when, took in found if began <= when <= ended]
    return Result([options.logins / (ended - began)], quiet, during)


def main(argv: Sequence[str]) -> int:
    """Prints a row for each turn of each program, and one for all its turns."""
    options = arguments(argv)
    owner = account()
    with workplace(owner, "pooler-storm-") as work, ExitStack() as stack:
        pg = Postgres(owner, work, max_connections="200", log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        pg.pgbench_tables(scale=1)
        pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC", dbname=DATABASE)
        rules = work / "hba"  # the console is asked for no password
        rules.write_text(f"host all {USER} all scram-sha-256\nhost all all all trust\nlocal all all trust\n")
        owner.give(rules)
        settings = {**tls_settings(work, owner), "auth_type": "hba", "auth_hba_file": rules}
        settings["max_client_conn"] = 1500
        programs: list[Bouncer] = []
        for kind in (PgBouncer, Pooler):
            if kind is PgBouncer and (options.alone or not PgBouncer.find()):
                continue
            keywords = {"workers": options.workers} if kind is Pooler else {}
            target = {DATABASE: f"pool_size=20 password={PASSWORDS[USER]}"}
            programs.append(kind(pg, owner, work / kind.__name__, target, **settings, **keywords))
            stack.callback(programs[-1].stop)
            programs[-1].start()
        print("| program | logins/s | quiet p50 ms | p99 | storm p50 ms | p99 | p99 storm / quiet |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        results = {bouncer.name: Result() for bouncer in programs}
        for number in range(options.turns):
            for bouncer in programs[:: 1 if number % 2 else -1]:
                result = turn(pg, bouncer, options)
                results[bouncer.name].add(result)
                print(result.row(bouncer.name), flush=True)
        for name, result in results.items():
            print(result.row(f"{name}, all turns"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
