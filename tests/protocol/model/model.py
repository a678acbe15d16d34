"""The reference model: what PostgreSQL answers to any script of messages, as types, codes, tags and values.

The texts are few and each of their effects is known, so the model needs no SQL. It says what a backend of
one's own would say, and that is what a client of pooler has to hear, whoever shares its servers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.exchange import function_call
from tests.support.wire import bind, close, describe, execute, message, parse, query

SYNTAX, DIVIDE, EMPTY = "SELEC", "SELECT 1/0", ""
BEGIN, COMMIT, ROLLBACK = "BEGIN", "COMMIT", "ROLLBACK"
SAVEPOINT, ROLLBACK_TO, RELEASE = "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"
COPY, DEALLOCATE_ALL = "COPY modelled FROM STDIN", "DEALLOCATE ALL"
MARK = "SELECT '{}'"
THREE = "SELECT '{}' FROM generate_series(1, 3)"

#: The first is reported to the client, and follows it with session_state = off too.
REPORTED, CUSTOM = SETTINGS = ("application_name", "my.custom")
READS = {
    "SELECT current_setting('application_name')": REPORTED,
    "SELECT coalesce(current_setting('my.custom', true), '')": CUSTOM,
}


@dataclass(frozen=True)
class Change:
    """What a text does to a setting; `value` "" is where RESET leads."""

    name: str
    value: str
    local: bool = False


#: By text: what it changes.
CHANGES: dict[str, tuple[Change, ...]] = {
    text: (change,)
    for name in SETTINGS
    for text, change in (
        (f"SET {name} = '{{}} a'", Change(name, "{} a")),
        (f"SET {name} TO '{{}} b'", Change(name, "{} b")),
        (f"SET LOCAL {name} = '{{}} c'", Change(name, "{} c", local=True)),
        (f"RESET {name}", Change(name, "")),
        (f"SELECT set_config('{name}', '{{}} d', false)", Change(name, "{} d")),
        (f"SELECT set_config('{name}', '{{}} e', true)", Change(name, "{} e", local=True)),
    )
} | {"RESET ALL": tuple(Change(name, "") for name in SETTINGS)}

#: How many rows a text has.
ROWS = {
    MARK: 1,
    THREE: 3,
    **dict.fromkeys((text for text in (*READS, *CHANGES) if text.startswith("SELECT")), 1),
}

#: Functions that a FunctionCall runs: btrim(text), which leaves the mark as it is, and int4div(1, 0).
BTRIM, INT4DIV = 885, 154

#: PostgreSQL keeps a pipeline one transaction to its Sync, also around a Query.
IMPLICIT_BLOCKS = True

#: What ends a transaction that has failed, or goes back to where it had not.
EXITS = (COMMIT, ROLLBACK, ROLLBACK_TO)
BLOCKS = (BEGIN, *EXITS, SAVEPOINT, RELEASE)

#: The end of a script that PostgreSQL answers by ending the connection.
VIOLATION = "E08P01"


@dataclass(frozen=True)
class Op:
    """One message. `name` of a statement; `text` of a Query or Parse, the client's mark where it says {};
    `limit` of an Execute: how many rows at most, 0 for all.

    "F" and "F0" are FunctionCalls: of a function that returns, and of one that fails.
    """

    kind: str
    name: str = ""
    text: str = ""
    portal: str = ""
    limit: int = 0

    def __str__(self) -> str:
        words = (
            self.name,
            self.portal and f"portal {self.portal}",
            repr(self.text)[1:-1],
            str(self.limit or ""),
        )
        return " ".join((self.kind, *filter(None, words)))

    def data(self, mark: str) -> bytes:
        """The bytes of it."""
        text = self.text.format(mark)
        match self.kind:
            case "Q":
                return query(text)
            case "P":
                return parse(text, self.name)
            case "B":
                return bind((), self.name, self.portal)
            case "DS":
                return describe("S", self.name)
            case "DP":
                return describe("P", self.portal)
            case "E":
                return execute(self.portal, self.limit)
            case "C":
                return close("S", self.name)
            case "CP":
                return close("P", self.portal)
            case "good":
                return message("d", b"1\n")
            case "F":
                return function_call(BTRIM, mark.encode())
            case "F0":
                return function_call(INT4DIV, b"1", b"0")
            case "bad":
                return message("d", b"x\n")
            case "f":
                return message("f", "no")
            case kind:
                return message(kind)


@dataclass
class Portal:
    text: str
    given: int = 0  # rows
    done: bool = False
    failed: bool = False
    depth: int = 0  # how many savepoints there were
    left: bool = False  # by a Query that failed: PostgreSQL 18 reads freed memory where it is executed


@dataclass
class Settings:
    """Those of a session: before its transaction, those that last if it commits, and those up to its end."""

    before: dict[str, str] = field(default_factory=dict)
    lasting: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return (self.before | self.lasting | self.local).get(name, "")

    def apply(self, changes: tuple[Change, ...], mark: str) -> None:
        for change in changes:
            value = change.value.format(mark)
            if change.local:
                self.local[change.name] = value
            else:
                self.local.pop(change.name, None)
                self.lasting[change.name] = value

    def copy(self) -> Settings:
        return Settings(dict(self.before), dict(self.lasting), dict(self.local))

    def end(self, commit: bool) -> None:
        if commit:
            self.before |= self.lasting
        self.lasting.clear()
        self.local.clear()


@dataclass
class Backend:
    """One backend: messages go in by `take`, answers collect in `said`."""

    mark: str
    said: list[str] = field(default_factory=list)
    statements: dict[str, str] = field(default_factory=dict)
    portals: dict[str, Portal] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    savepoints: list[Settings] = field(default_factory=list)  # what was in force at each
    reported: str = ""
    status: str = "I"
    skipping: bool = False
    copy: str = ""  # the kind of message that began the COPY under way
    rows: int = 0
    ended: bool = False
    #: An Execute has been completed since the last Sync: with what comes next it is one implicit block.
    pipelined: bool = False
    block: bool = False  # the implicit one
    #: Instead of these answers pooler may say that there is no unnamed statement: another one, or what ends
    #: it, was skipped, and of those pooler knows only the last. Or it was parsed behind a RESET in its
    #: pipeline, and pooler cannot parse it again under the settings of then.
    lost: set[int] = field(default_factory=set)
    #: Statements that were parsed behind something unanswered that may have set what texts mean: no server
    #: else can have them.
    floating: set[str] = field(default_factory=set)
    setters: bool = False  # there is something such
    _unnamed_lost: bool = False
    _resets: bool = False

    def take(self, op: Op) -> None:
        """One message of the client."""
        if self.ended:
            return
        text = self.statements.get("", "") if op.kind == "B" and not op.name else op.text
        self.setters = self.setters or text in CHANGES or text.startswith("EXECUTE")
        if self.copy:
            self._take_in_copy(op)
            return
        if op.kind == "S":
            self._sync()
        elif self.skipping and (op.kind == "Q" or (op.kind in ("P", "C") and not op.name)):
            self._unnamed_lost = True
        elif not self.skipping and (act := getattr(self, "_" + op.kind, None)):
            if op.kind not in ("C", "CP"):
                self.block = self.block or (IMPLICIT_BLOCKS and self.pipelined and self.status == "I")
            act(op)

    def forget(self) -> None:
        """All that was said has been compared: only what is said from now on is kept."""
        self.said.clear()
        self.setters = False
        self.lost.clear()

    # -- COPY

    def _begin_copy(self, kind: str) -> None:
        self.said.append("G")
        self.copy, self.rows = kind, 0

    def _take_in_copy(self, op: Op) -> None:
        match op.kind:
            case "good":
                self.rows += 1
            case "bad":
                self._copy_fails("22P02")
            case "c":
                self.said.append(f"CCOPY {self.rows}")
                self._copy_over()
            case "f":
                self._copy_fails("57014")
            case "S" | "H":
                pass
            case _:
                self.said.append(VIOLATION)
                self.ended = True

    def _copy_over(self) -> None:
        kind, self.copy = self.copy, ""
        if kind == "Q":
            self._ready()

    def _copy_fails(self, code: str) -> None:
        if self.copy == "Q":
            self.portals[""] = self._portal(COPY, left=True)
        if self.status != "I":
            self._unnamed_lost = True  # by a Query of pooler's own, which tells Syncs apart
        self._fail(code, self.copy == "E")
        self._copy_over()

    # -- ends of messages and transactions

    def _fail(self, code: str, extended: bool = True) -> None:
        self.said.append("E" + code)
        self.pipelined = self.block = False
        if self.savepoints:
            self.settings = self.savepoints[-1].copy()
        else:
            self.settings.end(commit=False)
        if self.status == "I":
            self.portals.clear()
        elif self.status == "T":  # what is made afterwards does not fail with later errors
            self.status = "E"
            for portal in self.portals.values():
                portal.failed = portal.failed or portal.depth == len(self.savepoints)
        self.skipping = extended

    def _ready(self) -> None:
        if self.status == "I" and not self.block:
            self.portals.clear()
            self.settings.end(commit=True)
            self.pipelined = False
        if self.settings.get(REPORTED) != self.reported:
            self.reported = self.settings.get(REPORTED)
            self.said.append("S" + self.reported)
        self.said.append("ZT" if self.block else "Z" + self.status)

    def _sync(self) -> None:
        self.skipping = self.block = self._resets = False
        self._ready()

    def _transaction(self, text: str, extended: bool = True) -> None:
        self.pipelined = self.block = False
        if text == BEGIN:
            self.status = "T"
            self.said.append("CBEGIN")
            return
        if text in (SAVEPOINT, ROLLBACK_TO, RELEASE):
            self._savepoint(text, extended)
            return
        failed = self.status == "E"
        self.savepoints.clear()
        self.settings.end(commit=not failed and text == COMMIT)
        self.status = "I"
        self.portals.clear()
        self.said.append("CROLLBACK" if failed or text == ROLLBACK else "CCOMMIT")

    def _savepoint(self, text: str, extended: bool) -> None:
        """All of them have the same name: the latest counts."""
        if self.status == "I" or (text != SAVEPOINT and not self.savepoints):
            if not extended:
                self.portals[""] = self._portal(text, left=True)
            self._fail("25P01" if self.status == "I" else "3B001", extended)
            return
        if text == SAVEPOINT:
            self.savepoints.append(self.settings.copy())
        elif text == RELEASE:
            self.savepoints.pop()
            for portal in self.portals.values():
                portal.depth = min(portal.depth, len(self.savepoints))
        else:
            self.status = "T"
            self.settings = self.savepoints[-1].copy()
            depth = len(self.savepoints)
            self.portals = {name: portal for name, portal in self.portals.items() if portal.depth < depth}
        self.said.append("C" + text.split()[0])

    def _refused(self, text: str) -> bool:
        return self.status == "E" and text not in EXITS

    # -- the simple protocol

    def _Q(self, op: Op) -> None:
        text = op.text
        self.statements.pop("", None)
        if text == EMPTY:
            self.said.append("I")
        elif text == SYNTAX:
            self._fail("42601", extended=False)
        elif self._refused(text):
            self._fail("25P02", extended=False)
        elif text in BLOCKS:
            self.portals.pop("", None)
            self._transaction(text, extended=False)
        elif text == COPY:
            self.portals.pop("", None)
            self._begin_copy("Q")
            return
        elif text == DEALLOCATE_ALL:
            self.portals.pop("", None)
            self.statements.clear()
            self.said.append("CDEALLOCATE ALL")
        else:
            self._run_query(text)
        self._ready()

    def _run_query(self, text: str) -> None:
        if text.startswith("DEALLOCATE "):
            name = text.removeprefix("DEALLOCATE ")
            self.portals[""] = self._portal(text, left=True)
            if self.statements.pop(name, None) is None:
                self._fail("26000", extended=False)
                return
            self.portals.pop("")
            self.said.append("CDEALLOCATE")
            return
        if text.startswith("EXECUTE "):
            name = text.removeprefix("EXECUTE ")
            self._used(name)
            self.portals[""] = self._portal(self.statements.get(name, text), left=True)
            if name not in self.statements:
                self._fail("26000", extended=False)
                return
            text = self.statements[name]
        if text == DIVIDE:
            self._fail("22012", extended=False)
            return
        self.portals.pop("", None)
        if text in ROWS:
            self.said += ["T", *self._rows(text, ROWS[text]), f"CSELECT {ROWS[text]}"]
        else:
            self._change(text)

    def _rows(self, text: str, count: int) -> list[str]:
        value = self.mark
        if text in READS:
            value = self.settings.get(READS[text])
        elif count and text in CHANGES:
            self.settings.apply(CHANGES[text], self.mark)
            value = self.settings.get(CHANGES[text][0].name)
        return ["D" + value] * count

    def _change(self, text: str) -> None:
        self.settings.apply(CHANGES[text], self.mark)
        self.said.append("CRESET" if text.startswith("RESET") else "CSET")

    def _F(self, op: Op) -> None:
        if self.status == "E":
            self._fail("25P02", extended=False)
        elif op.kind == "F0":
            self._fail("22012", extended=False)
        else:
            self.said.append("V" + self.mark)
        self._ready()

    _F0 = _F

    # -- the extended protocol

    def _P(self, op: Op) -> None:
        if not op.name:
            self._unnamed_lost = self._resets
            self.statements.pop("", None)
        if op.text == SYNTAX:
            self._fail("42601")
        elif op.text != EMPTY and self._refused(op.text):
            self._fail("25P02")
        elif op.name in self.statements:
            self._fail("42P05")
        else:
            self.statements[op.name] = op.text
            self.floating.discard(op.name)
            if self.setters:
                self.floating.add(op.name)
            self.said.append("1")

    def _B(self, op: Op) -> None:
        text = self._used(op.name)
        if text is None:
            self._fail("26000")
        elif self._refused(text):
            self._fail("25P02")
        elif op.portal and op.portal in self.portals:
            self._fail("42P03")
        elif text == DIVIDE:
            self.portals[op.portal] = self._portal(EMPTY)  # made, and planned never
            self._fail("22012")
        else:
            self.portals[op.portal] = self._portal(text)
            self.said.append("2")
            self._resets = self._resets or text.startswith("RESET")

    def _portal(self, text: str, left: bool = False) -> Portal:
        return Portal(text, depth=len(self.savepoints), left=left)

    def _used(self, name: str) -> str | None:
        text = self.statements.get(name)
        if text is not None and ((not name and self._unnamed_lost) or name in self.floating):
            self.lost.add(len(self.said))
        return text

    def _DS(self, op: Op) -> None:
        text = self._used(op.name)
        if text is None:
            self._fail("26000")
        elif self.status == "E" and text.startswith("SELECT"):
            self._fail("25P02")
        else:
            self.said += ["t", "T" if text.startswith("SELECT") else "n"]

    def _DP(self, op: Op) -> None:
        portal = self.portals.get(op.portal)
        if portal is None:
            self._fail("34000")
        elif self.status == "E" and portal.text.startswith("SELECT"):
            self._fail("25P02")
        else:
            self.said.append("T" if portal.text.startswith("SELECT") else "n")

    def _E(self, op: Op) -> None:
        portal = self.portals.get(op.portal)
        if portal is None:
            self._fail("34000")
        elif portal.text == EMPTY:
            self.said.append("I")
        elif self.status == "E" and (portal.failed or portal.text not in EXITS):
            self._fail("25P02")
        elif portal.done and not portal.text.startswith("SELECT"):
            self._fail("55000")
        elif portal.text == COPY:
            portal.done = self.pipelined = True
            self._begin_copy("E")
        elif portal.text in BLOCKS:
            portal.done = True
            self._transaction(portal.text)
        elif portal.text not in ROWS:
            portal.done = self.pipelined = True
            self._change(portal.text)
        else:
            left = 0 if portal.done else ROWS[portal.text] - portal.given
            count = min(left, op.limit or left)
            self.said += self._rows(portal.text, count)
            portal.given += count
            portal.done = not op.limit or count < op.limit
            self.said.append(f"CSELECT {count}" if portal.done else "s")
            self.pipelined = True

    def _C(self, op: Op) -> None:
        self.statements.pop(op.name, None)
        self.said.append("3")

    def _CP(self, op: Op) -> None:
        self.portals.pop(op.portal, None)
        self.said.append("3")


def answers(ops: list[Op], mark: str) -> Backend:
    """The backend after the whole script."""
    backend = Backend(mark)
    for op in ops:
        backend.take(op)
    return backend
