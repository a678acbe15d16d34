"""Processes and their cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.processes import descendants


@contextmanager
def on_one_core(chosen: Sequence[int], others: Sequence[int]) -> Iterator[None]:
    """Process trees on one core, and the others on those that are left, where there are any."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    for pid in others:
        _place(pid, cores - {core} or cores)
    for pid in chosen:
        _place(pid, {core})
    yield
    for pid in (*others, *chosen):
        _place(pid, cores)


def _place(pid: int, cores: set[int]) -> None:
    for process in descendants(pid):
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setaffinity(int(thread), cores)
