"""psql scripts as administrators write them: several at once, each says what it says directly."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.applications.shop import CLIENTS
from tests.support.crowd import at_once
from tests.support.service import Service

SCRIPTS = Path(__file__).parent / "psql"


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.sql")))
def test_script(shop: Service, tmp_path: Path, name: str) -> None:
    """What it prints is in the file beside it."""

    def run(number: int) -> list[str]:
        directory = tmp_path / str(number)
        directory.mkdir()
        psql, script = str(shop.pg.programs / "psql"), str(SCRIPTS / f"{name}.sql")
        result = subprocess.run(
            [psql, "-XAtq", "-v", f"me={number}", "-f", script],
            env={**os.environ, **shop.environment(), "PGAPPNAME": "script", "PGTZ": "UTC"},
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        lines = [
            line.split(": ", 1)[1] if line.startswith("psql:") else line
            for line in result.stdout.splitlines()
        ]
        return [f"exit code {result.returncode}", *lines]

    expected = (SCRIPTS / f"{name}.out").read_text().splitlines()
    assert at_once(CLIENTS, run) == [expected] * CLIENTS
