"""Which transitions of a state machine of the core real connections take.

A debug build of the core writes the transitions that it takes into a file (core/io/state_machine.h), and
aborts on others. Each case of a module has those that it is about; together with those that only chance takes
they are the table of its machine.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pooler.core._core import STATE_MACHINES, StateMachine
from pooler.dev.processes import Account
from tests.support.fakeserver import READY, WELCOME, FakeServer, Peer, Script, usual_answer
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import message

MakePooler = Callable[..., Pooler]
Transition = tuple[str, str]

IN_TRANSACTION = message("Z", b"T")


def machine(name: str) -> StateMachine:
    return next(machine for machine in STATE_MACHINES if machine.name == name)


def steps(text: str) -> set[Transition]:
    """ "A B C, D E": A to B, B to C, and D to E."""
    return set().union(*(itertools.pairwise(path.split()) for path in text.split(",")))


class FakePostgres:
    """A server that answers everything, and says whether it is in a transaction."""

    def __init__(self, pattern: str = "never") -> None:
        self._pattern = pattern.encode()

    def log_in(self, peer: Peer) -> None:
        """A connection has said its startup packet."""
        peer.send(WELCOME)

    def met(self, peer: Peer, answer: bytes) -> bool:
        """A message fits the pattern, and would be answered so. True: the connection ends there."""
        raise NotImplementedError

    def script(self) -> Script:
        def serve(peer: Peer) -> None:
            self.log_in(peer)
            ready = READY
            while True:
                kind, body = peer.message()
                if kind == b"X":
                    return
                if re.search(self._pattern, body) and self.met(peer, usual_answer(kind, body)):
                    return
                if body.startswith(b"BEGIN"):
                    ready = IN_TRANSACTION
                elif body.startswith((b"COMMIT", b"ROLLBACK")):
                    ready = READY
                peer.send(usual_answer(kind, body).replace(READY, ready))

        return serve


@dataclass
class Place:
    """What a case gets: poolers that write their transitions down, and fake servers behind database f."""

    make_pooler: MakePooler
    file: Path
    machine: StateMachine

    def taken(self) -> set[Transition]:
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return {_names(first, second) for machine, first, second in lines if machine == self.machine.name}

    def pooler(self, **settings: object) -> Pooler:
        return self.make_pooler(workers=1, databases={"p0": "pool_size=1"}, **settings)

    def before(self, fake: FakeServer, **settings: object) -> Pooler:
        databases = {"f": f"host=127.0.0.1 port={fake.port} pool_size=1"}
        return self.make_pooler(workers=1, databases=databases, **settings)


Cases = Mapping[str, tuple[Callable[[Place], None], str]]


def make_place(
    make_pooler: MakePooler, owner: Account, patch: pytest.MonkeyPatch, work: Path, machine: StateMachine
) -> Place:
    file = work / f"transitions-{sum(1 for _ in work.glob('transitions-*'))}"
    file.touch()
    owner.give(file)
    patch.setenv("POOLER_TRANSITIONS", str(file))
    return Place(make_pooler, file, machine)


def assert_takes(place: Place, case: Callable[[Place], None], wanted: str) -> None:
    case(place)
    wait_for(lambda: steps(wanted) <= place.taken(), 10, f"{steps(wanted) - place.taken()}")


def assert_complete(machine: StateMachine, cases: Cases, by_chance: set[Transition]) -> None:
    """Each transition of the table has a case, or is by chance, and not both."""
    driven = set().union(*(steps(wanted) for _, wanted in cases.values()))
    assert driven | by_chance == {_names(first, second) for first, second, _ in machine.transitions}
    assert not driven & by_chance


def _names(first: str, second: str) -> Transition:
    """Without the name of the machine in front."""
    return first.partition("_")[2], second.partition("_")[2]
