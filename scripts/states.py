"""The page of the state machines: for each a picture, its states, its transitions and when they are taken.

`scripts/reference` writes it; tests/unit/test_reference.py compares it with what would be written.
"""

from __future__ import annotations

from collections.abc import Iterator

from pooler.core import STATE_MACHINES, StateMachine


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
        "`pooler/core/io/state_machine.h` says how a machine is declared."
        " `scripts/reference` makes this page of the declarations; change it there."
    )
    for machine in STATE_MACHINES:
        yield from _machine(machine)


def _machine(machine: StateMachine) -> Iterator[str]:
    names = [name for name, _ in machine.states]
    yield from ("", f"## A {machine.name}", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {names[0]}")
    for first, second, _ in machine.transitions:
        yield f"    {first} --> {second}"
    yield from ("```", "", "| state | what it means |", "|---|---|")
    for name, meaning in machine.states:
        yield f"| `{name}` | {meaning} |"
    yield from ("", "| from | to | when |", "|---|---|---|")
    for first, second, when in machine.transitions:
        yield f"| `{first}` | `{second}` | {when} |"
