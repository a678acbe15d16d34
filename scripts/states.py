"""The page of the state machines: for each a picture, its states, its transitions and their reasons.

`scripts/reference` writes it; tests/unit/test_reference.py compares it with what would be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pooler.core._core import STATE_MACHINES
from pooler.worker.dial import TRANSITIONS, DialState


def page() -> Iterator[str]:
    """The lines of docs/internals/states.md."""
    yield "# Which states has a connection?"
    yield ""
    yield (
        "A connection is in one of the states of its table, and goes from one to another only as the table"
        " says: a debug build of the core, on which the tests run, aborts on anything else."
    )
    yield ""
    yield (
        "`pooler/core/io/state_machine.h` says how a machine of the core is declared; that of a dial stands"
        " in `pooler/worker/dial.py`. `scripts/reference` makes this page of the declarations; change it"
        " there."
    )
    for machine in STATE_MACHINES:
        yield from _machine(machine.name, machine.states, machine.transitions)
    states = [(state.name, state.value) for state in DialState]
    steps = [(first.name, second.name, when) for (first, second), when in TRANSITIONS.items()]
    yield from _machine("dial", states, steps)


def _machine(
    name: str, states: Sequence[tuple[str, str]], transitions: Sequence[tuple[str, str, str]]
) -> Iterator[str]:
    yield from ("", f"## A {name}", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {states[0][0]}")
    for first, second, _ in transitions:
        yield f"    {first} --> {second}"
    yield from ("```", "", "| state | what it means |", "|---|---|")
    for state, meaning in states:
        yield f"| `{state}` | {meaning} |"
    yield from ("", "| from | to | when |", "|---|---|---|")
    for first, second, when in transitions:
        yield f"| `{first}` | `{second}` | {when} |"
