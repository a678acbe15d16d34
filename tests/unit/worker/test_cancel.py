"""Cancel requests of strangers: how much one worker does for them."""

from __future__ import annotations

from dataclasses import replace

import gevent
import pytest

from pooler.ipc.messages import CancelElsewhere
from pooler.protocol.startup import CancelRequest
from pooler.worker import cancel
from tests.unit.worker.test_worker import Scene, scene

__all__ = ["scene"]


def told(scene: Scene) -> int:
    """Requests that the master has heard of."""
    gevent.sleep(0.01)
    return sum(isinstance(message, CancelElsewhere) for message in scene.heard())


def test_keys_that_nobody_has_are_told_the_master_now_and_then(scene: Scene) -> None:
    for number in range(5 * cancel.ELSEWHERE_PER_S):
        cancel.serve(scene.worker.context, CancelRequest(number + 1, b"1234"))
    assert cancel.ELSEWHERE_PER_S <= told(scene) < 3 * cancel.ELSEWHERE_PER_S


def test_a_key_that_is_too_long_is_not_told(scene: Scene) -> None:
    cancel.serve(scene.worker.context, CancelRequest(1, bytes(5000)))
    cancel.serve(scene.worker.context, CancelRequest(2, b"1234"))
    assert told(scene) == 1


def test_so_many_are_served_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "_serve", lambda *_: gevent.sleep(60) or "")
    busy = [
        gevent.spawn(cancel.serve, scene.worker.context, CancelRequest(number, b"1234"))
        for number in range(cancel.SERVED_MAX)
    ]
    scene.until(lambda: scene.worker.context.cancels.served == cancel.SERVED_MAX, "all of them")
    assert cancel.serve(scene.worker.context, CancelRequest(1, b"1234")) == "too many cancel requests"
    gevent.killall(busy)
    monkeypatch.undo()
    assert cancel.serve(scene.worker.context, CancelRequest(1, b"1234")) == "failed cancel request"


@pytest.mark.parametrize("peer_id", [0, 1], ids=["client", "peer"])
def test_those_for_one_leave_space_for_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, peer_id: int
) -> None:
    """A client whose PostgreSQL hangs, or a peer that does, takes a part of what a worker serves at once."""
    context = scene.worker.context
    context.config = replace(context.config, settings=replace(context.config.settings, peer_id=peer_id))
    monkeypatch.setattr(cancel, "_serve", lambda *_: gevent.sleep(60) or "")
    hung, other = 0x01020001, 0x01030001  # of peers 2 and 3
    busy = [
        gevent.spawn(cancel.serve, context, CancelRequest(hung + (number if peer_id else 0), b"1234"))
        for number in range(cancel.SERVED_MAX)
    ]
    refused = cancel.SERVED_MAX - cancel.SERVED_EACH_MAX
    scene.until(lambda: sum(one.ready() for one in busy) == refused, "all of them")
    assert context.cancels.served == cancel.SERVED_EACH_MAX
    assert cancel.serve(context, CancelRequest(hung, b"1234")) == "too many cancel requests"
    monkeypatch.undo()
    assert cancel.serve(context, CancelRequest(other, b"1234")) != "too many cancel requests"
    gevent.killall(busy)
    assert cancel.serve(context, CancelRequest(hung, b"1234")) != "too many cancel requests"
    assert context.cancels.served == 0


def test_those_for_one_instance_leave_space_for_others() -> None:
    """Many clients of a PostgreSQL that hangs take all places, and each other has its own still."""
    allowance = cancel.Allowance()
    for number in range(2 * cancel.SERVED_MAX):
        assert allowance.begin(number, ("instance", 1)) is (number < cancel.SERVED_MAX)
    others: tuple[cancel.Place, ...] = (("instance", 2), ("peer", 1))
    for place in others:
        for number in range(2 * cancel.SERVED_EACH_MAX):
            assert allowance.begin(cancel.SERVED_MAX + number, place) is (number < cancel.SERVED_EACH_MAX)
    for number in range(cancel.SERVED_MAX):
        allowance.end(number, ("instance", 1))
    assert allowance.begin(1000, ("instance", 1))
