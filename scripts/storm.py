"""A storm of logins, while others run queries: what it does to the queries' latency.

PgBouncer (if there is one) and pooler take turns. pgbench keeps a few connections busy at a steady rate,
first in quiet, then while another process (tests/support/logins) logs in and out as fast as it can, by TLS
and SCRAM or by what `--login` names. All of it shares this machine's cores: the other side of each handshake
is work here, too. The userlist has PostgreSQL's SCRAM secrets.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pooler.dev.processes import account, workplace  # noqa: E402
from scripts import pgbouncer  # noqa: E402
from scripts.bench import tls_settings  # noqa: E402
from scripts.connect import allow_descriptors  # noqa: E402
from scripts.figures import Machine, quantile  # noqa: E402
from tests.support.login_load import Caller, Logins, log_in  # noqa: E402
from tests.support.pooler import Bouncer, PgBouncer, Pooler  # noqa: E402
from tests.support.postgres import PASSWORDS, Postgres  # noqa: E402

USER = "suser"  # whose secret is SCRAM's
DATABASE = "p0"
RATE, BUSY = 400, 4  # transactions per second of all, on so many connections

#: The users that log in, by the name that --login takes.
CALLERS: Mapping[str, Caller] = {
    "tls-scram": Caller(USER, PASSWORDS[USER], DATABASE, tls=True),
    "scram": Caller(USER, PASSWORDS[USER], DATABASE),
    "trust": Caller("bouncer", "", DATABASE),
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--login", choices=CALLERS, default="tls-scram", help="how (default tls-scram)")
    parser.add_argument("--transport", choices=("tcp", "unix"), default="tcp", help="of the logins")
    parser.add_argument("--logins", type=int, default=500, help="in one storm (default 500)")
    parser.add_argument("--width", type=int, default=100, help="how many at a time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nice", type=int, default=0, help="of the process that logs in")
    parser.add_argument("--alone", action="store_true", help="pooler without PgBouncer beside it")
    parser.add_argument("--pgbouncer", metavar="PROGRAM|SUITES", help=pgbouncer.HELP)
    options = parser.parse_args(argv)
    if options.transport == "unix" and CALLERS[options.login].tls:
        parser.error("there is no TLS on unix sockets")
    return options


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


def storm(bouncer: Bouncer, options: argparse.Namespace) -> Logins:
    """Logs in as often as asked for."""
    caller, host = CALLERS[options.login], bouncer.host if options.transport == "tcp" else bouncer.directory
    return log_in(caller, host, bouncer.port, options.width, options.logins, nice=options.nice)


@dataclass
class Result:
    """Latencies in milliseconds of queries and logins, and how many logins a second there were meanwhile."""

    logins_per_s: list[float] = field(default_factory=list)
    logins_p99: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    storm: list[float] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """The results of another turn."""
        for mine, its in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.extend(its)

    def row(self, name: str) -> str:
        """As a row of the table."""
        quiet, storm = ([quantile(sorted(part), q) for q in (0.5, 0.99)] for part in (self.quiet, self.storm))
        rate, p99 = statistics.mean(self.logins_per_s), statistics.median(self.logins_p99)
        figures = f"{quiet[0]:.2f} | {quiet[1]:.2f} | {storm[0]:.2f} | {storm[1]:.2f}"
        return f"| {name} | {rate:.0f} | {p99:.0f} | {figures} | {storm[1] / quiet[1]:.1f}× |"


def turn(pg: Postgres, bouncer: Bouncer, options: argparse.Namespace) -> Result:
    """Quiet and storm of one program."""
    quiet = [took for _, took in latencies(pg, bouncer, 3)]
    found: list[tuple[float, float]] = []
    reader = threading.Thread(target=lambda: found.extend(latencies(pg, bouncer, 12)))
    reader.start()
    time.sleep(1.5)
    logins = storm(bouncer, options)
    reader.join()
    during = [took for when, took in found if logins.began <= when <= logins.ended]
    if not during:
        raise SystemExit("no query ended while the storm lasted: more --logins")
    return Result([logins.per_s], [logins.p99_ms], quiet, during)


def main(argv: Sequence[str]) -> int:
    """Prints a row for each turn of each program, and one for all its turns."""
    options = arguments(argv)
    if options.pgbouncer:
        os.environ["POOLER_PGBOUNCER"] = str(pgbouncer.program(options.pgbouncer))
    owner, machine = account(), Machine()
    allow_descriptors()
    with workplace(owner, "pooler-storm-") as work, ExitStack() as stack:
        pg = Postgres(owner, work, max_connections="200", log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        pg.pgbench_tables(scale=1)
        pg.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC", dbname=DATABASE)
        ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (USER,))
        rules = work / "hba"  # the console is asked for no password
        kinds = (f"host all {USER} 127.0.0.1/32", f"local all {USER}")
        scram = "".join(f"{kind} scram-sha-256\n" for kind in kinds)
        rules.write_text(f"{scram}host all all 127.0.0.1/32 trust\nlocal all all trust\n")
        owner.give(rules)
        settings = {**tls_settings(work, owner), "auth_type": "hba", "auth_hba_file": rules}
        settings["max_client_conn"] = 1500 + 2 * options.width
        settings["listen_backlog"] = max(128, options.width)
        programs: list[Bouncer] = []
        for kind in (PgBouncer, Pooler):
            if kind is PgBouncer and (options.alone or not PgBouncer.find()):
                continue
            keywords = {"workers": options.workers} if kind is Pooler else {}
            target = {DATABASE: f"pool_size=20 password={PASSWORDS[USER]}"}
            programs.append(kind(pg, owner, work / kind.__name__, target, **settings, **keywords))
            programs[-1].passwords[USER] = stored
            stack.callback(programs[-1].stop)
            programs[-1].start()
        print("| program | logins/s | p99 ms | quiet p50 ms | p99 | storm p50 ms | p99 | p99 storm / quiet |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        results = {bouncer.name: Result() for bouncer in programs}
        for number in range(options.turns):
            for bouncer in programs[:: 1 if number % 2 else -1]:
                result = turn(pg, bouncer, options)
                results[bouncer.name].add(result)
                print(result.row(bouncer.name), flush=True)
        for name, result in results.items():
            print(result.row(f"{name}, all turns"))
        print(f"\n{machine}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
