"""auth_ident_file: which users somebody may be whom the system (or a certificate) calls by another name.

A line is `map system-name user`, the user possibly `all`. As in PostgreSQL, and beyond PgBouncer, a system
name that begins with a slash is a regular expression; `\\1` in the user is what its first group matched.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pooler.config.hba_tokens import Words, lines_of
from pooler.errors import Problem


@dataclass(frozen=True)
class Identity:
    """One line of a map."""

    system: str
    user: str  # empty: any user

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """What the system's name has to match; None: it is a plain name."""
        if not self.system.startswith("/"):
            return None
        with warnings.catch_warnings():  # of a `[` inside of [...], which means itself
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(self.system[1:])

    def permits(self, system: str, user: str) -> bool:
        """Whether the system's `system` may be `user`."""
        wanted = self.user
        if self.pattern is None:
            if self.system != system:
                return False
        else:
            match = self.pattern.search(system)
            if match is None:
                return False
            if "\\1" in wanted:
                wanted = wanted.replace("\\1", match[1] or "", 1)
                return wanted == user  # even where it has become empty: nobody has that name
        return not wanted or wanted == user


@dataclass(frozen=True)
class IdentMap:
    """All lines of one name."""

    name: str
    identities: tuple[Identity, ...]

    def permits(self, system: str, user: str) -> bool:
        """Whether one of its lines lets the system's `system` be `user`."""
        return any(identity.permits(system, user) for identity in self.identities)

    def to_wire(self) -> list[str]:
        return [self.name, *(text for one in self.identities for text in (one.system, one.user))]

    @classmethod
    def from_wire(cls, wire: Any) -> IdentMap:
        name, *texts = wire
        return cls(name, tuple(map(Identity, texts[::2], texts[1::2])))


def read_ident(path: str) -> tuple[dict[str, IdentMap], list[Problem]]:
    """The maps of a file by name, and a warning for each line that is left out."""
    try:
        lines = lines_of(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return {}, [Problem(path, 0, f"could not open ident config file {path}: {reason}")]
    maps: dict[str, list[Identity]] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        try:
            _read_line(line, maps)
        except ValueError as error:
            text = f"could not parse ident config line {number}: {error}"
            problems.append(Problem(path, number, text, "warning"))
    return {name: IdentMap(name, tuple(found)) for name, found in maps.items()}, problems


def _read_line(line: str, maps: dict[str, list[Identity]]) -> None:
    words = Words(line)
    if words.next is None:
        return
    name, system, user = words.take(), words.take(), words.take()
    if name is None or system is None or user is None:
        raise ValueError("expected a map, a system name and a user")
    if words.next is not None:
        raise ValueError("unsupported parameters")
    anybody = user.text == "all" and not user.quoted
    if not anybody and not user.text:
        raise ValueError("the user is empty")
    one = Identity(system.text, "" if anybody else user.text)
    try:
        groups = one.pattern.groups if one.pattern is not None else 0
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from None
    if "\\1" in one.user and one.pattern is not None and not groups:
        raise ValueError("\\1 needs a group in the regular expression")
    maps.setdefault(name.text, []).append(one)
