"""Files of a configuration that are none: they are read without waiting for a writer."""

from __future__ import annotations

import os
import re
import socket
import warnings
from pathlib import Path

import pytest

from pooler.config import ini as ini_module
from pooler.config import load
from pooler.config.ini import read_ini, read_limited
from pooler.errors import ConfigError

#: Settings that name a file, with what they need besides.
FILES = {
    "auth_file": "",
    "auth_hba_file": "auth_type = hba\n",
    "auth_ident_file": "auth_type = hba\nauth_hba_file = {empty}\n",
}


@pytest.fixture(params=["fifo", "socket", "folder", "endless"])
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "strange"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    elif request.param == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


def problems_of(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "p.ini").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "p.ini"))
    return [problem.text for problem in caught.value.problems]


def test_the_file_itself(strange: Path) -> None:
    with pytest.raises(ConfigError):
        load(str(strange))


def test_include(tmp_path: Path, strange: Path) -> None:
    (problem,) = problems_of(tmp_path, f"[pgbouncer]\n%include {strange}\n")
    assert f'could not load file "{strange}"' in problem


@pytest.mark.parametrize("name", FILES)
def test_other_files(tmp_path: Path, strange: Path, name: str) -> None:
    (tmp_path / "empty").touch()
    others = FILES[name].format(empty=tmp_path / "empty")
    assert problems_of(tmp_path, f"[pgbouncer]\n{others}{name} = {strange}\n")


def test_tls_files(tmp_path: Path, strange: Path) -> None:
    from pooler.config.tls import FILE_BYTES_MAX

    with pytest.raises(OSError, match=r"is no regular file|Is a directory|No such device"):
        read_limited(str(strange), FILE_BYTES_MAX)


def test_no_file_at_all_is_a_file(tmp_path: Path) -> None:
    assert read_limited(os.devnull, 10) == b""


def test_headers_on_one_line_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line costs is linear in its length: no part of it is copied per header."""
    copied = 0

    class Line(str):
        def __getitem__(self, key: object) -> str:
            nonlocal copied
            found = super().__getitem__(key)  # type: ignore[index]
            copied += len(found)
            return found

    reader = ini_module._Reader()
    line = Line("[databases]" * 1000)
    reader.read_line(line, ini_module.Place("p.ini", 1), 0)
    assert len(reader.tokens) == 1000
    assert copied <= len(line)


def test_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ini_module, "TOKENS_MAX", 10)
    path = tmp_path / "p.ini"
    path.write_text("[databases]\n" * 20)
    tokens, problems = read_ini(str(path))
    assert len(tokens) == 10
    assert ["more than 10 sections and entries" in problem.text for problem in problems] == [True]


def test_a_pattern_python_wonders_about_is_read_in_silence(tmp_path: Path) -> None:
    from pooler.config.ident import read_ident

    path = tmp_path / "ident"
    path.write_text("m /[[a] b\nm /a b\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps, problems = read_ident(str(path))
    assert not problems
    assert maps["m"].permits("[", "b")
    path.write_text("m /[[a b\n")
    maps, (problem,) = read_ident(str(path))
    assert re.search("line 1: invalid regular expression", problem.text)
