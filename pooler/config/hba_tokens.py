"""Words of auth_hba_file and auth_ident_file, as PgBouncer cuts their lines.

A word ends at white space, a comma, a quote or `#`, which starts a comment wherever it stands. "..." is one
word with anything in it, `""` for a quote, and never a keyword. A line is a line; nothing continues it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pooler.config.ini import read_limited
from pooler.config.values import WHITE_SPACE

#: Both files together; ten thousand rules are about a megabyte.
FILE_BYTES_MAX = 16 * 1024 * 1024

_WORD = re.compile(r'[ \t\n\v\f\r]*(?:(,)|"((?:[^"]|"")*)"|([^ \t\n\v\f\r,"#][^ \t\n\v\f\r,"#]*))')


@dataclass(frozen=True)
class Word:
    """One word of a line; `at` is where the line goes on behind it."""

    text: str
    at: int
    quoted: bool = False
    is_comma: bool = False


class Words:
    """The words of one line, read from left to right. Raises ValueError at a quote that is never closed."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.next: Word | None = None
        self._advance(0)

    def _advance(self, at: int) -> None:
        match = _WORD.match(self.line, at)
        if match is not None:
            quoted = match[2] is not None
            text = match[2].replace('""', '"') if quoted else match[3] or ","
            self.next = Word(text, match.end(), quoted, match[1] is not None)
            return
        self.next = None
        if self.line[at:].lstrip(WHITE_SPACE).startswith('"'):
            raise ValueError("unterminated quote")

    def take(self) -> Word | None:
        """The next word, which is used up; None at the end of the line, and for a comma."""
        word = self.next
        if word is None or word.is_comma:
            return None
        self._advance(word.at)
        return word

    def take_comma(self) -> bool:
        """Whether a comma comes next, which is used up."""
        word = self.next
        if word is None or not word.is_comma:
            return False
        self._advance(word.at)
        return True

    def take_rest(self, behind: Word) -> str:
        """All of the line behind a word, as it stands there; the line is used up."""
        self.next = None
        return self.line[behind.at :].strip(WHITE_SPACE)


def lines_of(path: str) -> list[str]:
    """The lines of a file; raises OSError or ValueError (a path with a NUL byte)."""
    return read_limited(path, FILE_BYTES_MAX).decode("utf-8", "surrogateescape").split("\n")
