"""A package is imported as it was when it was remembered; a change of its files, or a library's, is told."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler import log
from pooler.master.preload import Program

FILES = {
    "__init__.py": "from remembered.inner import WHO\n",
    "inner/__init__.py": "WHO = 'old'\n",
    "inner/late.py": "WHEN = 'old'\n",
    "broken.py": "def\n",
    "__main__.py": "raise SystemExit\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tmp_path / "remembered"
    for name, text in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    (tmp_path / "zlib_of_ours.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield directory
    for name in [name for name in sys.modules if name.split(".")[0] == "remembered"]:
        del sys.modules[name]


def rewrite(path: Path, text: str) -> None:
    """As an installer does it: another file under the name."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_imports_what_was_there(package: Path) -> None:
    program = Program("remembered", package, [])
    program.install()
    rewrite(package / "inner/__init__.py", "WHO = 'new'\n")
    (package / "inner/late.py").unlink()
    module = importlib.import_module("remembered")
    assert module.WHO == "old"
    assert importlib.import_module("remembered.inner.late").WHEN == "old"
    assert module.__file__ == str(package / "__init__.py")
    assert module.__path__ == [str(package)]
    with pytest.raises(SyntaxError):
        importlib.import_module("remembered.broken")


def test_changes_are_told_once(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), stderr=False)
    try:
        program = Program("remembered", package, ["zlib_of_ours", "no_such_library"])
        program.tell_changes()
        assert not path.read_text()
        rewrite(package / "inner/late.py", "WHEN = 'old'\n")
        program.tell_changes()
        program.tell_changes()
        assert path.read_text().count("the program files have changed") == 1
        (tmp_path / "zlib_of_ours.py").unlink()
        program.tell_changes()
        assert "ERROR zlib_of_ours on disk is not what pooler was started with" in path.read_text()
    finally:
        log.configure()
