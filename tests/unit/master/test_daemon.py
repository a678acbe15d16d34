"""Users, pid files."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from pooler.errors import BootError
from pooler.master import daemon
from pooler.master.daemon import PidFile

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_pid_file_life(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = PidFile(str(path))
    pidfile.check()
    pidfile.write()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert not path.exists()
    pidfile.remove()


def test_no_pid_file() -> None:
    pidfile = PidFile("")
    pidfile.check()
    pidfile.write()
    pidfile.remove()


def test_a_living_process_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(BootError, match="exists, another instance running"):
        PidFile(str(path)).check()
    assert path.exists()


@pytest.mark.parametrize("text", ["", "nonsense\n", "0\n", "-1\n", "99999999999999999999\n"])
def test_what_names_no_process_is_removed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pid"
    path.write_text(text)
    PidFile(str(path)).check()
    assert not path.exists()


def test_a_dead_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path = tmp_path / "pid"
    path.write_text(f"{child.pid}\n")
    PidFile(str(path)).check()
    assert not path.exists()
    assert "stale pidfile, removing" in capfd.readouterr().err


def test_our_own_number_from_an_earlier_life(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    PidFile(str(path)).check()
    assert not path.exists()


def test_another_start_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pidfile = PidFile(str(path))
    pidfile.check()
    path.write_text("1\n")
    with pytest.raises(BootError, match="exists, another instance"):
        pidfile.write()
    pidfile.remove()
    assert path.read_text() == "1\n"


def test_no_folder(tmp_path: Path) -> None:
    pidfile = PidFile(str(tmp_path / "missing" / "pid"))
    pidfile.check()
    with pytest.raises(BootError, match="could not open pidfile"):
        pidfile.write()


def test_unknown_user() -> None:
    with pytest.raises(BootError, match="there is no such user"):
        daemon.become("no-such-user")


def test_the_user_we_are_already() -> None:
    daemon.become(pwd.getpwuid(os.geteuid()).pw_name)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


@is_root
def test_become() -> None:
    nobody = pwd.getpwnam("nobody")
    code = "import os; from pooler.master import daemon; daemon.become('nobody');"
    out = run_python(
        code + "print(os.getresuid(), os.getresgid(), 0 in os.getgroups()); daemon.refuse_root()"
    )
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert out == f"{(uid, uid, uid)} {(gid, gid, gid)} False\n"


@is_root
def test_only_root_may_become_another() -> None:
    code = (
        "from pooler.master import daemon; daemon.become('nobody')\n"
        "try: daemon.become('root')\nexcept daemon.BootError as e: print(e)"
    )
    assert "only root may switch users" in run_python(code)


@is_root
def test_root_is_refused() -> None:
    with pytest.raises(BootError, match=r"^PgBouncer should not run as root: start it .* with -u USER$"):
        daemon.refuse_root()


def test_core_dumps_are_forbidden_to_children_too(tmp_path: Path) -> None:
    code = (
        "import resource, subprocess, sys; from pooler.master.daemon import forbid_core_dumps;"
        " forbid_core_dumps();"
        " print(subprocess.check_output([sys.executable, '-c',"
        " 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))'], text=True))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "(0, 0)"
