"""What strangers and operators write, read by the parsers in Python: an answer, or an error of ours.

`scripts/fuzz startup|login|hba|ini [SECONDS]` lets atheris look for bytes that reach new code;
`test_corpus.py` reads what it has found so far.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pooler.config.hba import read_hba, rules_from_wire, rules_to_wire
from pooler.config.ini import read_ini
from pooler.errors import ClientFault
from pooler.protocol import startup
from pooler.protocol.client_login import ClientPolicy, client_login
from tests.unit.protocol.driver import Driver

CORPUS = Path(__file__).parent / "corpus"
FILE_BYTES_MAX = 20_000


def read_startup(data: bytes) -> None:
    """A startup packet, and what it asks to be set."""
    with contextlib.suppress(ClientFault):
        packet = startup.parse(data)
        if isinstance(packet, startup.StartupPacket):
            startup.wanted_parameters(
                packet, ("IntervalStyle",), ("extra",), accept_unknown=bool(len(data) & 1)
            )
            startup.verbatim(packet, ("extra",))


def log_in(data: bytes) -> None:
    """A whole login: the first byte says by which method. Nobody gets in who does not know the secret."""
    methods = ("scram-sha-256", "md5", "plain", "any", "pam", "cert", "peer")
    method = methods[data[0] % len(methods)] if data else "any"
    policy = ClientPolicy(method, mock_secret=b"m", random=lambda count: b"R" * count)
    driver: Driver[object] = Driver(client_login(policy), {"me": "never sent by the fuzzer: 5b1d9c"})
    with contextlib.suppress(ClientFault):
        driver.feed(data[1:])
    is_in = driver.done and not isinstance(driver.result, startup.CancelRequest)
    assert not is_in or method == "any", "it got in without the secret"


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
    "startup": read_startup,
    "login": log_in,
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
