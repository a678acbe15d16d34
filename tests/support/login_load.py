"""Many logins by one thread of a compiled program, so that the client costs little beside the pooler.

The program (tests/support/logins) is compiled on first use, with -O2. It keeps the keys that SCRAM's PBKDF2
makes of a password; each login connects, runs `SELECT 1`, and leaves.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Pair
from tests.support.install import BUILD, alone, need, run

SOURCES = Path(__file__).with_name("logins")
COMPILER = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
LIBRARIES = ("-lcrypto",)

#: It ends by itself where nothing has been answered for half as long.
TIMEOUT_S = 60


@dataclass(frozen=True)
class Caller:
    """A user, and how it logs in."""

    user: str
    password: str = ""
    database: str = "p0"
    tls: bool = False
    certificate: Pair | None = None
    bound: bool = False  # SCRAM-SHA-256-PLUS or nothing

    def arguments(self) -> list[str]:
        words = ["--user", self.user, "--database", self.database, "--password", self.password]
        if self.certificate:
            words += ["--cert", str(self.certificate.cert), "--key", str(self.certificate.key)]
        return [*words, *["--tls"] * self.tls, *["--bound"] * self.bound]


@dataclass(frozen=True)
class Logins:
    """What the program tells; times are from the first system call for a socket to the first row."""

    logins: int
    began: float  # seconds since the epoch
    ended: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    derived: int  # how often PBKDF2 had to run
    methods: Mapping[str, int]  # how many logins were asked for what

    @property
    def per_s(self) -> float:
        return self.logins / (self.ended - self.began)


class LoginFailed(Exception):
    """The program has ended with an error: a login was refused, or answered in a way that no server has."""


def parse(output: str) -> Logins:
    """The program's line of JSON."""
    return Logins(**json.loads(output))


def program() -> Path:
    """The compiled program; compiled anew when a source has changed."""
    sources = sorted(SOURCES.iterdir())
    text = b"".join(path.read_bytes() for path in sources) + repr(COMPILER).encode()
    path = BUILD / "logins" / hashlib.sha256(text).hexdigest()[:12]
    with alone(BUILD / "logins"):
        if not path.exists():
            need("libssl-dev", "/usr/include/openssl/ssl.h", "/usr/local/include/openssl/ssl.h")
            made = path.with_suffix(".new")
            files = [str(source) for source in sources if source.suffix == ".c"]
            run([*COMPILER, "-o", str(made), *files, *LIBRARIES])
            made.rename(path)
    return path


def log_in(
    caller: Caller,
    host: str | Path,
    port: int,
    clients: int = 1,
    count: int | None = None,
    seconds: float | None = None,
    nice: int = 0,
) -> Logins:
    """So many logins, or for so long, by so many clients at a time. `host` may be a directory of sockets."""
    limit = ["--count", str(count)] if seconds is None else ["--seconds", str(seconds)]
    words = [str(program()), *caller.arguments(), "--clients", str(clients), *limit, str(host), str(port)]
    result = subprocess.run(
        ["nice", "-n", str(nice), *words], capture_output=True, text=True, timeout=TIMEOUT_S + (seconds or 0)
    )
    if result.returncode:
        raise LoginFailed(result.stderr.strip())
    return parse(result.stdout)
