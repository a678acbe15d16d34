"""A dial: its states, what may follow, and that nothing else does."""

from __future__ import annotations

import itertools

import pytest

from pooler.worker.dial import TRANSITIONS, Dial, DialState

ENDS = {DialState.HANDED_OVER, DialState.FREED}


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    reached, ending = {DialState.CONNECTING}, set(ENDS)
    for _ in DialState:
        reached |= {second for first, second in TRANSITIONS if first in reached}
        ending |= {first for first, second in TRANSITIONS if second in ending}
    assert reached == ending == set(DialState)
    assert not [first for first, _ in TRANSITIONS if first in ENDS]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(DialState, repeat=2)))
def test_only_what_the_table_has_follows(first: DialState, second: DialState) -> None:
    dial = Dial(1, 2, first)
    if (first, second) in TRANSITIONS:
        dial.move(second)
        assert dial.state is second
    else:
        with pytest.raises(AssertionError, match="illegal transition of a dial"):
            dial.move(second)
        assert dial.state is first


def test_a_connection_is_what_postgresql_has_to_let_go_of() -> None:
    connected = {state for state in DialState if Dial(1, 2, state).is_connected}
    assert connected == {first for first, second in TRANSITIONS if second is DialState.LETTING_GO}
