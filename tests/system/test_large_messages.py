"""Messages that must come whole: a length is believed when its bytes are there, which are touched once."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.health import worker_pids
from tests.support.pooler import Pooler
from tests.support.processes import cpu_s
from tests.support.wire import SYNC, Wire, message, parse, query

MEGABYTE = 1 << 20
SINGLE_BYTES = 60


def virtual_bytes(pid: int) -> int:
    found = re.search(r"^VmSize:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def ask(wire: Wire) -> None:
    """A round trip through the relay: what others sent before has been read."""
    wire.send(query("SELECT 1"))
    wire.expect("TDCZ")


def test_length_of_what_never_comes(make_pooler: Callable[..., Pooler]) -> None:
    """A Bind of 2 GB whose names do not end yet."""
    pooler = make_pooler(workers=1)
    worker = worker_pids(pooler)[0]
    with pooler.wire() as other:
        ask(other.login())
        before = virtual_bytes(worker)
        for kind in (b"B", b"P"):
            with pooler.wire() as wire:
                wire.login().send(kind + struct.pack("!I", 0x7FFFFFFF) + b"a" * 100)
                ask(other)
                assert virtual_bytes(worker) - before < 100 * MEGABYTE


def test_single_bytes_of_a_large_message(make_pooler: Callable[..., Pooler]) -> None:
    """Each costs what a byte costs, however many are there already; and the space is given back."""
    pooler = make_pooler(workers=1)
    worker = worker_pids(pooler)[0]
    with pooler.wire() as wire, pooler.wire() as other:
        wire.login()
        ask(other.login())
        before = virtual_bytes(worker)
        large = parse(f"SELECT 1 /* {'x' * 15 * MEGABYTE} */", "large")
        wire.send(large[:-SINGLE_BYTES])
        ask(other)
        spent = cpu_s(worker)
        for byte in large[-SINGLE_BYTES:]:
            wire.send(bytes([byte]))
            ask(other)
        assert cpu_s(worker) - spent < 0.005 * SINGLE_BYTES
        wire.send(message("C", b"Slarge\0") + SYNC)
        wire.expect("13Z")
        ask(other)
        assert virtual_bytes(worker) - before < 100 * MEGABYTE
