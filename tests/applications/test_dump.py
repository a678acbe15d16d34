"""pg_dump and pg_restore through the pooled URL: the same file as directly, and the same database again."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service

#: pg_dump with two jobs holds three transactions at once: less than that can't be had for it.
POOL_SIZES = (4,)

EVERYTHING = (Path(__file__).parent / "everything.sql").read_text()

FORMATS = {
    "plain": ["-Fp"],
    "inserts": ["-Fp", "--inserts", "--rows-per-insert=50"],
    "custom": ["-Fc"],
    "folder_by_two": ["-Fd", "-j2"],
}


@pytest.fixture(scope="module")
def full(service: Service) -> Iterator[Service]:
    """The service, with a database worth dumping; the dump of it that PostgreSQL itself gives."""
    clear(service)
    service.sql(EVERYTHING)
    yield service
    clear(service)


def clear(service: Service) -> None:
    service.sql("DROP SCHEMA IF EXISTS other CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    service.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def program(service: Service, *arguments: object, direct: bool = False) -> str:
    """Runs one of PostgreSQL's programs on the database."""
    port = service.pg.port if direct else service.port
    result = subprocess.run(
        [service.pg.programs / str(arguments[0]), *map(str, arguments[1:])],
        env={**os.environ, **service.environment(), "PGPORT": str(port)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert not result.stderr, result.stderr[-3000:]
    return result.stdout


def plain(text: str) -> str:
    """A dump without the keys that newer releases make by chance."""
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)


def dumped(service: Service, *arguments: str, direct: bool = False) -> str:
    return plain(program(service, "pg_dump", *arguments, direct=direct))


@pytest.mark.parametrize("arguments", FORMATS.values(), ids=FORMATS.keys())
def test_dump(full: Service, tmp_path: Path, arguments: list[str]) -> None:
    if arguments[0] == "-Fp":
        text = dumped(full, *arguments)
        assert text == dumped(full, *arguments, direct=True)
        assert "0.14285715" in text, "numbers in full length"
        return
    made = tmp_path / "dump"
    program(full, "pg_dump", *arguments, "-f", made)
    text = plain(program(full, "pg_restore", "-f", "-", made))
    assert text.count("COPY ") == 5
    assert text == plain(program(full, "pg_restore", "-f", "-", direct_dump(full, tmp_path)))


def direct_dump(service: Service, tmp_path: Path) -> Path:
    made = tmp_path / "direct"
    program(service, "pg_dump", "-Fc", "-f", made, direct=True)
    return made


@pytest.mark.parametrize(
    "arguments", [[], ["-j3"], ["--single-transaction"]], ids=["plain", "by_three", "at_once"]
)
def test_restore(full: Service, tmp_path: Path, arguments: list[str]) -> None:
    """Everything is dropped and comes again; the dump afterwards is the dump before."""
    before = dumped(full, direct=True)
    made = direct_dump(full, tmp_path)
    program(
        full, "pg_restore", "--clean", "--if-exists", "--exit-on-error", "-d", full.database, *arguments, made
    )
    assert dumped(full, direct=True) == before


def test_restore_by_psql(full: Service, tmp_path: Path) -> None:
    """A plain dump is a script of SETs, DDL and COPYs."""
    before = dumped(full)
    script = tmp_path / "dump.sql"
    script.write_text(dumped(full, "--no-owner"))
    clear(full)
    full.sql("DROP SCHEMA public")
    full.sql("CREATE SCHEMA public")
    program(full, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", script)
    assert dumped(full, direct=True) == before
