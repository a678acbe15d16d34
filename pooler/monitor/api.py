"""`/api/v1/NAME`: the rows of the console's SHOW commands as JSON, for whoever may give the command.

A command that has columns of pooler's own behind PgBouncer's is shown with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import gevent

from pooler.admin.command import COMMANDS, EXTENDED
from pooler.admin.console import Console
from pooler.admin.model import Access as Level
from pooler.admin.model import Command, CommandError, Declaration, Result
from pooler.core import TablesBusy
from pooler.monitor.answer import Answer, text
from pooler.monitor.names import readable

PREFIX = "/api/v1/"

JSON = "application/json"

#: Rows between which other requests have their turn: ten thousand clients take half a second.
ROWS_AT_A_TIME = 250


def _shown() -> Iterator[tuple[str, Declaration]]:
    for words, entry in COMMANDS.items():
        if len(words) == 2 and words[0] == "show" and entry.columns and not entry.hidden:
            yield words[1], COMMANDS.get((*words, EXTENDED), entry)


#: Names behind the prefix, and what each shows.
SHOWN = dict(_shown())


class Api:
    """Answers what is asked of the console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def answer(self, name: str, level: Level) -> Answer:
        """The rows of one command. May wait."""
        entry = SHOWN.get(name)
        if entry is None:
            return text("404 Not Found", "there are:", *(PREFIX + known for known in SHOWN))
        try:
            result = self._console.run(Command(entry), level)
            return Answer(b"".join(_encoded(result)), JSON)
        except TablesBusy:
            return text("503 Service Unavailable", "a process that is stopped holds the tables")
        except CommandError as fault:
            return text("403 Forbidden", fault.message)


def _encoded(result: Result) -> Iterator[bytes]:
    """A list of objects, one a line."""
    names = [column.name for column in result.columns or ()]
    before = b"["
    for number, row in enumerate(result.rows):
        values = (readable(value) if isinstance(value, str) else value for value in row)
        yield before + json.dumps(dict(zip(names, values, strict=True))).encode()
        before = b",\n "
        if number % ROWS_AT_A_TIME == ROWS_AT_A_TIME - 1:
            gevent.sleep(0)
    yield b"]\n" if before != b"[" else b"[]\n"
