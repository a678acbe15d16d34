"""Ports of the tests and of `pooler dev`: a process has a block of them to itself, until it ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import socket
from pooler.dev.processes import PORTS_OF_A_PROCESS, free_port
port = free_port()
with socket.socket(socket.AF_UNIX) as other:
    try:
        other.bind(f"\\0pooler-dev-ports-{port - port % PORTS_OF_A_PROCESS}")
    except OSError:
        print("taken")
"""


def test_a_block_of_ports_is_kept_and_nothing_is_warned_of() -> None:
    command = [sys.executable, "-X", "dev", "-c", PROGRAM]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("taken\n", "")
