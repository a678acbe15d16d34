"""The command `pooler dev`: database, pooler in front, two URLs, and a clean end on Ctrl-C."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from pooler.dev.postgres import SUPERUSER, THROW_AWAY, Cluster, reachable_programs
from pooler.dev.processes import (
    Account,
    DevError,
    account,
    free_port,
    make_directory,
    spawn,
    stop,
    wait_until,
    workplace,
)
from pooler.dev.program import STOP_STEPS, console_answers, pooler_program

DEFAULT_PORT = 6432

INI = """\
[databases]
* = host={sockets} port={postgres_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {sockets}
auth_type = scram-sha-256
auth_file = {userlist}
admin_users = {user}
pool_mode = {pool_mode}
max_client_conn = 1000
default_pool_size = 20
max_db_connections = 80
workers = {workers}
logfile = {log}
"""


class _Interrupted(BaseException):
    """Ctrl-C, SIGTERM or the end of the terminal."""


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise _Interrupted


def run_dev(
    keep: str | None = None, *, port: int | None = None, workers: str = "auto", pool_mode: str = "transaction"
) -> int:
    """Runs until Ctrl-C; the exit code. `keep` names a directory for the data, which otherwise goes away."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {signum: signal.signal(signum, _interrupt) for signum in signals}
    try:
        owner = account()
        with workplace(owner) as work:
            return _Dev(owner, work, keep, port, workers, pool_mode).run()
    except _Interrupted:
        return 130  # as a shell says it: ended by Ctrl-C before anything ran
    except DevError as error:
        print(f"pooler dev: {error}", file=sys.stderr)
        return 1
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)


class _Dev:
    def __init__(
        self, owner: Account, work: Path, keep: str | None, port: int | None, workers: str, pool_mode: str
    ) -> None:
        self.owner = owner
        self.work = work
        self.home = Path(keep).resolve() if keep else work / "home"
        self.kept = keep is not None
        self.port = free_port(port or DEFAULT_PORT)
        if port and self.port != port:
            raise DevError(f"port {port} is in use")
        self.workers = workers
        self.pool_mode = pool_mode
        self.pooler: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Starts both, prints the URLs, waits for Ctrl-C or for one of the two to end; stops both."""
        self._make_home()
        cluster = self._cluster()
        try:
            cluster.create()
            cluster.start()
            self._start_pooler(cluster)
            self._print_urls(cluster)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            raise DevError(f"{self._who_ended()} ended by itself, see {self.home}")
        except _Interrupted:
            return 0
        finally:
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(
                    signum, signal.SIG_IGN
                )  # the end is under way; a second Ctrl-C shall leave no child behind
            if self.pooler:
                stop(self.pooler, *STOP_STEPS)
            cluster.stop()

    def _make_home(self) -> None:
        if self.home.exists() and any(self.home.iterdir()) and not (self.home / "data/PG_VERSION").exists():
            raise DevError(f"{self.home} is not empty and holds no database of an earlier run")
        self.home.parent.mkdir(parents=True, exist_ok=True)
        if not self.owner.reaches(self.home.parent):
            raise DevError(f"user {self.owner.name} can't reach {self.home}; take one such as /var/tmp/dev")
        make_directory(self.home, self.owner)
        make_directory(self.work / "sockets", self.owner)

    def _cluster(self) -> Cluster:
        secret = self.home / "password"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(12))
            self.owner.give(secret)
        return Cluster(
            reachable_programs(self.owner, self.work),
            self.owner,
            self.home,
            self.work / "sockets",
            password=secret.read_text(),
            settings=None if self.kept else THROW_AWAY,
        )

    def _start_pooler(self, cluster: Cluster) -> None:
        ini, userlist, log = (self.home / name for name in ("pooler.ini", "userlist.txt", "pooler.log"))
        for path in (ini, userlist, log):
            path.touch(mode=0o600)
            self.owner.give(path)
        userlist.write_text(f'"{SUPERUSER}" "{cluster.password}"\n')
        values = {
            "sockets": cluster.sockets,
            "postgres_port": cluster.port,
            "user": SUPERUSER,
            "port": self.port,
        }
        values.update(userlist=userlist, pool_mode=self.pool_mode, workers=self.workers, log=log)
        ini.write_text(INI.format(**values))
        program = pooler_program(self.owner, self.work)
        argv: list[str | Path] = [*program.argv, "-q", ini]
        self.pooler = spawn(argv, self.owner, self.home / "pooler.out", self.work, program.env)
        console = cluster.dsn(port=self.port, dbname="pgbouncer")
        wait_until(lambda: console_answers(console), self.pooler, log, self.home / "pooler.out")

    def _print_urls(self, cluster: Cluster) -> None:
        base = f"postgresql://{SUPERUSER}:{cluster.password}@127.0.0.1"
        print(f"{base}:{self.port}/postgres   <- pooler, {self.pool_mode} pooling")
        print(f"{base}:{self.port}/pgbouncer  <- its console: SHOW HELP")
        print(f"{base}:{cluster.port}/postgres   <- PostgreSQL itself, without pooler")
        print(f"psql and pgbench: {cluster.programs}")
        print(f"logs and pooler.ini: {self.home}{'' if self.kept else ' (goes away at the end)'}")
        print("Ctrl-C stops all.", flush=True)

    def _who_ended(self) -> str:
        return "pooler" if self.pooler and self.pooler.poll() is not None else "PostgreSQL"
