"""What happens in a leak test: a client makes some state and leaves or stays, others come and look."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from tests.state.exits import Way
from tests.state.kind import Kind, ask, encode
from tests.state.reference import (
    ANYBODYS,
    NO_OBJECTS,
    OWN,
    Place,
    Reference,
    can_be_asked,
    look,
    look_at_own,
    make,
    session,
    spell,
)
from tests.support.pooler import Pooler
from tests.support.wire import EndOfStream, Wire

#: A client that got no answer for so long will get none.
STUCK_S = 10

_numbers = itertools.count(1)


class Scene:
    """A pooler, and PostgreSQL to compare with. Its methods return what was wrong."""

    def __init__(self, pooler: Pooler, reference: Reference, workers: int) -> None:
        self.pooler = pooler
        self.workers = workers
        self.pooled = Place(pooler.host, pooler.port, reference.postgres.database, timeout_s=STUCK_S)
        self.reference = reference
        self.wires: list[Wire] = []  # all clients since the last renewal
        self.witnesses: dict[str, Wire] = {}  # by user: the next one of the last case, who still has no state
        self.servers: Counter[str] = Counter()  # how often the next client had the server of the one who left

    def kill(self, wire: Wire) -> None:
        """KILL_CLIENT."""
        port = wire.socket.getsockname()[1]
        (row,) = self.pooler.show("clients", port=port)
        self.pooler.console(f"KILL_CLIENT {row['id']}")

    def client(self, user: str, **startup: str) -> Wire:
        """A client of the pooler."""
        wire = self.pooled.client(user, **startup)
        self.wires.append(wire)
        return wire

    def finish(self) -> None:
        """The end of all clients."""
        for wire in self.wires:
            wire.socket.close()
        self.wires.clear()
        self.witnesses.clear()

    def renew(self) -> None:
        """Only new servers from now on: what leaked once must not be found again."""
        self.finish()
        self.pooler.console("RECONNECT")

    def all_ways(self, kind: Kind, ways: Iterable[tuple[Way, bool]]) -> list[str]:
        """Leaves in all of these ways, each by the simple or the extended protocol."""
        problems = []
        for way, extended in ways:
            found = []
            try:
                found = self.leaving(kind, way, extended)
            except TimeoutError:
                found = ["stuck"]
            if found:
                problems.append(f"{way.name} ({'extended' if extended else 'simple'}): {'; '.join(found)}")
                self.renew()
            if found == ["stuck"]:
                break
        return problems

    def leaving(self, kind: Kind, way: Way, extended: bool) -> list[str]:
        """A client makes it and leaves; then look one who was there before, and one who comes now."""
        number = next(_numbers)
        try:
            early = self.witnesses.pop(kind.user, None) or self.client(kind.user)
            maker = self.client(kind.user, **kind.startup)
            pid, problems = self._live(maker, kind, way, extended, number)
            way.leave(maker, self.kill)
            if kind.hears:
                self.reference.postgres.do(f'NOTIFY "{kind.hears}"')
            problems += self._visit(early, kind, extended, number, "one who waited")
            early.close()
            late = self.witnesses[kind.user] = self.client(kind.user)
            problems += self._visit(late, kind, not extended, number, "the next")
            problems += self._inspect(late, kind, pid)
        except (EndOfStream, AssertionError) as error:
            return [f"{type(error).__name__} {error}"]
        return problems

    def _live(self, maker: Wire, kind: Kind, way: Way, extended: bool, number: int) -> tuple[str, list[str]]:
        """The maker's life up to the last thing that it sends; its server's pid, and problems."""
        pid = ask(maker, "SELECT pg_backend_pid()")[0]
        problems = []
        if way.at_once:
            acts = [*way.before, *(spell(act, number) for act in kind.make), *way.after]
            maker.send(*(encode(act, extended and not kind.simple) for act in acts))
        else:
            for act in way.before:
                ask(maker, act, extended)
            make(maker, kind, extended, number, self.reference.postgres)
            if can_be_asked(kind, bool(way.before)):
                seen = look_at_own(maker, kind, extended, number, self.reference.postgres)
                if _without_status(seen) != _without_status(self.reference.kept(kind, extended)):
                    problems.append(f"its maker sees {seen}")
            for act in way.after:
                ask(maker, act, extended)
        if way.last:
            maker.send(way.last)
        if way.sees:
            maker.receive_until(way.sees)
        return pid, problems

    def _visit(self, wire: Wire, kind: Kind, extended: bool, number: int, who: str) -> list[str]:
        """A client that has no state looks for it."""
        seen = look(wire, kind, extended, number)
        expected = self.reference.fresh(kind, extended)
        return [] if seen == expected else [f"LEAK: {who} sees {seen}, not {expected}"]

    def _inspect(self, wire: Wire, kind: Kind, left: str) -> list[str]:
        """The same client looks for anything else that the one who left may have left."""
        pid, problems = self._compare(wire, kind.user, "the next")
        self.servers["same" if left == f"row {pid}" else "other"] += 1
        if (left_behind := ask(wire, ANYBODYS)[:1]) != NO_OBJECTS:
            problems.append(f"LEAK: left anywhere: {left_behind}")
        return problems

    def _compare(self, wire: Wire, user: str, who: str) -> tuple[str, list[str]]:
        """The pid of a client's server, and what of its session is not as in a fresh one."""
        pid, seen = session(wire)
        expected = self.reference.session(user)
        if seen == expected:
            return pid, []
        return pid, [f"LEAK: {who} has {seen}, not {expected}, {self.reference.different(wire, user)}"]

    def staying(self, kind: Kind, extended: bool) -> list[str]:
        """A client makes it and stays; others look and keep servers busy; then it looks, then others."""
        number = next(_numbers)
        try:
            maker = self.client(kind.user, **kind.startup)
            first, second = self.client(kind.user), self.client(kind.user)
            make(maker, kind, extended, number, self.reference.postgres)
            problems = self._visit(first, kind, extended, number, "another")
            problems += self._crowd([first, second], kind, extended, number)
            if can_be_asked(kind):
                seen = look_at_own(maker, kind, extended, number, self.reference.postgres)
                if seen != self.reference.kept(kind, extended):
                    problems.append(f"LOST: its maker sees {seen}, not {self.reference.kept(kind, extended)}")
            for wire in (first, second):
                ask(wire, "ROLLBACK")
            problems += self._crowd([first, second], kind, not extended, number)
        except (EndOfStream, AssertionError) as error:
            problems = [f"{type(error).__name__} {error}"]
        self.finish()
        return problems

    def _crowd(self, wires: list[Wire], kind: Kind, extended: bool, number: int) -> list[str]:
        """Several clients at once look, each with a server of its own, and keep them."""
        problems = []
        expected = self.reference.fresh(kind, extended, in_block=True)
        for wire in wires:
            ask(wire, "BEGIN")
            problems += self._compare(wire, kind.user, "another")[1]
            if (objects := ask(wire, OWN)[:1]) != NO_OBJECTS:
                problems.append(f"LEAK: another has {objects}")
            seen = look(wire, kind, extended, number)
            if seen != expected:
                problems.append(f"LEAK: another sees {seen}, not {expected}")
        return problems


def report(problems: list[str]) -> None:
    """Fails if there are any."""
    assert not problems, "\n".join([f"{len(problems)} problems", *problems])


def _without_status(lines: list[str]) -> list[str]:
    """An answer without the state of the transaction."""
    return [line for line in lines if not line.startswith("Z ")]
