"""Scripts against pooler, PostgreSQL and the model; each row carries the mark of the client that asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.protocol.model.model import BEGIN, MARK, REPORTED, SETTINGS, VIOLATION, Backend, Op, answers
from tests.protocol.model.pieces import PIECES, Group, Piece, about_settings, run, script_of
from tests.support.exchange import direct, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import SYNC, TERMINATE, EndOfStream, Message, Wire


def drawn(groups: Iterable[Group]) -> st.SearchStrategy[Piece]:
    return st.one_of(*map(st.sampled_from, groups))


#: Many scripts are about what happens in a transaction.
FIRST: st.SearchStrategy[Piece] = st.sampled_from(((), (), (Op("Q", text=BEGIN),)))
ENDS = st.sampled_from(("terminate", "end of stream", "end of stream", "reset"))


@dataclass(frozen=True)
class Part:
    """What one client does: its script, how many messages go in one write, and how it ends."""

    script: list[Op]
    writes: list[int]
    end: str


def parts(settings: Iterable[str]) -> st.SearchStrategy[Part]:
    """What a client may do where these settings follow it."""
    pieces = st.one_of(*[drawn(PIECES)] * 3, drawn(about_settings(settings)))
    more = st.lists(pieces, min_size=1, max_size=12)
    script = st.builds(lambda first, more: script_of([first, *more]), FIRST, more)
    return st.builds(Part, script, st.lists(st.integers(1, 8), min_size=1, max_size=6), ENDS)


#: By database; with session_state = off only settings follow that PostgreSQL reports.
PARTS = {"one": parts(SETTINGS), "off": parts((REPORTED,))}


def cases(least: int, most: int) -> st.SearchStrategy[tuple[str, list[Part]]]:
    """A database, and what so many clients of it do."""
    return st.sampled_from(("one", "off")).flatmap(
        lambda name: st.tuples(st.just(name), st.lists(PARTS[name], min_size=least, max_size=most))
    )


#: A client that comes behind all others.
AFTERWARDS = Part([*run("", Op("P", text=MARK))], [8], "terminate")


def is_served(pooler: Pooler, database: str) -> bool:
    """Whether one more client gets its answers."""
    (heard,) = converse([Talk(pooled(pooler, database), AFTERWARDS, "afterwards")])
    return heard == answers([*AFTERWARDS.script, Op("S")], "afterwards").said


def said(got: Message) -> str | None:
    """A message as the model writes it."""
    match got.type:
        case "N" | "A":
            return None
        case "S":
            name, value = got.body.decode().split("\0")[:2]
            return "S" + value if name == REPORTED else None
        case "E":
            return "E" + got.fields["C"]
        case "D":
            return "D" + (got.values[0] or b"").decode()
        case "V":
            return "V" + got.body[4:].decode()
        case "C" | "Z":
            return got.type + got.text
        case kind:
            return kind


class Talk:
    """One client on its way through its part."""

    def __init__(self, wire: Wire, part: Part, mark: str) -> None:
        self.wire = wire
        self.part = part
        self.writes: list[bytes] = []
        self.gone = False
        at = 0
        while at < len(part.script):
            size = part.writes[len(self.writes) % len(part.writes)]
            self.writes.append(b"".join(op.data(mark) for op in part.script[at : at + size]))
            at += size

    def step(self) -> None:
        """The next write, if there is one."""
        if not self.writes or self.gone:
            return
        try:
            self.wire.send(self.writes.pop(0))
        except OSError:
            self.gone = True  # what was said before is still there to be read

    def end(self) -> None:
        """Says Terminate, closes its side, or resets the connection."""
        try:
            if self.part.end == "terminate":
                self.wire.send(SYNC + TERMINATE)
            elif self.part.end == "end of stream":
                self.wire.send(SYNC)
                self.wire.socket.shutdown(socket.SHUT_WR)
            else:
                self.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.wire.socket.close()
        except OSError:
            self.gone = True

    def heard(self) -> list[str]:
        """All that it is told, up to the end."""
        found: list[str] = []
        try:
            while True:
                if (what := said(self.wire.receive())) is not None:
                    found.append(what)
        except EndOfStream:
            return found


def nothing() -> None:
    pass


def converse(
    talks: list[Talk], kill_at: int | None = None, kill: Callable[[], object] = nothing
) -> list[list[str] | None]:
    """Write by write in turns; what each heard, None for those that reset their connection. Behind all writes
    or before one of those turns the backends are killed.
    """
    turns = max(len(talk.writes) for talk in talks)
    try:
        for turn in range(turns + 1):
            if kill_at is not None and min(kill_at, turns) == turn:
                kill()
            for talk in talks:
                talk.step()
        for talk in talks:
            talk.end()
        return [None if talk.part.end == "reset" else talk.heard() for talk in talks]
    finally:
        for talk in talks:
            talk.wire.socket.close()


#: What a client is told whose backend was terminated: PostgreSQL's words, or pooler's.
TERMINATED = ("E57P01", "E08P01")


#: What a client is told of a statement that pooler cannot parse again as it was parsed.
LOST = (["E26000"], ["E0A000"], ["E25P02"])


def is_cut(heard: list[str], model: Backend) -> bool:
    """Whether a client heard the beginning of what the model says, and its backend's end at most."""
    told = len(heard)
    while told and heard[told - 1] in TERMINATED:
        told -= 1
    return heard[:told] == model.said[:told]


def check(heard: list[str], model: Backend, pooler: bool) -> None:
    """What a client heard is what the model says."""
    want = model.said
    values = {what[1:] for what in heard if what.startswith(("D", "V", "S"))}
    assert all(value.startswith(model.mark) for value in values if value), (heard, want)
    if pooler and any(heard[:at] == want[:at] and heard[at : at + 1] in LOST for at in model.lost):
        return
    if pooler and model.ended and VIOLATION in heard:
        at = heard.index(VIOLATION)  # what was not passed on yet is lost with the connection
        assert heard[:at] == want[:at], (heard, want)
        return
    if model.ended or model.copy:  # the connection ends in the middle, with errors of its own
        assert heard[: len(want)] == want, (heard, want)
        assert all(what.startswith("E") for what in heard[len(want) :]), heard
        return
    assert heard == want, (heard, want)


def run_parts(
    pooler: Pooler,
    pg: Postgres,
    database: str,
    parts: list[Part],
    compare: bool = True,
    kill_at: int | None = None,
) -> None:
    """All parts at once through pooler; each alone at PostgreSQL if `compare`. `kill_at`: before that turn
    all backends are terminated; a client then hears all of its answers, or is cut off between two of them.
    """
    marks = [f"client {number}" for number in range(len(parts))]
    models = [answers([*part.script, Op("S")], mark) for part, mark in zip(parts, marks, strict=True)]
    for part, mark, model in zip(parts, marks, models, strict=True):
        if compare and part.end != "reset":
            (there,) = converse([Talk(direct(pg), part, mark)], kill_at, pg.terminate_backends)
            assert there is not None
            if kill_at is None or not is_cut(there, model):
                check(there, model, pooler=False)
    wires = [pooled(pooler, database) for _ in parts]
    talks = [Talk(wire, part, mark) for wire, part, mark in zip(wires, parts, marks, strict=True)]
    for here, model in zip(converse(talks, kill_at, pg.terminate_backends), models, strict=True):
        if here is not None and (kill_at is None or not is_cut(here, model)):
            check(here, model, pooler=True)
