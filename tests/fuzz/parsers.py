"""What operators write, read by the parsers in Python: an answer, or an error of ours.

`scripts/fuzz hba|ini [SECONDS]` lets atheris look for bytes that reach new code; `test_corpus.py` reads what
it has found so far.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pooler.config.hba import read_hba, rules_from_wire, rules_to_wire
from pooler.config.ini import read_ini

CORPUS = Path(__file__).parent / "corpus"
FILE_BYTES_MAX = 20_000


def read_file(reader: Callable[[str], object]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            file.write(data[:FILE_BYTES_MAX])
            file.flush()
            reader(file.name)

    return read


def use_hba(path: str) -> None:
    """Rules of a file, looked up for clients, and over the wire to a worker and back."""
    rules, _ = read_hba(path, None)
    assert rules_from_wire(rules_to_wire(rules)) == rules


TARGETS: dict[str, Callable[[bytes], None]] = {
    "hba": read_file(use_hba),
    "ini": read_file(read_ini),
}


def main() -> None:
    import atheris

    target = sys.argv.pop(1)
    atheris.instrument_all()
    atheris.Setup(sys.argv, TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
