"""Children of `pooler dev` and of the tests: which account runs them, what it can read, how they end.

PostgreSQL and pooler refuse to run as root. A root shell is normal in a container, so there the children run
as an unprivileged user. That user can't read what lies below a directory closed to others (/root, a private
temporary directory); whatever it needs from such a place is copied to a work place that is open to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Present on every Debian and Ubuntu; owns no files there.
UNPRIVILEGED_USER = "nobody"

#: Below `ip_local_port_range` as the kernel sets it (32768), so that no outgoing connection has one of these.
FIRST_PORT, END_OF_PORTS = 10_000, 32_000
PORTS_OF_A_PROCESS = 1_000

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

_libc = ctypes.CDLL(None, use_errno=True)


class DevError(Exception):
    """The environment does not allow what was asked for; the text tells the user what to do."""


@dataclass(frozen=True)
class Account:
    """The user that children run as; `switch` tells that it is not our own."""

    name: str
    uid: int
    gid: int
    switch: bool

    def give(self, *paths: Path) -> None:
        """Makes the account the owner of these."""
        if self.switch:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def identity(self) -> dict[str, Any]:
        """The arguments of `subprocess` that start a child as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def reaches(self, path: Path) -> bool:
        """Whether the account may read what lies at `path` as far as the directories on the way tell."""
        if not self.switch:
            return True
        path = path.resolve()
        return all(_open_to_others(p) for p in (path, *path.parents))


def account() -> Account:
    """Ourselves, or an unprivileged user when we are root."""
    uid = os.geteuid()
    entry = pwd.getpwnam(UNPRIVILEGED_USER) if uid == 0 else None
    if entry:
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    return Account(str(uid), uid, os.getegid(), switch=False)


def _open_to_others(path: Path) -> bool:
    status = path.stat()
    need = 0o001 if path.is_dir() else 0o004
    return bool(status.st_mode & need)


def make_directory(path: Path, owner: Account, mode: int = 0o700) -> Path:
    """A directory owned by the account; existing ones are only given to it."""
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    owner.give(path)
    return path


@contextlib.contextmanager
def workplace(owner: Account, prefix: str = "pooler-dev-") -> Iterator[Path]:
    """A temporary directory that the account reaches, short enough for unix sockets; removed at the end."""
    base = next(
        (p for p in (Path(tempfile.gettempdir()), Path("/tmp")) if owner.reaches(p) and len(str(p)) < 50),
        None,
    )
    if base is None:
        raise DevError(f"no temporary directory that user {owner.name} can reach; set TMPDIR to one")
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    path.chmod(0o755 if owner.switch else 0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def spawn(
    argv: Sequence[str | Path], owner: Account, output: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a child as the account, its output appended to a file.

    It gets a session of its own, so that Ctrl-C reaches us alone and we decide the order of the end;
    should we be killed, the kernel sends it SIGINT, which ends PostgreSQL and pooler alike.
    """
    with open(output, "ab") as file:
        owner.give(output)
        return subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            **owner.identity(),
        )


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def stop(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> int:
    """Sends each signal and waits its seconds; SIGKILL to the whole session if none helped. The exit code."""
    for signum, patience_s in steps:
        if process.poll() is None:
            process.send_signal(signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def free_port(preferred: int = 0) -> int:
    """A TCP port of the loopback address that nobody listens on; `preferred` if that is one.

    No other process that asks gets the same one, and no outgoing connection: the ports are below the
    kernel's `ip_local_port_range`. A port comes again after a thousand others.
    """
    if preferred and _is_free(preferred):
        return preferred
    for _ in range(PORTS_OF_A_PROCESS):
        port = next(_own_ports())
        if _is_free(port):
            return port
    raise DevError("no free TCP port on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@functools.cache
def _own_ports() -> Iterator[int]:
    """Round and round through a block of ports that is this process's until it ends."""
    for first in range(FIRST_PORT, END_OF_PORTS, PORTS_OF_A_PROCESS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pooler-dev-ports-{first}")
        except OSError:
            claim.close()
            continue
        claim.detach()  # as long as this process lives
        return itertools.cycle(range(first, first + PORTS_OF_A_PROCESS))
    raise DevError(f"all TCP ports from {FIRST_PORT} to {END_OF_PORTS} are taken by other processes")


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], *logs: Path, timeout_s: float = 30
) -> None:
    """Waits until `ready()`; a child that ended or took too long is a DevError with the end of its logs."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise DevError(f"{_name(process)} ended with code {process.returncode}:\n{tails(logs)}")
        if time.monotonic() > deadline:
            raise DevError(f"{_name(process)} was not ready within {timeout_s:.0f} s:\n{tails(logs)}")
        time.sleep(0.02)


def tail(log: Path, lines: int = 10) -> str:
    """The last lines of a log file, or why there are none."""
    try:
        text = log.read_text(errors="replace").rstrip()
    except OSError as error:
        return str(error)
    return "\n".join(text.splitlines()[-lines:]) or f"({log} is empty)"


def tails(logs: Sequence[Path]) -> str:
    """The last lines of those logs that there are."""
    return (
        "\n".join(tail(log) for log in logs if log.exists() and log.stat().st_size) or "(it logged nothing)"
    )


def _name(process: subprocess.Popen[bytes]) -> str:
    argv = process.args if isinstance(process.args, list) else [str(process.args)]
    return "pooler" if "pooler" in argv else Path(str(argv[0])).name
