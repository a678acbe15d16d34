"""Looking at processes from outside: descendants, CPU time, memory, and waiting for a fact."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The process and all that descend from it, itself first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        current = todo.pop(0)
        found.append(current)
        todo += sorted(children.get(current, []))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds used by the process tree so far, to the nanosecond; those of ended children are lost."""
    total_ns = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                total_ns += int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()[0])
    return total_ns / 1e9


def pss_kb(pid: int) -> int:
    """Memory of the process tree, shared pages divided among those that share them."""
    total = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            if match := re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE):
                total += int(match[1])
    return total


def open_descriptors(pid: int) -> dict[int, str]:
    """What the descriptors of a process point to."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def stop_process(pid: int) -> None:
    """Stops it, and returns when each of its threads stands."""
    os.kill(pid, signal.SIGSTOP)

    def stands(thread: str) -> bool:
        stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] == "T"

    wait_for(lambda: all(map(stands, os.listdir(f"/proc/{pid}/task"))), 5, f"process {pid} to stop")


#: Timeouts are those of a quiet machine; where the tests run they are so many times as long, but no longer
#: than fits into the time of a test.
PATIENCE, PATIENCE_MAX_S = 1, 8.0


def readable(fd: int, timeout_s: float) -> bool:
    """Whether there is something to read within that time; also of descriptors above select()'s 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def wait_for(fact: Callable[[], object], timeout_s: float = 10, what: str = "") -> None:
    """Waits until `fact()` is true; an AssertionError that names it after PATIENCE times the timeout."""
    patience_s = max(timeout_s, min(timeout_s * PATIENCE, PATIENCE_MAX_S))
    deadline = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what or fact}"
        time.sleep(0.01)
