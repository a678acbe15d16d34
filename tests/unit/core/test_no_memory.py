"""Where there is no memory for what the catalogs say, that is noticed: nothing of it counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.starving import Starving

#: Feeds names and bodies until the graph has grown twice, with one of its larger allocations that fails.
PROGRAM = """
import sys
from pathlib import Path
from pooler.core._core import CatalogGraph
from tests.support.starving import Starving

memory = Starving(Path(sys.argv[1]))
for number in range(1, 60):
    graph = CatalogGraph()
    memory.begin(number, thread="", least=4096)
    for oid in range(20000, 26000):
        text, number_of_it = f"SELECT a{oid}(), b{oid}()".encode(), str(oid).encode()
        graph.take(4, [number_of_it, b"1", number_of_it, b"f", f"f{oid}".encode(), b"sql ", b"", b" ", text])
    failed = memory.end()
    graph.effects("function", "f20001")
    assert graph.starved == (failed > 0), (number, failed)
    if not failed:
        print(number - 1)
        break
"""


def test_a_graph_is_whole_or_good_for_nothing(tmp_path: Path) -> None:
    memory = Starving(tmp_path)
    environment = {**os.environ, **memory.environment}
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    out = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout
    assert int(out) >= 8
