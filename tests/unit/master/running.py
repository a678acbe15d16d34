"""Starts `program` and talks to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pooler.dev.processes import free_port
from tests.support.processes import readable

ROOT = Path(__file__).resolve().parents[3]

#: No step of these tests takes more than a fraction of a second; a busy machine may be slow.
PATIENCE_S = 20.0


def wait_until(fact: Callable[[], bool], what: str) -> None:
    """Look again and again until `fact` holds; fails when it doesn't."""
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


class Client:
    """A client of a fake worker: sends orders, reads answers."""

    def __init__(self, family: int, address: object) -> None:
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)  # type: ignore[arg-type]  # depends on the family
        if family == socket.AF_INET:
            self.sock.sendall(b" ")  # with TCP_DEFER_ACCEPT a silent client is not accepted yet
        self.file = self.sock.makefile("rb")
        number, pid = self.line().split()[:2]
        self.worker, self.pid = int(number), int(pid)

    def line(self) -> str:
        return self.file.readline().decode().strip()

    def ask(self, order: str) -> str:
        self.sock.sendall(order.encode())
        return self.line()

    def wait_seen(self, messages: str) -> None:
        """Wait until the worker has had exactly these messages from the master."""
        wait_until(lambda: self.ask("seen") == messages, f"{messages} at worker {self.worker}")

    def closed(self) -> bool:
        """Whether the other side ends the connection."""
        try:
            return self.file.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Program:
    """One running `program` in a directory of its own."""

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        workers: int = 2,
        flags: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.folder = folder
        self.log_path = folder / "log"
        self.ini = folder / "p.ini"
        self.clients: list[Client] = []
        self.port = 0
        self.write_ini(settings, workers)
        command = [sys.executable, "-m", "tests.unit.master.program", *flags, str(self.ini)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )

    def write_ini(self, settings: str, workers: int = 2) -> None:
        if not self.port:
            self.port = free_port()
        self.ini.write_text(
            "[databases]\nd = host=127.0.0.1\n[pgbouncer]\nauth_type = any\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir = {self.folder}\n"
            f"logfile = {self.log_path}\npidfile = {self.folder / 'pid'}\nworkers = {workers}\n{settings}\n"
        )

    @property
    def socket_path(self) -> Path:
        return self.folder / f".s.PGSQL.{self.port}"

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_log(self, text: str, count: int = 1) -> None:
        wait_until(
            lambda: self.log().count(text) >= count or self.process.poll() not in (None, 0),
            f"{text!r} {count} times in the log:\n{self.log()}",
        )
        assert self.log().count(text) >= count, self.log()

    def wait_ready(self) -> Program:
        self.wait_log("process up")
        return self

    def client(self) -> Client:
        return self._remember(Client(socket.AF_INET, ("127.0.0.1", self.port)))

    def unix_client(self) -> Client:
        return self._remember(Client(socket.AF_UNIX, str(self.socket_path)))

    def _remember(self, client: Client) -> Client:
        self.clients.append(client)
        return client

    def clients_on_all(self, workers: int = 2) -> dict[int, Client]:
        """One client on every worker."""
        found: dict[int, Client] = {}
        while len(found) < workers:
            client = self.unix_client()
            if found.setdefault(client.worker, client) is not client:
                client.close()  # the end of an earlier client has not been counted yet
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_exit(self) -> int:
        return self.process.wait(PATIENCE_S)

    def output(self) -> str:
        assert self.process.stdout is not None
        ready = readable(self.process.stdout.fileno(), 0)
        return self.process.stdout.read().decode() if ready else ""

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


def children(pid: int) -> set[int]:
    """Processes whose parent is `pid`."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(word) for word in (task / "children").read_text().split()}
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie nobody has reaped counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
