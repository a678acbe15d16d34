"""The real `pooler` program as a child: how to start it as another user, when it serves, how to end it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from pooler.dev.processes import Account, DevError

PACKAGE = Path(__file__).resolve().parents[1]

#: End of running transactions first; then at once.
STOP_STEPS = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 2.0))


@dataclass(frozen=True)
class Program:
    """A command line up to the arguments, and the environment it needs."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def pooler_program(owner: Account, work: Path, package: Path = PACKAGE) -> Program:
    """pooler as this interpreter would import it; from a copy if the account can't read it where it is."""
    python = Path(sys.executable)
    libraries = package.parent
    site_packages = Path(sysconfig.get_path("platlib"))
    if not all(owner.reaches(path) for path in (python, site_packages, package)):
        # A virtual environment's interpreter is a link; the one it points to works with any library path.
        python = python.resolve()
        libraries = _copy_libraries(work / "python", package)
        if not owner.reaches(python):
            raise DevError(
                f"user {owner.name} can't run {python}; run as an ordinary user or use the system's Python"
            )
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG", "NOTIFY_"))
    }
    env["PYTHONPATH"] = str(libraries)
    return Program((str(python), "-m", "pooler"), env)


def _distributions() -> dict[str, importlib.metadata.Distribution]:
    """What pooler needs at run time, by name, transitively; not pooler itself, which may be a checkout."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = ["pooler"]
    while todo:
        name = todo.pop()
        try:
            dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # wanted on another platform or Python only
        if name not in found:
            found[name] = dist
            needs = [line for line in dist.requires or () if "extra ==" not in line]
            todo += [match[0] for line in needs if (match := re.match(r"[\w.-]+", line))]
    found.pop("pooler", None)
    return found


def _copy_libraries(target: Path, package: Path) -> Path:
    for dist in _distributions().values():
        for file in dist.files or ():
            if ".." in file.parts or "tests" in file.parts:
                continue  # scripts lie outside of the library; tests are half of gevent
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(
                str(dist.locate_file(file)), target / file
            )  # with its time, so that .pyc files stay valid
    shutil.copytree(package, target / "pooler", ignore=shutil.ignore_patterns("*.c", "*.h"))
    return target


def console_answers(dsn: str) -> bool:
    """Whether the console can be asked; false while the program still starts."""
    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError:
        return False
    try:
        connection.autocommit = True
        connection.cursor().execute("SHOW VERSION")
    except psycopg2.OperationalError:
        return False
    finally:
        connection.close()
    return True
