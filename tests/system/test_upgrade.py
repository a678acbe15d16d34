"""The files of the program are replaced while it runs: workers that are replaced run what was started."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.program import PACKAGE, Program
from tests.support.health import assert_no_bugs, kill_worker, wait_for_replacement
from tests.support.pooler import Pooler
from tests.system.conftest import MakeShared


class Upgradable(Pooler):
    """A pooler that runs from a copy of the package, which a test may spoil."""

    copy: Path

    def command(self) -> Program:
        if self._program is None:
            program = super().command()
            libraries = self.directory / "copy"
            self.copy = libraries / "pooler"
            shutil.copytree(PACKAGE, self.copy, ignore=shutil.ignore_patterns("*.c", "*.h", "__pycache__"))
            path = f"{libraries}:{program.env['PYTHONPATH']}"
            self._program = Program(program.argv, {**program.env, "PYTHONPATH": path})
        return self._program


def rewrite(package: Path) -> None:
    for path in package.rglob("*.py"):
        path.write_text('raise RuntimeError("this is another version")\n')


SPOILED: dict[str, Callable[[Path], Any]] = {"rewritten": rewrite, "removed": shutil.rmtree}


@pytest.mark.parametrize("how", SPOILED)
def test_replacement_runs_the_program_that_was_started(make_shared: MakeShared, how: str) -> None:
    pooler = make_shared(Upgradable, workers=2)
    assert isinstance(pooler, Upgradable)
    SPOILED[how](pooler.copy)
    with pooler.expect_log("the program files have changed since the start: .* restart pooler", count=1):
        for number in (0, 1):
            wait_for_replacement(pooler, number, of=kill_worker(pooler, number))
            with pooler.wire() as wire:
                assert wire.login().rows("SELECT 1") == [[b"1"]]
    pooler.console("SET verbose = 0")
    pooler.console("RELOAD")
    assert_no_bugs(pooler)
