"""What a kind of session state is: how a client makes it, how it shows, and which exits make sense for it.

A kind says nothing about pooling. That it is real is tested on PostgreSQL itself (test_direct.py): the one
who made it sees it, a fresh connection does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.wire import SYNC, Message, Wire, bind, describe, execute, parse, query


@dataclass(frozen=True)
class Call:
    """A statement with parameters, as drivers send it."""

    statement: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Elsewhere:
    """A statement of somebody who is connected to PostgreSQL itself."""

    statement: str


#: A statement, sent by either protocol; one with parameters; bytes as they are; what somebody else does.
Act = str | Call | bytes | Elsewhere


@dataclass(frozen=True)
class Kind:
    """One kind of session state."""

    name: str
    make: tuple[Act, ...]
    probe: Act  # answered by a session that has the state differently from a fresh one
    seen: Act | None = (
        None  # what its maker asks, where the probe would destroy the state or differ for another reason
    )
    user: str = "bouncer"
    startup: Mapping[str, str] = field(default_factory=dict)
    until: str = (
        "Z"  # type of the message that answers the last of `make`; another than Z: in the middle of something
    )
    kept: bool = (
        True  # the session still has it after `make`; False: a trap for those who look at the text only
    )
    fails: bool = False  # the last of `make` is an error, and the state stays all the same
    block: bool = True  # may be made inside a transaction block
    open: bool = False  # it leaves a transaction open
    simple: bool = False  # several statements in one message: by the simple protocol only
    hears: str = ""  # the maker gets notifications of this channel
    needs: str = (
        ""  # statement that has to work, once, before this kind makes sense (an extension, a library)
    )

    def __str__(self) -> str:
        return self.name

    @property
    def is_alone(self) -> bool:
        """Nobody else has a part in it."""
        return not any(isinstance(act, Elsewhere) for act in self.make)

    @property
    def is_finished(self) -> bool:
        """After `make` the session is idle outside a transaction."""
        return self.until == "Z" and not self.open


def encode(act: Act, extended: bool) -> bytes:
    """The messages of an act."""
    if isinstance(act, bytes):
        return act
    assert not isinstance(act, Elsewhere)
    if isinstance(act, Call):
        values = [value.encode() for value in act.values]
        return parse(act.statement) + bind(values) + describe() + execute() + SYNC
    if extended:
        return parse(act) + bind() + describe() + execute() + SYNC
    return query(act)


def digest(messages: list[Message]) -> list[str]:
    """What an answer says, without what differs between the protocols or from run to run."""
    lines = []
    for got in messages:
        if got.type == "D":
            lines.append("row " + "|".join("NULL" if v is None else v.decode("latin-1") for v in got.values))
        elif got.type == "E":
            lines.append("error {C} {M}".format(**got.fields))
        elif got.type not in "123nNStT":
            lines.append(f"{got.type} {got.text[:80]}")
    return lines


def ask(wire: Wire, act: Act, extended: bool = False) -> list[str]:
    """Does something and tells what came back."""
    wire.send(encode(act, extended))
    return digest(wire.receive_until("Z"))


def setting(name: str, value: str, **keywords: Any) -> Kind:
    """SET of one setting."""
    return Kind(f"SET {name}", (f"SET {name} = '{value}'",), f"SHOW {name}", **keywords)


def custom(name: str, *make: Act, **keywords: Any) -> Kind:
    """A way to set a setting of the application's own. Each has a name of its own: what a pooler learned from
    one kind must not help with the next. `{}` in the acts is that name; with `{n}` it is always a new one.

    A name that was once used stays known to its backend: for the next client it is '' instead of NULL. No way
    to undo that but the end of the backend, and a mere SET LOCAL does it too; hence NULLIF.
    """
    guc = guc_name(name)
    if any(isinstance(act, str) and "_{n}" in act for act in make):
        guc += "_{n}"
    acts = tuple(act.replace("{}", guc) if isinstance(act, str) else act for act in make)
    return Kind(name, acts, f"SELECT NULLIF(current_setting('{guc}', true), '')", **keywords)


def guc_name(name: str) -> str:
    """The name of a custom setting for a kind."""
    return "leaks." + "".join(c if c.isalnum() else "_" for c in name.lower())
