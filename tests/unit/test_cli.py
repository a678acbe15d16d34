"""The command line: what it takes, what it says, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pooler
from pooler import cli
from pooler.master.start import Options

INI = "[databases]\nd = host=127.0.0.1\n[pgbouncer]\nauth_type = trust\nauth_file = {users}\nlisten_addr =\n"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    users = tmp_path / "users"
    users.write_text('"a" ""\n')
    users.chmod(0o600)
    path = tmp_path / "p.ini"
    path.write_text(INI.format(users=users))
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def start_nothing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Options, object]]:
    """Instead of a start: remember what would have been started."""
    started: list[tuple[Options, object]] = []

    def start(options: Options, run_worker: object, run_monitor: object) -> int:
        started.append((options, run_worker))
        return 0

    monkeypatch.setattr("pooler.master.start.start", start)
    return started


Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capsys: Captured) -> None:
    assert run(flag) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"PgBouncer {pooler.PGBOUNCER_VERSION}", f"pooler {pooler.__version__}"]
    assert any(line.startswith("gevent ") for line in lines)
    assert lines[-1].startswith("tls: OpenSSL")


@pytest.mark.parametrize("arguments", [("-h",), ("--help",), ("check", "-h"), ("dev", "--help")])
def test_help(arguments: tuple[str, ...], capsys: Captured) -> None:
    assert run(*arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: pooler ")


@pytest.mark.parametrize("arguments", [(), ("-q",), ("--nonsense", "p.ini"), ("p.ini", "q.ini"), ("check",)])
def test_misuse(arguments: tuple[str, ...], capsys: Captured) -> None:
    assert run(*arguments) == 1
    name = "pooler check" if arguments == ("check",) else "pooler"
    *reasons, hint = capsys.readouterr().err.splitlines()
    assert [reason.partition(": ")[0] for reason in reasons] == [name]
    assert hint == f'Try "{name} --help" for more information.'


def test_no_configuration_file(capsys: Captured) -> None:
    assert run("-d") == 1
    said = capsys.readouterr().err
    assert said == 'pooler: no configuration file specified\nTry "pooler --help" for more information.\n'


@pytest.mark.parametrize("flag", ["-R", "--reboot"])
def test_reboot(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = start_nothing(monkeypatch)
    assert run(flag, "-d", "p.ini") == 0
    assert [(options.reboot, options.daemon) for options, _ in started] == [(True, True)]


def test_missing_file(capfd: Captured) -> None:
    assert run("-q", "/nonexistent/p.ini") == 1
    said = capfd.readouterr().err
    assert "/nonexistent/p.ini" in said
    assert "FATAL cannot load config file" in said
    assert "Traceback" not in said


def test_check_good(ini: Path, capsys: Captured) -> None:
    assert run("check", str(ini)) == 0
    assert f"{ini}: pooler starts with it" in capsys.readouterr().out


def test_check_errors(ini: Path, capsys: Captured) -> None:
    ini.write_text(ini.read_text() + "nonsense = 1\npool_mode = none\n")
    assert run("check", str(ini)) == 1
    said = capsys.readouterr().out
    assert "p.ini:7: error: " in said
    assert "p.ini:8: error: " in said


def test_check_warnings_only(ini: Path, capsys: Captured) -> None:
    ini.write_text(ini.read_text() + "max_client_conn = 5\nmax_user_client_connections = 9\n")
    assert run("check", str(ini)) == 0
    assert "warning: " in capsys.readouterr().out


def test_check_missing_file(capsys: Captured) -> None:
    assert run("check", "/nonexistent/p.ini") == 1
    assert "/nonexistent/p.ini" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["check", "dev"])
def test_a_configuration_of_that_name(
    ini: Path, name: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ini.parent)
    ini.rename(ini.parent / name)
    assert run("check", f"./{name}") == 0
    started = start_nothing(monkeypatch)
    assert run(f"./{name}") == 0
    assert [options.path for options, _ in started] == [f"./{name}"]


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    started = start_nothing(monkeypatch)
    assert run("-dq", "-vv", "-u", "nobody", "--workers", "3", "p.ini") == 0
    overrides = {"user": "nobody", "workers": "3"}
    assert started == [(Options("p.ini", True, True, 2, overrides), cli.run_worker)]


def test_bad_override(ini: Path, capfd: Captured) -> None:
    assert run("--workers", "many", str(ini)) == 1
    assert "workers" in capfd.readouterr().err


def test_the_master_never_imports_what_it_does_not_need() -> None:
    code = "import sys, pooler.cli, pooler.master.start; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = {name.split(".")[0] for name in out.split()}
    assert not loaded & {"gevent", "greenlet", "psycopg2", "asyncio"}
    assert "pooler.protocol" not in out.split()


def test_workers_find_all_but_themselves_imported() -> None:
    """What they import after their fork, each of them imports."""
    code = (
        "import sys, pooler.cli, pooler.core, pooler.provisioning, pooler.tls, pooler.master.start;"
        "pooler.cli._import_for_workers(); before = set(sys.modules);"
        "import pooler.worker; print(*before, '/', *(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    before, late = (set(names.split()) for names in out.split(" / "))
    assert not {name for name in before if name.startswith(("gevent", "pooler.worker"))}
    assert "pooler.worker.worker" in late
    assert not {name for name in late if name.startswith("pooler") and not name.startswith("pooler.worker")}
