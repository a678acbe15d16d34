"""What a suite is: an entry of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.external.fetch import Cache
from tests.external.outcome import Run, read_report
from tests.external.stage import Stage


@dataclass
class Command:
    """A process to run a suite with."""

    argv: list[str]
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)
    as_owner: bool = False  # under the account that PostgreSQL has, when we are root


@dataclass(frozen=True)
class Suite:
    """One foreign suite."""

    name: str
    requirements: tuple[str, ...]
    fetch: Callable[[Cache], Path]
    command: Callable[[Stage, Cache, Path, Path], Command]  # stage, cache, source, report
    timeout_s: int
    read: Callable[[Run, Path, str], None] = lambda run, report, output: read_report(run, report)
    sql: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    database: str = "postgres"  # most suites' drivers take the name of the user for it
