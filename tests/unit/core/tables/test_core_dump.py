"""What of the shared tables a core dump would hold."""

from __future__ import annotations

import itertools
from pathlib import Path

from pooler.core._core import PlayedTables


def test_tables_are_left_out_of_core_dumps() -> None:
    tables = PlayedTables(workers=1, slots=4, clients=8)
    address, *_ = tables._map()
    parts = Path("/proc/self/smaps").read_text().split("VmFlags:")
    (flags,) = [
        flags.split("\n", 1)[0].split()
        for part, flags in itertools.pairwise(parts)
        if f"\n{address:08x}-" in "\n" + part or f"\n{address:x}-" in "\n" + part
    ]
    assert "dd" in flags
