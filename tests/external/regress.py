"""PostgreSQL's own regression scripts, from Debian's source package of just the installed version; a script is a test."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pooler.dev.postgres import find_programs
from tests.external.fetch import Cache, FetchError, call
from tests.external.outcome import PASSED, Run
from tests.external.stage import Stage
from tests.external.suite import Command, Suite

#: What `pg_regress` sets for a database that it makes itself.
DATABASE_SETTINGS = (
    "ALTER DATABASE regression SET lc_messages TO 'C'",
    "ALTER DATABASE regression SET lc_monetary TO 'C'",
    "ALTER DATABASE regression SET lc_numeric TO 'C'",
    "ALTER DATABASE regression SET lc_time TO 'C'",
    "ALTER DATABASE regression SET bytea_output TO 'hex'",
    "ALTER DATABASE regression SET timezone_abbreviations TO 'Default'",
)

#: Scripts of a group that run at a time: fewer than servers, so that none waits for another to end.
PARALLEL = 4


def fetch_regress(cache: Cache) -> Path:
    """Scripts, expected output, and the test functions in C, compiled."""
    programs = find_programs()
    major = re.search(r"(\d+)", call(programs / "postgres", "--version"))
    assert major
    package = f"postgresql-{major[1]}"
    version = call("dpkg-query", "-W", "-f", "${source:Version}", package)
    source = cache.debian(package, version, "src/test/regress") / "src/test/regress"
    driver(programs)
    if not (source / "regress.so").exists():
        include = call(programs / "pg_config", "--includedir-server").strip()
        call(
            "cc",
            "-O1",
            "-w",
            "-fPIC",
            "-shared",
            "-fwrapv",
            "-I",
            include,
            "-o",
            "regress.so",
            "regress.c",
            cwd=source,
        )
        library = Path(call(programs / "pg_config", "--pkglibdir").strip())
        for name in ("autoinc.so", "refint.so"):
            shutil.copy(library / name, source)
    return source


def driver(programs: Path) -> Path:
    """The program that runs the scripts; Debian has it among the development files."""
    pgxs = Path(call(programs / "pg_config", "--pgxs").strip())
    found = pgxs.parents[1] / "test/regress/pg_regress"
    if not found.exists():
        raise FetchError(f"no {found}: install postgresql-server-dev of this version")
    return found


def run_regress(stage: Stage, cache: Cache, source: Path, report: Path) -> Command:
    """The server reads and writes files of the scripts: they are copied to where it may."""
    inside = stage.work / "regress"
    shutil.copytree(source, inside)
    for directory, _, _ in os.walk(inside):
        stage.owner.give(Path(directory))
    argv = [
        str(driver(find_programs())), f"--bindir={stage.pg.programs}", "--inputdir=.", "--outputdir=.", "--dlpath=.",
        "--use-existing", f"--dbname={stage.database}", f"--host={stage.host}", f"--port={stage.port}",
        "--user=postgres", "--schedule=parallel_schedule", f"--max-connections={PARALLEL}",
    ]  # fmt: skip
    return Command(argv, inside, as_owner=True)


def read_regress(run: Run, report: Path, output: str) -> None:
    """`test name ... ok  12 ms`, or the name alone within a group; the differences are the reason."""
    differences = {}
    diffs = report.parent / "regress" / "regression.diffs"
    if diffs.exists():
        for part in re.split(r"^diff ", diffs.read_text(errors="replace"), flags=re.MULTILINE)[1:]:
            name = re.search(r"expected/(\w+?)(?:_\d)?\.out", part)
            if name:
                differences[name[1]] = part[:20000]
    for line in output.splitlines():
        found = re.match(r"(?:test |\s+)(\w+)\s+\.\.\. (ok|FAILED|failed)", line)
        if found:
            outcome = PASSED if found[2] == "ok" else "failed"
            difference = differences.get(found[1], "")
            changed = [line for line in difference.splitlines()[2:] if line.startswith(("+", "-"))]
            run.add(found[1], outcome, " | ".join(changed[:4]) + "\n\n" + difference)


REGRESS = Suite(
    "regress",
    (),
    fetch_regress,
    run_regress,
    timeout_s=900,
    read=read_regress,
    sql=DATABASE_SETTINGS,
    database="regression",
)
