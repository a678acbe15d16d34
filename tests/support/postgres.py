"""A real PostgreSQL for the tests: users with every kind of password, log, backends, kill and restart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from pooler.dev.postgres import SUPERUSER, THROW_AWAY, Cluster, reachable_programs
from pooler.dev.processes import Account, make_directory
from tests.support.processes import wait_for

#: One user for each way of PostgreSQL to ask for a password, with the password; trusted ones have none.
PASSWORDS = {
    SUPERUSER: "",
    "bouncer": "",  # an ordinary user without a password
    "puser": "pfoo",  # asked in clear text
    "muser": "mfoo",  # md5
    "suser": "sfoo",  # SCRAM-SHA-256
    "limited": "",  # may have two connections only
}

DATABASES = ("p0", "p1", "p2", "p3")

HBA = (
    "local all all trust",
    "host all puser 127.0.0.1/32 password",
    "host all muser 127.0.0.1/32 md5",
    "host all suser 127.0.0.1/32 scram-sha-256",
    "host all all 127.0.0.1/32 trust",
)

SETTINGS = {
    **THROW_AWAY,
    "max_connections": "120",
    "max_prepared_transactions": "10",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}

#: Further settings (scripts/debian): `jit=on work_mem=8MB`. A server that has any has analyzed catalogs, too.
MORE_SETTINGS = dict(word.split("=", 1) for word in os.environ.get("POOLER_TEST_PGSETTINGS", "").split())

CLIENTS_OF = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = %s"


class Postgres:
    """A cluster that serves on 127.0.0.1 and a unix socket, made for one test session."""

    def __init__(self, owner: Account, work: Path, **settings: str) -> None:
        make_directory(work / "pg", owner)
        sockets = make_directory(work / "pg" / "s", owner, 0o755)
        programs = reachable_programs(owner, work)
        settings = {**SETTINGS, **MORE_SETTINGS, **settings}
        self.cluster = Cluster(
            programs, owner, work / "pg", sockets, password="superuser", settings=settings, hba=HBA
        )
        self.programs = programs
        self.host = self.cluster.host
        self.socket_dir = sockets
        self._log_seen = 0

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self.cluster.process is not None
        return self.cluster.process.pid

    def create(self) -> None:
        """The cluster with its users and databases, running."""
        self.cluster.create()
        self.start()
        if MORE_SETTINGS:
            for template in ("template1", "postgres"):  # the first is what all others are copied from
                self.sql("VACUUM (ANALYZE)", dbname=template)
        with self.connect() as connection, connection.cursor() as cursor:
            for user, password in PASSWORDS.items():
                if user != SUPERUSER:
                    cursor.execute(
                        "SET password_encryption = %s", ("md5" if user == "muser" else "scram-sha-256",)
                    )
                    cursor.execute(f"CREATE ROLE {user} LOGIN")
                    if password:
                        cursor.execute(f"ALTER ROLE {user} PASSWORD '{password}'")
            cursor.execute("ALTER ROLE limited CONNECTION LIMIT 2")
            for database in DATABASES:
                cursor.execute(f"CREATE DATABASE {database} OWNER bouncer")

    def dsn(self, **values: object) -> str:
        """A connection string: the superuser on database p0 unless said otherwise."""
        user = str(values.get("user", SUPERUSER))
        return self.cluster.dsn(**{"dbname": "p0", "password": PASSWORDS.get(user, ""), **values})

    @contextlib.contextmanager
    def connect(self, **values: object) -> Iterator[Connection]:
        """A connection in autocommit mode, closed at the end of the block."""
        with contextlib.closing(psycopg2.connect(self.dsn(**{"dbname": "postgres", **values}))) as connection:
            connection.autocommit = True
            yield connection

    def sql(self, text: str, arguments: tuple[object, ...] = (), **values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; [] for a command without any."""
        with self.connect(**values) as connection, connection.cursor() as cursor:
            cursor.execute(text, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def pgbench_tables(self, database: str = "p0", scale: int = 1) -> None:
        """pgbench's tables, made once."""
        if self.sql("SELECT to_regclass('pgbench_accounts')", dbname=database) == [(None,)]:
            self.run_program("pgbench", "-i", "-q", "-s", scale, database)

    def run_program(self, program: str, *arguments: object) -> str:
        """Runs psql, pgbench or another of PostgreSQL's programs directly against it."""
        return run_program(self.programs, program, *arguments, host=self.host, port=self.port)

    # What PostgreSQL sees: the only judge of a limit.

    def backends(self, database: str = "p0") -> list[int]:
        """Process ids of those who serve the database."""
        return [row[0] for row in self.sql(CLIENTS_OF, (database,))]

    def wait_for_backends(self, count: int, database: str = "p0", timeout_s: float = 10) -> None:
        wait_for(lambda: len(self.backends(database)) == count, timeout_s, f"{count} backends of {database}")

    def terminate_backends(self, database: str = "p0") -> int:
        """pg_terminate_backend() on all of them; how many."""
        pids = self.backends(database)
        self.sql("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
        return len(pids)

    # Its life.

    def start(self) -> None:
        self.cluster.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        self.cluster.stop(how)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def kill_backend(self, pid: int, signum: signal.Signals = signal.SIGKILL) -> None:
        """A killed backend makes PostgreSQL restart all of them (crash recovery)."""
        os.kill(pid, signum)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """PostgreSQL as on a hung machine: accepts in the kernel, answers nothing."""
        pids = [self.pid, *self.backends()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    # Its log.

    def new_log(self) -> str:
        """What was logged since the last call."""
        with open(self.cluster.log, errors="replace") as file:
            file.seek(self._log_seen)
            text = file.read()
            self._log_seen = file.tell()
        return text

    def ensure_running(self) -> None:
        """Starts it again if a test left it down."""
        process = self.cluster.process
        if process is None or process.poll() is not None:
            self.cluster.process = None
            self.start()


def run_program(programs: Path, program: str, *arguments: object, host: str, port: int, **env: str) -> str:
    """Output of one of PostgreSQL's programs; an AssertionError with its output if it fails."""
    environment: Mapping[str, str] = {
        **os.environ,
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": SUPERUSER,
        **env,
    }
    result = subprocess.run(
        [str(programs / program), *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, f"{program} failed with {result.returncode}:\n{result.stdout[-2000:]}"
    return result.stdout
