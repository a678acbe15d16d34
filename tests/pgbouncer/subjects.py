"""Whom the cases run on: pooler with one and with three workers, and the PgBouncer that Debian has.

A case says from which release PgBouncer behaves so, and before which one, if that behaves otherwise. Where
the PgBouncer at hand is older or newer, the case runs on pooler alone, against the same expectation, which
then comes from PgBouncer 1.25.2. POOLER_PGBOUNCER names another one than Debian's.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import pytest

from tests.support.install import need
from tests.support.pooler import Bouncer, PgBouncer, Pooler
from tests.support.wire import Message

#: What pooler is held to: all of 1.25.2, and what 1.26 has added without changing anything older.
HELD_TO = (1, 25)
NEWEST = (1, 26)

#: For what no release has changed yet.
NEVER = "99"


@dataclass(frozen=True)
class Subject:
    """One program that cases run on, in one way."""

    name: str
    kind: type[Bouncer]
    workers: int | None = None

    @property
    def keywords(self) -> dict[str, Any]:
        return {} if self.workers is None else {"workers": self.workers}

    def behaves_so(self, since: str, until: str = NEVER) -> bool:
        """Whether it does as PgBouncer has done since one release and before another."""
        if self.kind is PgBouncer:
            return release(since) <= installed_release() < release(until)
        return release(since) <= NEWEST and release(until) > HELD_TO


POOLERS = (Subject("pooler-1", Pooler, 1), Subject("pooler-3", Pooler, 3))
SUBJECTS = (*POOLERS, Subject("pgbouncer", PgBouncer))


class Case(Protocol):
    """What every kind of case has; it may have `until` too."""

    @property
    def name(self) -> str: ...
    @property
    def since(self) -> str: ...


@cache
def installed_release() -> tuple[int, ...]:
    """The release of the installed PgBouncer, which is installed where it is missing."""
    if PgBouncer.find() is None:
        need("pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
    path = PgBouncer.find()
    assert path is not None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told)
    assert found, told
    return int(found[1]), int(found[2])


def release(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def release_of(bouncer: Bouncer) -> tuple[int, ...]:
    """The release of PgBouncer that it is, or is held to."""
    return installed_release() if bouncer.name == "pgbouncer" else HELD_TO


Test = Callable[..., None]


def on_all(cases: Iterable[Case], subjects: Iterable[Subject] = SUBJECTS) -> Callable[[Test], Test]:
    """Runs a test for every case on every subject that behaves so: arguments `subject`, `case`."""
    each = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])
    return lambda test: each(_running("subject", subjects)(test))


def on_each(
    since: str = "1.18", until: str = NEVER, subjects: Iterable[Subject] = SUBJECTS
) -> pytest.MarkDecorator:
    """Runs a test once on every subject that behaves so: argument `subject` (running)."""
    return _running("subject", [one for one in subjects if one.behaves_so(since, until)])


def made_of_each(
    since: str = "1.18", until: str = NEVER, subjects: Iterable[Subject] = SUBJECTS
) -> pytest.MarkDecorator:
    """Like `on_each` for a test that starts its own: argument `start` is a function of keywords."""
    return _running("start", [one for one in subjects if one.behaves_so(since, until)])


def _running(argument: str, subjects: Iterable[Subject]) -> pytest.MarkDecorator:
    chosen = [pytest.param(subject, id=subject.name) for subject in subjects]
    return pytest.mark.parametrize(argument, chosen, indirect=True)


def behaves_so(parameters: Mapping[str, Any]) -> bool:
    """Whether the subject of a collected test is of a release that its case asks for."""
    subject = parameters.get("subject", parameters.get("start"))
    case = parameters.get("case")
    if not isinstance(subject, Subject) or case is None:
        return True
    return subject.behaves_so(case.since, getattr(case, "until", NEVER))


def own(start: Callable[..., Bouncer], **settings: object) -> dict[str, object]:
    """Settings that only pooler has."""
    return settings if getattr(start, "is_pooler", False) else {}


def told(message: Message) -> str:
    """A message as cases write it: its type and what it says, without what differs from run to run."""
    if message.type in "EN":
        fields = message.fields
        return " ".join((message.type, fields["S"], fields["C"], fields["M"]))
    if message.type == "T":
        return "T " + " ".join(f"{name}:{oid}" for name, oid in described(message))
    if message.type == "D":
        values = (None if value is None else value.decode() for value in message.values)
        return "D " + "|".join("NULL" if value is None else value for value in values)
    return f"{message.type} {message.text}".rstrip()


def described(message: Message) -> list[tuple[str, int]]:
    """Names and types of the columns in a RowDescription."""
    assert message.type == "T", message
    rest, found = message.body[2:], []
    while rest:
        name, _, rest = rest.partition(b"\0")
        found.append((name.decode(), int.from_bytes(rest[6:10], "big")))
        rest = rest[18:]
    return found
