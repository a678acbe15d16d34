"""What each kind of login costs, beside PgBouncer: CPU time, logins per second, connect to first row.

All programs run all the time, each with the settings of that login, and take turns at the load; every other
turn goes the other way round. A ratio is that of a turn to PgBouncer's of the same turn. CPU time is that of
all processes of a pooler, for connect, login, one `SELECT 1` and the end. There are two drivers:
`pgbench -C`, and a program of ours (tests/support/logins) that keeps the keys of SCRAM, so that the client's
PBKDF2 is not what is measured.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account, account, make_directory, wait_until, workplace
from scripts.figures import BASE, Cell, Figure, Machine, markdown, versions_of, write_json
from tests.support.certificates import Authority
from tests.support.login_load import Caller, LoginFailed, log_in
from tests.support.pooler import Bouncer, PgBouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import cpu_s
from tests.support.tls_postgres import debians_programs

HELP = (
    "logins instead of queries: CPU time per login, logins per second, connect to first row, by --logins and "
    "--drivers; then the default is 7 turns of 1 s, 1,8,64 clients"
)

#: What scripts/bench does by default, where it measures logins.
DEFAULTS = {"turns": 7, "seconds": 1, "clients": [1, 8, 64]}

USER, PASSWORD, DATABASE = "caller", "calling", "p0"
DRIVERS = ("logins", "pgbench")
NO_BINDING = "does not offer: SCRAM-SHA-256-PLUS"

FIGURES: tuple[Figure, ...] = (
    ("cpu_us", "CPU µs/login", "{:.0f}"),
    ("per_s", "logins/s", "{:.0f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
)


@dataclass(frozen=True)
class Login:
    """One way to log in."""

    auth_type: str
    secret: str = "clear"  # what stands in the userlist: clear, md5, scram; "" nothing
    method: str = "none"  # what clients are asked for
    tls: bool = False
    bound: bool = False

    @property
    def has_certificate(self) -> bool:
        return self.auth_type == "cert"

    @property
    def transports(self) -> tuple[str, ...]:
        return ("tcp",) if self.tls else ("tcp", "unix")


PLUS = "scram-sha-256-plus"
SCRAM = "scram-sha-256"

#: By the name that --logins takes.
LOGINS: Mapping[str, Login] = {
    "trust": Login("trust"),
    "md5": Login("md5", "md5", "md5"),
    "scram": Login(SCRAM, "scram", SCRAM),
    "scram-clear": Login(SCRAM, "clear", SCRAM),
    "scram-plus": Login(SCRAM, "scram", PLUS, tls=True, bound=True),
    "cert": Login("cert", tls=True),
    "tls-scram": Login(SCRAM, "scram", SCRAM, tls=True),
    "auth-query": Login(SCRAM, "", SCRAM),
}


@dataclass(frozen=True)
class Load:
    """What is done: one row of the table."""

    login: str
    clients: int
    transport: str
    driver: str = "logins"

    def __str__(self) -> str:
        driver = ", pgbench -C" * (self.driver == "pgbench")
        return f"{self.login}, {self.clients} client{'s' * (self.clients > 1)}, {self.transport}{driver}"


@dataclass(frozen=True)
class Run:
    """What one run measured; pgbench tells no times of connect to first row."""

    cpu_us: float
    per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None


def compare(options: Namespace) -> int:
    """Measures all loads, prints the table, writes JSON."""
    if unknown := [*(set(options.logins) - LOGINS.keys()), *(set(options.drivers) - set(DRIVERS))]:
        raise SystemExit(f"--connect: no {' '.join(sorted(unknown))}")
    if options.against or options.session_state or options.tls:
        raise SystemExit("--connect goes with none of --against, --session-state, --tls")
    if "pgbench" in options.drivers:  # the embedded one has no TLS
        os.environ.setdefault("POOLER_PGBIN", str(debians_programs()))
    owner, cells, machine = account(), list[Cell](), Machine()
    with workplace(owner, "pooler-bench-") as work, ExitStack() as stack:
        pg = Postgres(owner, work, max_connections="300", log_connections="off", log_disconnections="off")
        pg.create()
        stack.callback(pg.stop)
        create_user(pg)
        authority = Authority(work / "tls", owner)
        for name in options.logins:
            place = make_directory(work / name, owner, 0o755)
            most = max(options.clients)
            with running(pg, owner, place, LOGINS[name], options.workers, authority, most) as programs:
                for load in loads(name, options):
                    cells += measure(programs, load, options.turns, options.seconds)
        versions = versions_of(pg)
        told = "; ".join(f"{name} {version}" for name, version in versions.items())
        print(f"\n{markdown(cells, FIGURES, quartiles=True)}\n\n{machine}\n{told}", flush=True)
        settings = {"turns": options.turns, "seconds": options.seconds, "machine": str(machine)}
        write_json(options.output / "connect.json", cells, FIGURES, versions, settings)
    return 0


def create_user(pg: Postgres) -> None:
    """The user of all logins, whom PostgreSQL itself asks for nothing."""
    pg.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")


def loads(name: str, options: Namespace) -> list[Load]:
    return [
        Load(name, clients, transport, driver)
        for transport in options.transports
        if transport in LOGINS[name].transports
        for driver in options.drivers
        for clients in options.clients
    ]


# The poolers.


@dataclass(frozen=True)
class Program:
    """A pooler that runs, and who logs in."""

    name: str
    bouncer: Bouncer
    caller: Caller


@contextmanager
def running(
    pg: Postgres,
    owner: Account,
    work: Path,
    login: Login,
    workers: Sequence[int],
    authority: Authority,
    most_clients: int,
) -> Iterator[list[Program]]:
    """PgBouncer, if there is one, and pooler with each number of workers, all of them told the same."""
    kinds: list[tuple[str, type[Bouncer], dict[str, Any]]] = [
        (f"pooler, {count} worker{'s' * (count > 1)}", Pooler, {"workers": count}) for count in workers
    ]
    if PgBouncer.find():
        kinds.insert(0, (BASE, PgBouncer, {}))
    allow_descriptors()
    settings = settings_of(login, authority, most_clients)
    pair = authority.sign(USER, f"/CN={USER}", ours=True) if login.has_certificate else None
    caller = Caller(USER, PASSWORD, DATABASE, login.tls, pair, login.bound)
    with ExitStack() as stack:
        programs = []
        for number, (name, kind, keywords) in enumerate(kinds):
            bouncer = kind(pg, owner, work / f"b{number}", {DATABASE: "pool_size=20"}, **keywords, **settings)
            bouncer.passwords = secrets(pg, login)
            stack.callback(bouncer.stop)
            bouncer.launch()
            program = Program(name, bouncer, caller)
            if serves(program):
                programs.append(program)
        yield programs


def allow_descriptors() -> None:
    """As many as may be, here and in what is started from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def settings_of(login: Login, authority: Authority, most_clients: int) -> dict[str, Any]:
    """The same certificate, versions and ciphers for all, of which the client has one each.

    All clients at once fit into the queue of the listening socket: a SYN that is dropped costs a second.
    """
    settings: dict[str, Any] = {"auth_type": login.auth_type}
    settings["max_client_conn"] = 1000 + 2 * most_clients  # those that have left may still be closed
    settings["listen_backlog"] = max(128, most_clients)
    if not login.secret:
        settings["auth_user"] = SUPERUSER
    if login.tls:
        pair = authority.sign("server", "/CN=localhost")
        settings["client_tls_sslmode"] = "verify-full" if login.has_certificate else "require"
        settings["client_tls_key_file"], settings["client_tls_cert_file"] = pair.key, pair.cert
        settings["client_tls_ca_file"] = authority.cert
    return settings


def secrets(pg: Postgres, login: Login) -> dict[str, str]:
    """The userlist."""
    if login.secret == "md5":
        return {USER: "md5" + hashlib.md5(f"{PASSWORD}{USER}".encode()).hexdigest()}
    if login.secret == "scram":
        ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (USER,))
        return {USER: str(stored)}
    return {USER: PASSWORD} if login.secret else {SUPERUSER: ""}


def serves(program: Program) -> bool:
    """Waits until a login succeeds; false: it never will, for the program knows no channel binding."""
    bouncer, lacking = program.bouncer, False
    assert bouncer.process is not None

    def answers() -> bool:
        nonlocal lacking
        try:
            log_in(program.caller, bouncer.host, bouncer.port, count=1)
        except LoginFailed as error:
            lacking = NO_BINDING in str(error)
            if not lacking and "connect: Connection refused" not in str(error):
                raise
            return lacking
        return True

    wait_until(answers, bouncer.process, bouncer.log, bouncer.out, timeout_s=30)
    if lacking:
        print(f"{program.name}: no channel binding", file=sys.stderr)
    return not lacking


# Measuring.


def measure(programs: Sequence[Program], load: Load, turns: int, seconds: float) -> list[Cell]:
    """All turns of one load."""
    cells = {program.name: Cell(load, program.name) for program in programs}
    for program in programs:
        run(program, load, min(seconds, 0.5) if load.driver == "logins" else 1)  # opens its servers
    for turn in range(turns):
        print(f"{load}: turn {turn + 1} of {turns}", file=sys.stderr)
        for program in programs[:: -1 if turn % 2 else 1]:
            cells[program.name].runs.append(run(program, load, seconds))
    return list(cells.values())


def run(program: Program, load: Load, seconds: float) -> Run:
    """One run of the load."""
    bouncer = program.bouncer
    host = bouncer.host if load.transport == "tcp" else bouncer.directory
    before = cpu_s(bouncer.pid)
    if load.driver == "pgbench":
        count, per_s = pgbench(program, load, host, seconds)
        return Run((cpu_s(bouncer.pid) - before) / count * 1e6, per_s)
    found = log_in(program.caller, host, bouncer.port, load.clients, seconds=seconds)
    used_s = cpu_s(bouncer.pid) - before
    if set(found.methods) != {LOGINS[load.login].method}:
        raise SystemExit(f"{program.name}, {load}: clients were asked for {found.methods}")
    return Run(used_s / found.logins * 1e6, found.per_s, found.p50_ms, found.p99_ms)


def pgbench(program: Program, load: Load, host: str | Path, seconds: float) -> tuple[int, float]:
    """`pgbench -C`, each client in a thread of its own: how many logins there were, and in a second."""
    pg, caller = program.bouncer.pg, program.caller
    script = program.bouncer.directory / "select.sql"
    script.write_text("SELECT 1\n")
    words = [pg.programs / "pgbench", "-n", "-C", "-f", script, "-c", load.clients, "-j", load.clients]
    words += ["-T", max(1, round(seconds)), conninfo(caller, host, program.bouncer.port)]
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"pgbench, {program.name}, {load}:\n{result.stdout[-800:]}{result.stderr[-800:]}")
    return parse_pgbench(result.stdout)


def parse_pgbench(output: str) -> tuple[int, float]:
    """The transactions, and how many in a second: with -C each has a connection of its own."""
    count = re.search(r"^number of transactions actually processed: (\d+)", output, re.MULTILINE)
    failed = re.search(r"^number of failed transactions: (\d+)", output, re.MULTILINE)
    rate = re.search(r"^tps = ([\d.]+) \(including reconnection times\)", output, re.MULTILINE)
    if not count or not rate or int(count[1]) == 0 or (failed and failed[1] != "0"):
        raise SystemExit(f"pgbench:\n{output[-800:]}")
    return int(count[1]), float(rate[1])


def conninfo(caller: Caller, host: str | Path, port: int) -> str:
    """As libpq takes it."""
    parts: dict[str, object] = {"host": host, "port": port, "user": caller.user, "dbname": caller.database}
    parts |= {"password": caller.password, "sslmode": "require" if caller.tls else "disable"}
    parts["channel_binding"] = "require" if caller.bound else "disable"
    if caller.certificate:
        parts |= {"sslcert": caller.certificate.cert, "sslkey": caller.certificate.key}
    return " ".join(f"{name}='{value}'" for name, value in parts.items())
