"""How much one connection may do in one turn: what its messages cost counts, not their bytes alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fakeserver import READY, parameter
from tests.support.wire import FLUSH, message, query
from tests.unit.core.stage import Stage

MOST = 256  # messages that are looked into
ROW = message("D", 0)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def test_messages_of_a_client(stage: Stage) -> None:
    sent = FLUSH * 1000
    used = [stage.scene.client_says(sent)]
    while sum(used) < len(sent):
        used.append(stage.scene.client_says(sent[sum(used) :]))
    assert used == [MOST * len(FLUSH)] * 3 + [(1000 - 3 * MOST) * len(FLUSH)]
    assert stage.server_hears() == sent


def test_copy_data_is_passed_on(stage: Stage) -> None:
    sent = message("d", b"1\n") * 4000
    assert stage.scene.client_says(query("COPY t FROM STDIN")) == len(query("COPY t FROM STDIN"))
    assert stage.scene.server_says(message("G", b"\0\0\0")) == 8
    assert stage.scene.client_says(sent) == len(sent)


@pytest.mark.parametrize(
    ("one", "most"),
    [(parameter("TimeZone", "a") + parameter("TimeZone", "b"), 8), (message("C", "SELECT 1"), MOST)],
    ids=["parameters", "tags"],
)
def test_messages_of_a_server(stage: Stage, one: bytes, most: int) -> None:
    stage.client_says(query("SELECT 1"))
    sent = one * 1000 + READY
    used = [stage.scene.server_says(sent)]
    while sum(used) < len(sent):
        used.append(stage.scene.server_says(sent[sum(used) :]))
        assert used[-1], "it does not go on"
    assert used[0] == most * len(one)
    assert stage.client_hears() == sent


def test_rows_are_passed_on(stage: Stage) -> None:
    stage.client_says(query("SELECT 1"))
    assert stage.scene.server_says(ROW * 4000) == len(ROW) * 4000
