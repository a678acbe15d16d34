"""Makes the script of a fault smaller: one client still hears something else than the model says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.protocol.model.drive import check, said
from tests.protocol.model.model import Backend, Op
from tests.protocol.model.pieces import Order
from tests.support.wire import EndOfStream, Wire

Pipelines = list[list[Op]]
T = TypeVar("T")


def fails(connect: Callable[[], Wire], pooler: bool, pipelines: Pipelines) -> bool:
    """Whether one client hears something else; each pipeline is one write, and awaited."""
    model = Backend("alone")
    order = Order(model)
    heard: list[str] = []
    with connect() as wire:
        wire.socket.settimeout(1)
        try:
            for pipeline in pipelines:
                data = b""
                for op in [*pipeline, Op("S")]:
                    data += b"".join(sent.data(model.mark) for sent in order.take(op))
                wire.send(data)
                while len(heard) < len(model.said):
                    if (what := said(wire.receive())) is not None:
                        heard.append(what)
                if heard != model.said:
                    check(heard, model, pooler)
                    return False  # the rest has no meaning
        except (EndOfStream, OSError):
            try:
                check(heard, model, pooler)
            except AssertionError:
                return True
            return False
        except AssertionError:
            return True
    return False


def smaller(pipelines: Pipelines, still_fails: Callable[[Pipelines], bool]) -> Pipelines:
    """Without all that can be left out."""
    pipelines = _without(pipelines, still_fails)
    flat: Pipelines = [[op for pipeline in pipelines for op in pipeline]]
    if still_fails(flat):
        pipelines = flat
    before: Pipelines = []
    while before != pipelines:
        before = pipelines
        for place in range(len(pipelines)):
            pipelines = _smaller_at(place, pipelines, still_fails)
        pipelines = _without(pipelines, still_fails)
    return pipelines


def _smaller_at(place: int, pipelines: Pipelines, still_fails: Callable[[Pipelines], bool]) -> Pipelines:
    def with_ops(ops: list[Op]) -> Pipelines:
        return [*pipelines[:place], ops, *pipelines[place + 1 :]]

    return with_ops(_without(pipelines[place], lambda ops: still_fails(with_ops(ops))))


def _without(items: Sequence[T], still_fails: Callable[[list[T]], bool]) -> list[T]:
    kept = list(items)
    size = max(1, len(kept) // 2)
    while True:
        at = len(kept) - size
        while at > -size:
            tried = [*kept[: max(at, 0)], *kept[at + size :]]
            if len(tried) < len(kept) and still_fails(tried):
                kept = tried
            at -= size
        if size == 1:
            return kept
        size //= 2
