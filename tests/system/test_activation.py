"""Sockets that a service manager passes, several instances on one port, and the unit files."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from pooler.dev.processes import Account
from tests.support.install import need
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.restart import Restarts

MakePooler = Callable[..., Pooler]
ETC = Path(__file__).resolve().parents[2] / "etc"


class Activated:
    """A pooler with two listening sockets from outside: TCP, and a unix socket in another directory."""

    def __init__(self, pooler: Pooler) -> None:
        pooler.stop()
        self.pooler = pooler
        self.tcp = socket.create_server((pooler.host, 0))
        self.directory = pooler.directory / "elsewhere"
        self.directory.mkdir()
        self.unix = socket.socket(socket.AF_UNIX)
        self.port = self.tcp.getsockname()[1]
        self.path = self.directory / f".s.PGSQL.{self.port}"
        self.unix.bind(str(self.path))
        self.unix.listen()
        self.path.chmod(0o777)
        self.directory.chmod(0o755)

    def launch(self, *arguments: str, pid: str = "$$") -> None:
        """As systemd starts a service: descriptors from 3 on, and LISTEN_* in the environment."""
        program = self.pooler.command()
        self.pooler.write_config()
        script = f'exec 3<&{self.tcp.fileno()} 4<&{self.unix.fileno()}; LISTEN_PID={pid} exec "$@"'
        command = ["bash", "-c", script, "bash", *program.argv, "-q", *arguments, str(self.pooler.ini)]
        env = {**program.env, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "tcp:unix"}
        with open(self.pooler.out, "ab") as out:
            self.pooler.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                env=env,
                cwd=self.pooler.directory,
                start_new_session=True,
                pass_fds=(self.tcp.fileno(), self.unix.fileno()),
                **self.pooler.owner.identity(),
            )

    def close(self) -> None:
        self.tcp.close()
        self.unix.close()


@pytest.fixture
def activated(make_pooler: MakePooler) -> Iterator[Activated]:
    found = Activated(make_pooler(workers=2))
    yield found
    found.pooler.stop()
    found.close()


def test_sockets_of_the_service_manager(activated: Activated) -> None:
    pooler = activated.pooler
    with pooler.expect_log("LOG process up", timeout_s=15):
        activated.launch()
    log = pooler.log.read_text()
    assert "WARNING sockets passed from service manager, cf_listen_addr ignored" in log
    assert "WARNING sockets passed from service manager, cf_unix_socket_dir ignored" in log
    assert "socket passed from service manager (fd 4)" in log
    assert pooler.sql("SELECT 1", port=activated.port) == [(1,)]
    assert pooler.sql("SELECT 2", port=activated.port, host=str(activated.directory)) == [(2,)]
    with pytest.raises(psycopg2.OperationalError):
        pooler.sql("SELECT 3")
    pooler.signal(signal.SIGTERM)
    assert pooler.wait() == 0
    assert activated.path.exists(), "the manager's file"
    with socket.create_connection((pooler.host, activated.port)) as waiting:  # in the backlog, not refused
        with pooler.expect_log("LOG process up", timeout_s=15):
            activated.launch()
        assert waiting.send(b"\0")


def test_activated_and_replaced(activated: Activated) -> None:
    """-R takes the manager's sockets over as well."""
    pooler = activated.pooler
    with pooler.expect_log("LOG process up", timeout_s=15):
        activated.launch()
    with Restarts(pooler) as restarts:
        restarts.again()
        restarts.wait_for_old()
        assert pooler.sql("SELECT 1", port=activated.port) == [(1,)]
        assert pooler.sql("SELECT 2", port=activated.port, host=str(activated.directory)) == [(2,)]
        assert activated.path.exists()


def test_sockets_for_another_process_are_not_ours(activated: Activated) -> None:
    with activated.pooler.expect_log("LOG process up", timeout_s=15):
        activated.launch(pid="1")
    assert activated.pooler.sql("SELECT 1") == [(1,)]


def test_what_is_no_listening_socket(activated: Activated) -> None:
    activated.tcp.close()
    activated.tcp = socket.socket()
    activated.launch()
    assert activated.pooler.wait() == 1
    assert (
        "failed to set up socket passed from service manager (fd 3, tcp)" in activated.pooler.log.read_text()
    )


def test_so_reuseport(make_pooler: MakePooler, pg: Postgres, owner: Account, work: Path) -> None:
    """Two instances listen on one port; when one ends, the other goes on."""
    first = make_pooler(so_reuseport=1, workers=1)
    second = Pooler(pg, owner, work / "second", so_reuseport=1, workers=1, listen_port=first.port)
    second.port = first.port
    second.log.touch()
    owner.give(second.log)
    with contextlib.ExitStack() as stack:
        stack.callback(second.stop)
        with second.expect_log("LOG process up", timeout_s=15):
            second.launch()
        _serve_one_port(first, second)


def _serve_one_port(first: Pooler, second: Pooler) -> None:
    found = set()

    def both() -> bool:
        found.add(first.console("SHOW WORKERS")[0]["pid"])
        return len(found) == 2

    wait_for(both, 20, "connections to both")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    for _ in range(5):
        assert second.sql("SELECT 1") == [(1,)]


def test_without_so_reuseport_a_port_has_one(make_pooler: MakePooler) -> None:
    first = make_pooler(workers=1)
    with Restarts(first) as restarts:
        text = first.ini.read_text().replace(f"unix_socket_dir = {first.directory}", "unix_socket_dir =")
        other = first.directory / "other.ini"
        other.write_text(text)
        first.owner.give(other)
        done = restarts.run(*first.command().argv, str(other))
    assert done.returncode == 1
    assert b"failed to listen on any address in listen_addr list: 127.0.0.1" in done.stderr


#: What the unit must not do without: who gets in finds nothing to read, to write or to call.
HARDENED = """
LimitCORE=0 NoNewPrivileges=yes CapabilityBoundingSet= AmbientCapabilities= ProtectSystem=strict
ProtectHome=yes PrivateTmp=yes PrivateDevices=yes MemoryDenyWriteExecute=yes LockPersonality=yes
RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET|AF_INET6|AF_UNIX RemoveIPC=yes ProtectKernelLogs=yes
ProtectKernelModules=yes ProtectKernelTunables=yes ProtectControlGroups=yes ProtectClock=yes
ProtectHostname=yes ProtectProc=invisible ProcSubset=pid KeyringMode=private SystemCallArchitectures=native
SystemCallFilter=@system-service SystemCallFilter=~@privileged|@resources UMask=0077
"""


def test_the_unit_is_hardened() -> None:
    lines = (ETC / "pooler.service").read_text().splitlines()
    service = lines[lines.index("[Service]") : lines.index("[Install]")]
    wanted = [word.replace("|", " ") for word in HARDENED.split()]
    assert [line for line in wanted if line not in service] == []
    filters = [line for line in service if line.startswith("SystemCallFilter=")]
    assert filters[:2] == wanted[-3:-1]  # the second takes away from the first
    assert filters[2:] == ["SystemCallFilter=setpriority prlimit64 setrlimit sched_getaffinity"]


def test_unit_files(tmp_path: Path) -> None:
    need("systemd", "systemd-analyze")
    unit = (ETC / "pooler.service").read_text()
    assert re.search(r"^Type=notify$", unit, re.MULTILINE)
    unit = unit.replace("/opt/pooler/bin/pooler", shutil.which("true") or "/bin/true")
    unit = unit.replace("User=pooler", "User=daemon").replace("Group=pooler", "Group=daemon")
    (tmp_path / "pooler.service").write_text(unit)
    shutil.copy(ETC / "pooler.socket", tmp_path / "pooler.socket")
    for name in ("pooler.service", "pooler.socket"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / name)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        complaints = [line for line in done.stderr.splitlines() if "pooler." in line]
        assert not complaints
        assert done.returncode == 0, done.stderr
