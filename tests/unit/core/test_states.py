"""State machines of the core: their tables are whole, and a debug build keeps to them."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

from pooler.core._core import DEBUG_BUILD, STATE_MACHINES, StateMachine


def names_of(machine: StateMachine) -> list[str]:
    return [name for name, _ in machine.states]


def reached(start: str, steps: set[tuple[str, str]]) -> set[str]:
    """All that the steps lead to from there, itself included."""
    found, at_hand = {start}, [start]
    while at_hand:
        here = at_hand.pop()
        new = {second for first, second in steps if first == here} - found
        found |= new
        at_hand += new
    return found


def test_tests_run_on_a_debug_build() -> None:
    assert DEBUG_BUILD, "by hand: POOLER_DEBUG=1 .venv/bin/python setup.py build_ext --inplace"


def test_no_name_stands_twice() -> None:
    names = [name for machine in STATE_MACHINES for name in names_of(machine)]
    assert len(names) == len(set(names))
    assert len({machine.name for machine in STATE_MACHINES}) == len(STATE_MACHINES)


def test_each_transition_stands_once_with_its_reason() -> None:
    for machine in STATE_MACHINES:
        pairs = [(first, second) for first, second, _ in machine.transitions]
        assert len(pairs) == len(set(pairs))
        assert all(when for _, _, when in machine.transitions)
        assert all(meaning for _, meaning in machine.states)
        assert not [first for first, second in pairs if first == second], "to stay is no transition"


def test_every_state_is_reached_and_left() -> None:
    for machine in STATE_MACHINES:
        steps = {(first, second) for first, second, _ in machine.transitions}
        start = names_of(machine)[0]
        assert reached(start, steps) == set(names_of(machine)), machine.name
        ends = set(names_of(machine)) - {first for first, _ in steps}
        assert len(ends) <= 1, f"{machine.name}: what is over is over in one state"
        back = {(second, first) for first, second in steps}
        end = ends.pop() if ends else start
        assert reached(end, back) == set(names_of(machine)), f"{machine.name}: no way to {end}"


def test_what_the_core_allows_is_the_table() -> None:
    for machine in STATE_MACHINES:
        legal = {(first, second) for first, second, _ in machine.transitions}
        for pair in itertools.product(names_of(machine), repeat=2):
            assert machine.may_follow(*pair) == (pair in legal), pair
            if pair in legal:
                assert machine.move(*pair) == pair[1]


def test_a_debug_build_aborts_on_anything_else() -> None:
    for number, machine in enumerate(STATE_MACHINES):
        pairs = itertools.product(names_of(machine), repeat=2)
        first, second = next(pair for pair in pairs if not machine.may_follow(*pair))
        code = f"from pooler.core._core import STATE_MACHINES as m; m[{number}].move({first!r}, {second!r})"
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        assert done.returncode == -signal.SIGABRT
        assert f"illegal transition of a {machine.name}: from {first} to {second}" in done.stderr
