"""PgBouncer to measure beside: a program, or Debian's source package, compiled with -O2 in build/pgbouncer.

apt-get has package lists of its own there: the machine's sources stay as they are, and so do its packages but
for the headers of libevent and c-ares. Nothing of that source is a part of pooler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.install import BUILD, alone, need

HELP = (
    "PgBouncer's program, or suites of Debian (sid,forky,trixie): the first source package to be had is "
    "compiled with -O2 (as root: installs headers); default: POOLER_PGBOUNCER, else the one installed"
)

ROOT = BUILD / "pgbouncer"
MIRROR = "http://deb.debian.org/debian"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"

#: Debian's packages that are needed, with a file of each.
NEEDED = (
    ("dpkg-dev", "dpkg-source"),
    ("gcc", "cc"),
    ("make", "make"),
    ("pkg-config", "pkg-config"),
    ("libevent-dev", "/usr/include/event2/event.h"),
    ("libc-ares-dev", "/usr/include/ares.h"),
    ("libssl-dev", "/usr/include/openssl/ssl.h"),
)


def program(text: str) -> Path:
    """The program that the option names."""
    if "/" in text or shutil.which(text):
        path = shutil.which(text)
        if path is None:
            raise SystemExit(f"--pgbouncer: no program {text}")
        return Path(path).resolve()
    for suite in text.split(","):
        found = compiled(suite)
        if found:
            return found
    raise SystemExit(f"--pgbouncer: no source package to be had from {text}")


def compiled(suite: str) -> Path | None:
    """The program of a suite's source package, made once; None: the mirror does not have it."""
    directory = ROOT / suite
    path = directory / "source" / "pgbouncer"
    with alone(ROOT):
        if not (directory / "done").exists():
            shutil.rmtree(directory, ignore_errors=True)
            if not download(suite, directory):
                return None
            compile_source(directory)
            (directory / "done").touch()
    return path


def download(suite: str, directory: Path) -> bool:
    """Its .dsc and what that names."""
    (directory / "lists" / "partial").mkdir(parents=True)
    (directory / "cache" / "archives" / "partial").mkdir(parents=True)
    (directory / "sources.list").write_text(f"deb-src [signed-by={KEYS}] {MIRROR} {suite} main\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir::State "{directory}"; Dir::Cache "{directory}/cache";\n'
        'Dir::State::status "/var/lib/dpkg/status";\n'
        f'Dir::Etc::sourcelist "{directory}/sources.list"; Dir::Etc::sourceparts "-";\n'
        'APT::Sandbox::User "root";\n'
    )
    for words in (["update"], ["source", "--download-only", "pgbouncer"]):
        result = command(["apt-get", "-q", *words], directory, APT_CONFIG=str(configuration))
        if result.returncode:
            errors = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            print(f"{suite}: {errors[0] if errors else result.stderr[-300:]}", file=sys.stderr)
            return False
    return True


def compile_source(directory: Path) -> None:
    for package, file in NEEDED:
        need(package, file)
    (description,) = directory.glob("*.dsc")
    print(f"compiling {description.stem}", file=sys.stderr)
    source = directory / "source"
    for words, place in (
        (["dpkg-source", "-x", description.name, "source"], directory),
        (["./configure", "--quiet", "CFLAGS=-O2"], source),
        (["make", "-s", "pgbouncer"], source),
    ):
        result = command(words, place)
        if result.returncode:
            raise SystemExit(f"{' '.join(words)}:\n{(result.stdout + result.stderr)[-2000:]}")


def command(words: Sequence[str], directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run(list(words), cwd=directory, env=environment, capture_output=True, text=True)
