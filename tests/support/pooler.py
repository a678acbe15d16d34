"""The real pooler as a child with an ini of its own, and PgBouncer behind the same interface."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor

from pooler.admin.show_catalogs import NEVER_READ, OUTDATED
from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account, free_port, make_directory, spawn, tail, wait_until
from pooler.dev.program import PACKAGE, Program, console_answers, pooler_program
from tests.support.postgres import DATABASES, PASSWORDS, Postgres, run_program
from tests.support.processes import descendants, wait_for
from tests.support.wire import Wire

#: What is tested: this package, or one with another core: with sanitizers, which need their own libraries
#: (scripts/sanitize), or a release build (scripts/bench).
TESTED_PACKAGE = Path(os.environ.get("POOLER_TEST_PACKAGE", PACKAGE))
PRELOAD = os.environ.get("POOLER_TEST_PRELOAD")

#: What must never stand in a log, whatever a test did.
BUG_MARKS = re.compile(
    r"Traceback \(most recent call last\)|AddressSanitizer|runtime error:|Fatal Python error"
    r"|illegal (?:transition|state) of"
)


#: What shows more of pooler than of PgBouncer.
EXTENDED = frozenset({"pools", "clients", "servers", "sockets", "active_sockets"})


class Bouncer:
    """A program that understands PgBouncer's ini, on a port and a unix socket of its own.

    `databases` maps names to further keys (`{"p0": "pool_size=2"}`); host, port and dbname are filled in
    unless the text names them. Keyword arguments are settings; None leaves one out.
    """

    name = "bouncer"
    quit_codes: tuple[int, ...] = (0,)  # what it may end with after SIGQUIT

    def __init__(
        self,
        pg: Postgres,
        owner: Account,
        directory: Path,
        databases: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.pg = pg
        self.owner = owner
        self.directory = make_directory(directory, owner, 0o755)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.ini = directory / "pooler.ini"
        self.userlist = directory / "userlist.txt"
        self.log = directory / "log"
        self.out = directory / "out"
        self.databases = dict(databases if databases is not None else dict.fromkeys(DATABASES, ""))
        self.user_options = dict(users or {})
        self.settings: dict[str, object] = {
            "listen_addr": self.host,
            "listen_port": self.port,
            "unix_socket_dir": directory,
            "auth_type": "trust",
            "auth_file": self.userlist,
            "admin_users": SUPERUSER,
            "stats_users": "bouncer",
            "pool_mode": "transaction",
            "max_client_conn": 500,
            "logfile": self.log,
            **settings,
        }
        self.extra = ""  # other sections
        self.passwords: dict[str, str] = dict(PASSWORDS)
        self.process: subprocess.Popen[bytes] | None = None
        self._log_seen = 0

    def command(self) -> Program:
        """The program to start, without arguments."""
        raise NotImplementedError

    # Configuration.

    def write_config(self) -> None:
        """Writes ini and userlist from the attributes."""
        lines = [
            "[databases]",
            *(f"{name} = {self._target(name, keys)}" for name, keys in self.databases.items()),
        ]
        if self.user_options:
            lines += ["[users]", *(f"{name} = {keys}" for name, keys in self.user_options.items())]
        lines += [
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in self.settings.items() if value is not None),
        ]
        self._write(self.ini, "\n".join(lines) + "\n" + self.extra)
        self._write(
            self.userlist, "".join(f'"{user}" "{secret}"\n' for user, secret in self.passwords.items())
        )

    def _target(self, name: str, keys: str) -> str:
        given = {match[1] for match in re.finditer(r"(\w+)\s*=", keys)}
        defaults = {"host": self.pg.host, "port": self.pg.port, "dbname": name}
        if name == "*":
            del defaults["dbname"]
        return " ".join([*(f"{key}={value}" for key, value in defaults.items() if key not in given), keys])

    def _write(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text, errors="surrogateescape")
        self.owner.give(path)

    def configure(self, **settings: object) -> None:
        """Changes settings (None removes one), writes the ini and reloads."""
        self.settings.update(settings)
        self.write_config()
        self.reload()

    @contextlib.contextmanager
    def configured(self, **settings: object) -> Iterator[None]:
        """These settings by reload, for the block."""
        self.configure(**settings)
        try:
            yield
        finally:
            self.configure(**dict.fromkeys(settings))

    def reload(self) -> None:
        """RELOAD on the console, which answers when it is in force everywhere."""
        self.console("RELOAD")

    # Life.

    def start(self, *arguments: str) -> None:
        """Starts it and waits until its console answers."""
        self.launch(*arguments)
        assert self.process is not None
        dsn = self.dsn(dbname="pgbouncer", user=SUPERUSER)
        wait_until(lambda: console_answers(dsn), self.process, self.log, self.out, timeout_s=10)

    def launch(self, *arguments: str) -> None:
        """Starts it without waiting for anything."""
        self.write_config()
        program = self.command()
        argv = [*program.argv, "-q", *arguments, str(self.ini)]
        self.process = spawn(argv, self.owner, self.out, self.directory, program.env)

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def wait(self, timeout_s: float = 10) -> int:
        """Waits for its end; the exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """The immediate end, which has to be clean: exit code, no process left, no bug in the log."""
        try:
            if self.is_running:
                family = descendants(self.pid)
                self.signal(signal.SIGQUIT)
                code = self.wait(5)
                assert code in self.quit_codes, f"exit code {code}\n{tail(self.log)}"
                wait_for(lambda: not any(map(_is_alive, family)), 2, "the end of all processes")
        finally:
            self.kill()
        self.assert_no_bug()

    def kill(self) -> None:
        """Sure to have ended, however."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    # Clients.

    def dsn(self, **values: object) -> str:
        """A connection string: user bouncer on database p0 unless said otherwise."""
        user = str(values.get("user", "bouncer"))
        parts: dict[str, object] = {"host": self.host, "port": self.port, "user": user, "dbname": "p0"}
        parts.update({"password": self.pg_password(user), "connect_timeout": 10, **values})
        return " ".join(f"{name}='{value}'" for name, value in parts.items())

    def pg_password(self, user: str) -> str:
        """What the user types, whatever form of it stands in the userlist."""
        return PASSWORDS.get(user, "")

    @contextlib.contextmanager
    def connect(self, autocommit: bool = True, **values: Any) -> Iterator[Connection]:
        """A psycopg2 connection, closed at the end of the block."""
        with contextlib.closing(psycopg2.connect(self.dsn(**values))) as connection:
            connection.autocommit = autocommit
            yield connection

    def sql(self, text: str, arguments: tuple[object, ...] = (), **values: Any) -> list[tuple[Any, ...]]:
        """The rows of one query on a connection of its own; [] for a command without any."""
        with self.connect(**values) as connection, connection.cursor() as cursor:
            cursor.execute(text, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def wire(self, unix: bool = False, timeout_s: float = 10) -> Wire:
        """A raw connection to send and expect protocol messages on."""
        if unix:
            return Wire.unix(self.directory / f".s.PGSQL.{self.port}", timeout_s)
        return Wire(socket.create_connection((self.host, self.port), timeout_s), timeout_s)

    def run_program(self, program: str, *arguments: object, **env: str) -> str:
        """Runs psql, pgbench or another of PostgreSQL's programs through it."""
        return run_program(self.pg.programs, program, *arguments, host=self.host, port=self.port, **env)

    # Console.

    def console(self, command: str, user: str = SUPERUSER) -> list[dict[str, Any]]:
        """Rows of a console command as dicts; [] for an order."""
        with (
            self.connect(dbname="pgbouncer", user=user) as connection,
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute(command)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def show(self, what: str, **where: object) -> list[dict[str, Any]]:
        """Rows of SHOW with the given values: show("pools", database="p0")."""
        more = " EXTENDED" if isinstance(self, Pooler) and what in EXTENDED else ""
        rows = self.console(f"SHOW {what}{more}")
        return [row for row in rows if all(row[name] == value for name, value in where.items())]

    def pool(self, database: str = "p0", user: str = "bouncer") -> dict[str, Any]:
        """The row of one pool in SHOW POOLS, which is there once its first client has logged in."""
        wait_for(lambda: self.show("pools", database=database, user=user), what=f"a pool of {database}")
        (row,) = self.show("pools", database=database, user=user)
        return row

    def knows_catalogs(self, database: str = "p0") -> bool:
        """Whether nothing has to be asked for because its catalogs are unread."""
        rows = self.show("catalogs", database=database)
        return bool(rows) and rows[0]["state"] == "known" and rows[0]["asked"] not in (NEVER_READ, OUTDATED)

    def learn_catalogs(self, database: str = "p0", user: str = "bouncer", timeout_s: float = 30) -> None:
        """Until it is known what the catalogs of a database say; a look begins behind something that runs."""

        def is_known() -> bool:
            wire.query("SELECT 1")
            return self.knows_catalogs(database)

        with self.wire().login(user, database) as wire:
            wait_for(is_known, timeout_s, "the catalogs")

    def learn_anew(self, database: str = "p0", timeout_s: float = 30) -> None:
        """The same by a look that begins after now."""
        begin = datetime.now(UTC) + timedelta(seconds=1)  # they are shown in seconds

        def looked() -> bool:
            self.learn_catalogs(database)
            last = str(self.show("catalogs", database=database)[0]["last_look"])
            return datetime.strptime(last, "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC) >= begin

        wait_for(looked, timeout_s, "a look")

    # Log.

    def new_log(self) -> str:
        """What was logged since the last call."""
        with open(self.log, errors="replace") as file:
            file.seek(self._log_seen)
            text = file.read()
            self._log_seen = file.tell()
        return text

    @contextlib.contextmanager
    def expect_log(self, pattern: str, count: int | None = None, timeout_s: float = 5) -> Iterator[None]:
        """The block makes it log the pattern; exactly `count` times if given."""
        start = self.log.stat().st_size if self.log.exists() else 0
        yield

        def found() -> int:
            with open(self.log, errors="replace") as file:
                file.seek(start)
                return len(re.findall(pattern, file.read()))

        wait_for(lambda: found() >= (1 if count is None else count), timeout_s, f"{pattern!r} in the log")
        assert count is None or found() == count, f"{found()} times {pattern!r} in the log"

    def assert_no_bug(self) -> None:
        """No traceback and no report of a sanitizer in log or output."""
        for path in (self.log, self.out):
            text = path.read_text(errors="replace") if path.exists() else ""
            if match := BUG_MARKS.search(text):
                raise AssertionError(f"a bug in {path.name}:\n{text[max(0, match.start() - 500) :][:4000]}")

    def story(self, lines: int = 40) -> str:
        """The end of its log and output, for the report of a failed test."""
        return f"--- log\n{tail(self.log, lines)}\n--- output\n{tail(self.out, lines)}"


class Pooler(Bouncer):
    """pooler with a number of workers."""

    name = "pooler"

    def __init__(
        self, *arguments: Any, workers: int = 2, package: Path = TESTED_PACKAGE, **keywords: Any
    ) -> None:
        super().__init__(*arguments, **{"workers": workers, **keywords})
        self.package = package
        self._program: Program | None = None

    def command(self) -> Program:
        if self._program is None:
            program = pooler_program(self.owner, self.directory, self.package)
            env = {**program.env, "LD_PRELOAD": PRELOAD} if PRELOAD else program.env
            self._program = Program(program.argv, env)
        return self._program

    def workers(self) -> dict[int, int]:
        """Process ids of the workers by number, as their titles tell."""
        found = {}
        for pid in descendants(self.pid)[1:]:
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if match := re.match(r"pooler: worker (\d+)", title):
                    found[int(match[1])] = pid
        return found

    def kill_worker(self, number: int, signum: signal.Signals = signal.SIGKILL) -> int:
        """Kills a worker; its process id."""
        wait_for(lambda: number in self.workers(), 5, "the title of its process")
        pid = self.workers()[number]
        os.kill(pid, signum)
        return pid

    def wait_for_workers(self, count: int, without: int = 0, timeout_s: float = 5) -> None:
        """Waits until that many workers run and none of them is the process `without`."""

        def complete() -> bool:
            pids = self.workers().values()
            return len(pids) == count and without not in pids

        wait_for(complete, timeout_s, f"{count} workers")


class PgBouncer(Bouncer):
    """Debian's pgbouncer (or POOLER_PGBOUNCER), for tests that hold both to the same behaviour."""

    name = "pgbouncer"
    quit_codes = (0, -signal.SIGQUIT)  # releases before 1.21 have no handler for it

    @staticmethod
    def find() -> str | None:
        return os.environ.get("POOLER_PGBOUNCER") or shutil.which(
            "pgbouncer", path=os.environ["PATH"] + ":/usr/sbin"
        )

    def command(self) -> Program:
        path = self.find()
        assert path is not None, "no pgbouncer installed"
        return Program((path,), {"PATH": os.environ["PATH"]})

    def reload(self) -> None:
        self.signal(signal.SIGHUP)
        time.sleep(0.2)  # its RELOAD is over before the next event


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"
