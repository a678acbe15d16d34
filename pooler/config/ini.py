"""The ini dialect of PgBouncer: bytes in, tokens with file and line out.

* `[section]`, possibly with the first `key = value` right behind it on the same line.
* `key = value`; keys are letters, digits and `_ . - *`, or anything but a quote in '...'. Double quotes are
  an error.
* `%include FILE`, relative to the current folder of the process, not of the file. The section goes on
  across it.
* White space in front of anything is fine. `;` and `#` start a comment where a key could start, nowhere else.

PgBouncer stops at the first mistake; this parser notes it and goes on with the next line, so that all are
reported at once. It gives tokens and problems for any bytes whatsoever and raises nothing.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass

from pooler.config.values import WHITE_SPACE
from pooler.errors import Problem

#: PgBouncer's; the file itself is level 0.
INCLUDE_LEVELS_MAX = 10

#: Includes of includes multiply; a real configuration has dozens of files at most.
FILES_MAX = 1000

#: All files together. The largest configurations known have some 10,000 databases, that is 2 MB.
BYTES_MAX = 64 * 1024 * 1024

#: More problems than anybody reads: the file isn't an ini file at all.
PROBLEMS_MAX = 200

#: Ten times the entries of the largest configurations known.
TOKENS_MAX = 1_000_000

_BLANK = re.compile(f"[{re.escape(WHITE_SPACE)}]*")
_KEY = re.compile(r"(?:'([^'\n]+)'|([A-Za-z0-9_.*-]+))[ \t]*=[ \t]*")
_INCLUDE = re.compile(r"%include[ \t]+(.*)")


@dataclass(frozen=True)
class Place:
    """Where something was written: file and 1-based line."""

    file: str
    line: int

    def problem(self, text: str, severity: str = "error") -> Problem:
        return Problem(self.file, self.line, text, severity)


@dataclass(frozen=True)
class Header:
    """`[section]`"""

    section: str
    place: Place


@dataclass(frozen=True)
class Assignment:
    """`key = value` inside of a section."""

    section: str
    key: str
    value: str
    place: Place


Token = Header | Assignment


class _TooMuch(Exception):
    """A limit is reached and reported: read no further."""


def read_ini(path: str) -> tuple[list[Token], list[Problem]]:
    """Reads `path` and what it includes."""
    reader = _Reader()
    with suppress(_TooMuch):
        reader.read(path, Place(path, 0), 0)
    return reader.tokens, reader.problems


def read_limited(path: str, limit: int) -> bytes:
    """The bytes of a file; raises OSError, also if it has more than `limit`."""
    return read_with_mode(path, limit)[0]


def read_with_mode(path: str, limit: int) -> tuple[bytes, int]:
    """The bytes and the permissions of a file; raises OSError, also if it has more than `limit`.

    A configuration is read without waiting for a writer: what has one at its other end, as a FIFO or a
    socket, is refused.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not (stat.S_ISCHR(mode) and os.path.realpath(path) == os.devnull):
        os.close(fd)
        raise OSError("Is a directory" if stat.S_ISDIR(mode) else "is no regular file")
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"larger than {limit} bytes")
    return data, stat.S_IMODE(mode)


class _Reader:
    """Carries the current section from file to file, as PgBouncer does."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.problems: list[Problem] = []
        self.section: str | None = None
        self.files = 0
        self.bytes_left = BYTES_MAX

    def read(self, path: str, place: Place, level: int) -> None:
        """Reads one file that is named at `place`."""
        self.files += 1
        if self.files > FILES_MAX:
            self.stop(place, f"more than {FILES_MAX} files included")
        try:
            data = read_limited(path, self.bytes_left)
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
            reason = getattr(error, "strerror", None) or str(error)
            self.complain(place, f'could not load file "{path}": {reason}')
            return
        self.bytes_left -= len(data)
        text = data.decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            self.read_line(line.strip(WHITE_SPACE), Place(path, number), level)

    def read_line(self, line: str, place: Place, level: int) -> None:
        if "\0" in line:
            self.complain(place, "NUL byte in a line")
            return
        at = 0
        while line.startswith("[", at):
            at = self.read_header(line, at, place)
        line = line[at:]
        if not line or line[0] in "#;":
            return
        include = _INCLUDE.fullmatch(line)
        if include is not None:
            if level >= INCLUDE_LEVELS_MAX:
                self.stop(place, f"include nesting level too deep, more than {INCLUDE_LEVELS_MAX}")
            self.read(include[1], place, level + 1)
        else:
            self.read_assignment(line, place)

    def read_header(self, line: str, at: int, place: Place) -> int:
        """Reads the `[section]` that begins there and returns where the line goes on."""
        end = line.find("]", at)
        if end < 0:
            self.complain(place, "syntax error: no ] after [")
            return len(line)
        self.section = line[at + 1 : end]
        self.take(Header(self.section, place))
        rest = _BLANK.match(line, end + 1)
        return rest.end() if rest is not None else end + 1

    def take(self, token: Token) -> None:
        if len(self.tokens) >= TOKENS_MAX:
            self.stop(token.place, f"more than {TOKENS_MAX} sections and entries")
        self.tokens.append(token)

    def read_assignment(self, line: str, place: Place) -> None:
        match = _KEY.match(line)
        if match is None:
            self.complain(place, _syntax_error(line))
        elif self.section is None:
            self.complain(place, f"{match[1] or match[2]} is outside of any section")
        else:
            key = match[1] or match[2]
            self.take(Assignment(self.section, key, line[match.end() :], place))

    def complain(self, place: Place, text: str) -> None:
        self.problems.append(place.problem(text))
        if len(self.problems) >= PROBLEMS_MAX:
            self.stop(place, "too many problems, the rest isn't read")

    def stop(self, place: Place, text: str) -> None:
        self.problems.append(place.problem(text))
        raise _TooMuch


def _syntax_error(line: str) -> str:
    """What is wrong with a line that isn't `key = value`, as far as that can be told."""
    if line[0] == '"':
        return "syntax error: odd names go in single quotes, 'like this' = ..."
    if line[0] == "'":
        return "syntax error: expected 'name' = value"
    if line[0] == "%":
        return "syntax error: expected %include FILE"
    return "syntax error: expected name = value"
