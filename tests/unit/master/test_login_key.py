"""The key of the salts: the same over restarts and successors, and nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pooler.master import login_key as module
from pooler.master.login_key import KEY_BYTES, login_key


@pytest.fixture
def conffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return str(tmp_path / "pooler.ini")


def kept(conffile: str) -> Path:
    return Path(conffile + ".saltkey")


def test_it_is_kept(conffile: str) -> None:
    key = login_key(conffile)
    assert len(key) == KEY_BYTES
    assert login_key(conffile) == key
    assert stat.S_IMODE(kept(conffile).stat().st_mode) == 0o600
    assert [path.name for path in kept(conffile).parent.iterdir()] == [kept(conffile).name]
    kept(conffile).unlink()
    assert login_key(conffile) != key


def test_a_successor_goes_on_with_the_key_of_its_predecessor(conffile: str) -> None:
    given = bytes(range(KEY_BYTES))
    assert login_key(conffile, given) == given
    assert login_key(conffile) == given
    assert login_key(conffile, bytes(KEY_BYTES)) == given  # what is kept has been in use


def test_a_service_keeps_it_in_its_own_directory(
    conffile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", f"{state}:/elsewhere")
    key = login_key(conffile)
    assert (state / "pooler.ini.saltkey").read_bytes() == key
    assert not kept(conffile).exists()


@pytest.mark.parametrize("what", ["short", "open", "folder", "no place"])
def test_without_a_file_it_is_derived(
    conffile: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what lasts, so that it lasts too; other installations have another."""
    machine = tmp_path / "machine-id"
    machine.write_text("abc\n")
    monkeypatch.setattr(module, "MACHINE_ID", str(machine))
    if what == "no place":
        conffile = str(tmp_path / "gone" / "pooler.ini")
    elif what == "folder":
        kept(conffile).mkdir()
    else:
        kept(conffile).write_bytes(bytes(KEY_BYTES if what == "open" else 3))
        kept(conffile).chmod(0o644 if what == "open" else 0o600)
    key = login_key(conffile)
    assert len(key) == KEY_BYTES
    assert key == login_key(conffile)
    assert login_key(str(tmp_path / "gone" / "other.ini")) != key
    assert login_key(conffile, b"given") == b"given"
    machine.unlink()
    assert login_key(conffile) not in (key, login_key(conffile))
