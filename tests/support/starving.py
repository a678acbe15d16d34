"""Allocations of a running pooler that fail, one after the other or all of them: tests/support/starve.c."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pooler.dev.program import Program
from tests.support.pooler import Pooler

SOURCE = Path(__file__).with_name("starve.c")
OFF, ONE, ALL = range(3)


class Starving:
    """What fails, by the file in a directory; `environment` is that of the program in which it does."""

    def __init__(self, directory: Path) -> None:
        library, path = directory / "starve.so", directory / "starve"
        if not library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
            path.write_bytes(bytes(mmap.PAGESIZE))
            path.chmod(0o666)  # it may run as somebody else
            library.chmod(0o755)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "POOLER_TEST_STARVE": str(path),
            "GLIBC_TUNABLES": "glibc.malloc.perturb=165",  # what is used though it was freed looks odd
        }
        with open(path, "r+b") as file:
            self._orders = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def begin(self, number: int = 0, thread: str = "relay", least: int = 0) -> None:
        """From now on one fails, or, 0, all do: of those of a thread, or of the core ("")."""
        self._orders[4:32] = struct.pack("<iiI16s", number, 0, least, thread.encode())
        self._orders[:4] = struct.pack("<i", ONE if number else ALL)

    @property
    def failed(self) -> int:
        """How many have failed since it began."""
        return int(struct.unpack_from("<i", self._orders, 8)[0])

    def end(self) -> int:
        """Nothing fails any more; how many did."""
        self._orders[:4] = struct.pack("<i", OFF)
        return self.failed


class StarvingPooler(Pooler):
    """pooler in which allocations fail when its `memory` says so."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        os.chmod(self.directory, 0o755)
        self.memory = Starving(self.directory)

    def command(self) -> Program:
        program = super().command()
        return Program(program.argv, {**program.env, **self.memory.environment})
