"""What a case is: the scripts of one or several clients, as a table of cases writes them down.

A statement is written as its text and runs twice, in simple and in extended protocol; a Step is sent as it
is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support.exchange import Step
from tests.support.wire import SYNC, extended, query


@dataclass(frozen=True)
class Say:
    """A statement that one of the clients runs."""

    text: str
    who: str = "a"


@dataclass(frozen=True)
class Leave:
    """A client goes; with its next step it is back, in a session of its own.

    The next step waits until PostgreSQL has noticed: until nobody holds the advisory lock `key` any more.
    """

    who: str = "a"
    how: str = "terminate"
    key: int = 1


Part = str | Say | Step | Leave

#: What is run: steps, and clients who leave between them.
Scene = Step | Leave

Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """A conversation that has to be the same whoever the clients talk to."""

    parts: tuple[Part, ...]
    #: What clients send when they log in, by their names.
    startup: Mapping[str, Parameters] = field(default_factory=dict)
    user: str = "bouncer"
    #: Fewer servers would make it wait for itself: several clients hold one at the same time.
    servers: int = 1
    #: A client is notified by the very transaction in which it began to listen: PostgreSQL tells it before or
    #: after the end of the reply, as it happens.
    notified_late: bool = False

    @property
    def is_raw(self) -> bool:
        """Whether no choice of protocol is left."""
        return not any(isinstance(part, str | Say) for part in self.parts)

    def scenes(self, protocol: str) -> list[Scene]:
        """What to run, in simple or extended protocol."""
        return [_scene(part, _with_sync if protocol == "extended" else query) for part in self.parts]


def _with_sync(text: str) -> bytes:
    return extended(text) + SYNC


def _scene(part: Part, encode: Callable[[str], bytes]) -> Scene:
    if isinstance(part, Step | Leave):
        return part
    said = Say(part) if isinstance(part, str) else part
    return Step(encode(said.text), "Z", said.who)


def case(
    *parts: Part,
    user: str = "bouncer",
    servers: int = 1,
    startup: Mapping[str, Parameters] | None = None,
    notified_late: bool = False,
) -> Case:
    return Case(parts, startup or {}, user, servers, notified_late)


def by(who: str, *texts: str) -> list[Say]:
    """Statements of another client than a."""
    return [Say(text, who) for text in texts]


def simple(text: str, until: str = "Z", who: str = "a") -> Step:
    """A string that only a simple query can be: several statements in one."""
    return Step(query(text), until, who)


def wait_for(kinds: str, who: str = "a") -> Step:
    """Nothing is sent; these messages have to come by themselves."""
    return Step(b"", kinds, who)
