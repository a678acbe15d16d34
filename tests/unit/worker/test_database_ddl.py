"""How often servers are closed for what clients do, or say that they do, to databases and roles."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.core import SharedDdl
from pooler.worker import database_ddl
from pooler.worker.database_ddl import LONGEST_BEGINS_S, LONGEST_DONE_S, DatabaseDdl


class Clock:
    """Time that passes when somebody sleeps; greenlets that sleep run in order of their ends."""

    def __init__(self) -> None:
        self.now = 100.0
        self.closed: list[tuple[float, set[database_ddl.What]]] = []
        self.sleepers: list[tuple[float, Any, tuple[Any, ...]]] = []

    def monotonic(self) -> float:
        return self.now

    def spawn(self, function: Any, turn: database_ddl.Turn, wait_s: float) -> None:
        self.sleepers.append((self.now + wait_s, function, (turn, 0.0)))

    def sleep(self, seconds: float) -> None:
        assert seconds == 0

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [one for one in self.sleepers if one[0] <= end]:
            first = min(due, key=lambda one: one[0])
            self.sleepers.remove(first)
            self.now = first[0]
            first[1](*first[2])
        self.now = end


class Tables:
    def pool_key(self, pool: int) -> tuple[str, str, int]:
        return f"db{pool}", "somebody", 0


class Context:
    """What DatabaseDdl needs of one."""

    def __init__(self, clock: Clock) -> None:
        self.tables, self.spawn = Tables(), clock.spawn


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(database_ddl, "time", clock)
    monkeypatch.setattr(database_ddl, "gevent", clock)
    return clock


@pytest.fixture
def heard(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    def close(self: DatabaseDdl, asking: str, what: set[database_ddl.What]) -> None:
        clock.closed.append((clock.now, what))

    monkeypatch.setattr(DatabaseDdl, "_close", close)
    return DatabaseDdl(Context(clock), None).heard  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [SharedDdl.ROLE, SharedDdl.ROLE_GONE, SharedDdl.DATABASE, SharedDdl.BEGINS]
)
def test_what_comes_again_and_again_closes_less_and_less_often(
    clock: Clock, heard: Any, change: SharedDdl
) -> None:
    for _ in range(6000):
        heard(0, "victim", change)
        clock.go_on(0.1)
    pauses = [after - before for (before, _), (after, _) in zip(clock.closed, clock.closed[1:], strict=False)]
    longest = LONGEST_BEGINS_S if change == SharedDdl.BEGINS else LONGEST_DONE_S
    assert pauses[0] == pytest.approx(0.5, abs=0.11)
    assert pauses[-1] == pytest.approx(longest, abs=0.11)
    assert len(clock.closed) <= 600 / longest + 8


def test_what_was_waited_for_is_done_in_the_end(clock: Clock, heard: Any) -> None:
    for name in ("one", "two", "three"):
        heard(0, name, SharedDdl.BEGINS)
    clock.go_on(1)
    assert [what for _, what in clock.closed] == [
        {(SharedDdl.BEGINS, "one")},
        {(SharedDdl.BEGINS, "two"), (SharedDdl.BEGINS, "three")},
    ]


def test_nobody_waits_for_what_is_done_to_others(clock: Clock, heard: Any) -> None:
    for _ in range(1000):
        heard(0, "victim", SharedDdl.ROLE_GONE)
        clock.go_on(0.1)
    before = len(clock.closed)
    heard(0, "other", SharedDdl.ROLE_GONE)
    heard(1, "victim", SharedDdl.ROLE_GONE)
    assert len(clock.closed) == before + 2


def test_after_a_pause_it_is_done_at_once(clock: Clock, heard: Any) -> None:
    for _ in range(1000):
        heard(0, "victim", SharedDdl.ROLE)
        clock.go_on(0.1)
    clock.go_on(3 * LONGEST_DONE_S)
    before = len(clock.closed)
    heard(0, "victim", SharedDdl.ROLE)
    assert len(clock.closed) == before + 1


def test_the_names_that_wait_are_bounded(clock: Clock, heard: Any) -> None:
    for number in range(3 * database_ddl.NAMES_MAX):
        heard(0, f"r{number}", SharedDdl.BEGINS)
        for _ in range(2):
            heard(0, f"r{number}", SharedDdl.ROLE)
    assert len(clock.sleepers) <= database_ddl.NAMES_MAX
    clock.go_on(1)
    assert max(len(what) for _, what in clock.closed) <= database_ddl.NAMES_MAX
