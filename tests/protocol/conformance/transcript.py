"""Messages as lines of text that can be compared: lossless but for what cannot be the same twice.

What is left out or renamed, and why; everything else has to be the same, byte by byte:

* The pid in a notification becomes the name of the client whose BackendKeyData it is, `stranger` if there
  is none: pids differ between two runs, but they have to lead to the right client.
* OIDs of objects that users make (16384 and up) become #1, #2 … in the order in which a run shows them: a
  table made twice has two OIDs.
* Values of sequences that start at 7,000,000,000 are numbered in the same way: neighbours draw from them
  meanwhile, so that a value tells only whether it was seen before, and by whom.
* The number of a temporary schema (pg_temp_3) becomes N: it is the number of the backend.
* ParameterStatus messages next to each other are sorted: PostgreSQL's own order is that of an internal
  list, and differs between its versions.
* The source file, line and function of an error are left out: a statement that was prepared when it was
  parsed may fail at its next preparation instead, in another function with the same message.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Mapping

from tests.support.wire import Message

FIRST_USER_OID = 16384
#: So much of what was sent stands in the transcript, for its reader.
SHOWN_BYTES = 2000

#: Sequences of the tests count from 7,000,000,000.
_MARKED = re.compile(rb"\b7\d{9}\b")
_TEXTS = re.compile(rb"[ -~]{6,}")
_TEMPORARY = re.compile(rb"pg_(toast_)?temp_\d+")
_SOURCE_FIELDS = b"FLR"


def settled(lines: list[str]) -> list[str]:
    """The lines with neighbouring ParameterStatus messages of a client in the order of their names."""
    found: list[str] = []
    for reporter, group in itertools.groupby(lines, _reporter):
        together = list(group)
        found += sorted(together) if reporter else together
    return found


def notifications_last(lines: list[str]) -> list[str]:
    """The lines with all notifications at the end, in their order."""
    return sorted(lines, key=lambda line: line.partition(" ")[2].startswith("< A "))


def _reporter(line: str) -> str:
    """The client that is told a parameter in this line; "" if none is."""
    who, _, rest = line.partition(" ")
    return who if rest.startswith("< S ") else ""


class Transcript:
    """Writes down what the clients of one run received."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.pids: dict[int, str] = {}
        self._numbers: dict[object, str] = {}

    def login(self, who: str, pid: int, parameters: Mapping[str, str]) -> None:
        """A client came in and was told these parameters."""
        self.pids[pid] = who
        self.lines.append(f"{who} < login {sorted(parameters.items())}")

    def sent(self, who: str, data: bytes) -> None:
        """Marks what the lines that follow answer: the texts in it."""
        texts = _TEXTS.findall(data[:SHOWN_BYTES])
        self.lines.append(f"{who} > {' | '.join(text.decode() for text in texts) or data[:20]!r}")

    def event(self, who: str, what: str) -> None:
        """Something that is no message: the end of the connection, silence."""
        self.lines.append(f"{who} < ({what})")

    def received(self, who: str, message: Message) -> None:
        form = _FORMS.get(message.type)
        text = repr(message.body) if form is None else form(self, message)
        self.lines.append(f"{who} < {message.type} {text}")

    def _numbered(self, kind: str, value: object) -> str:
        count = sum(1 for other in self._numbers.values() if other.startswith(kind))
        return self._numbers.setdefault((kind, value), f"{kind}#{count + 1}")

    def _oid(self, oid: int) -> str:
        return str(oid) if oid < FIRST_USER_OID else self._numbered("oid", oid)

    def _plain(self, data: bytes) -> bytes:
        data = _TEMPORARY.sub(rb"pg_\1temp_N", data)
        return _MARKED.sub(lambda match: self._numbered("value", match[0]).encode(), data)

    def _row(self, message: Message) -> str:
        return repr([value if value is None else self._plain(value) for value in message.values])

    def _report(self, message: Message) -> str:
        parts = message.body.split(b"\0")
        return repr(self._plain(b" | ".join(p for p in parts if p and p[:1] not in _SOURCE_FIELDS)))

    def _columns(self, message: Message) -> str:
        (count,), position = struct.unpack_from("!H", message.body), 2
        found = []
        for _ in range(count):
            end = message.body.index(b"\0", position)
            name = message.body[position:end].decode()
            table, number, kind, *rest = struct.unpack_from("!IhIhih", message.body, end + 1)
            found.append(f"{name} {self._oid(table)}.{number} {self._oid(kind)} {rest}")
            position = end + 19
        assert position == len(message.body)
        return "; ".join(found)

    def _types(self, message: Message) -> str:
        count = len(message.body) // 4
        oids = struct.unpack_from(f"!{count}I", message.body, 2)
        return " ".join(map(self._oid, oids))

    def _notification(self, message: Message) -> str:
        (pid,) = struct.unpack_from("!I", message.body)
        return f"from {self.pids.get(pid, 'stranger')} {message.body[4:]!r}"


_FORMS = {
    "D": Transcript._row,
    "E": Transcript._report,
    "N": Transcript._report,
    "T": Transcript._columns,
    "t": Transcript._types,
    "A": Transcript._notification,
}
