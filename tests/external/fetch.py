"""Brings the foreign suites here: a Python environment for them, source distributions, a Debian source, packages of npm.

All of it goes through the registries' ordinary clients (pip, apt-get, npm) into one directory, and is kept there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

#: Debian's description of its own registry; the source packages are in the same place as the binary ones.
APT_LISTS = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))

DOWNLOAD_S = 900


class FetchError(Exception):
    """A suite is not to be had here; the text says why."""


def call(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Output of a command; a FetchError with the end of it if it fails."""
    try:
        result = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{command[0]}: {error}") from error
    if result.returncode:
        raise FetchError(f"{' '.join(map(str, command))} failed:\n{result.stdout[-1500:]}")
    return result.stdout


class Cache:
    """The directory where everything stays."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.python = directory / "venv/bin/python"
        (directory / "sources").mkdir(parents=True, exist_ok=True)

    def install(self, requirements: Iterable[str]) -> None:
        """The suites' Python environment with at least these in it."""
        wanted = sorted(set(requirements))
        stamp = self.directory / "venv/.installed"
        have = set(stamp.read_text().split("\n")) if stamp.exists() else set()
        if have.issuperset(wanted):
            return
        if not self.python.exists():
            call(sys.executable, "-m", "venv", self.directory / "venv")
        call(self.python, "-m", "pip", "install", "-q", *wanted)
        stamp.write_text("\n".join(sorted(have.union(wanted))))

    def sdist(self, name: str, version: str) -> Path:
        """The unpacked source distribution of a package of PyPI."""
        target = self.directory / "sources" / f"{name}-{version}"
        if not target.exists():
            partial = self._partial(target)
            pip: list[str | Path] = [
                self.python,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                ":all:",
            ]
            call(*pip, "-d", partial, f"{name}=={version}")
            (archive,) = partial.glob("*.tar.gz")
            call("tar", "xf", archive, cwd=partial)  # Python before 3.11.4 has no safe way of its own
            (inner,) = (path for path in partial.iterdir() if path.is_dir())
            inner.rename(target)
            shutil.rmtree(partial)
        return target

    def debian(self, name: str, version: str, *folders: str) -> Path:
        """Folders of a Debian source package's upstream tree, of just this version."""
        target = self.directory / "sources" / f"{name}-{version.replace(':', '_')}"
        if not target.exists():
            partial = self._partial(target)
            apt = self._apt(partial)
            call("apt-get", *apt, "update")
            call("apt-get", *apt, "source", "--download-only", f"{name}={version}", cwd=partial)
            (archive,) = partial.glob("*.orig.tar.*")
            wildcards = [f"*/{folder}/*" for folder in folders]
            call("tar", "xf", archive, "--strip-components=1", "--wildcards", *wildcards, cwd=partial)
            archive.unlink()
            partial.rename(target)
        return target

    def _apt(self, directory: Path) -> list[str]:
        """Options that let apt-get see source packages and keep what it learns to itself."""
        found = [path for path in APT_LISTS if path.exists()]
        if not found or not shutil.which("apt-get"):
            raise FetchError("only Debian's apt-get brings this suite")
        text = found[0].read_text()
        sources = directory / ("sources" + found[0].suffix)
        sources.write_text(re.sub(r"^(Types:\s*)?deb\b", r"\1deb-src", text, flags=re.MULTILINE))
        lists = directory / "lists"
        (lists / "partial").mkdir(parents=True)
        settings = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null"}
        settings |= {"Dir::State::lists": lists, "Dir::Cache": directory / "cache"}
        return ["-q", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]

    def npm(self, *packages: str) -> Path:
        """A directory with these packages, as name@version, in its node_modules."""
        target = self.directory / "sources" / "npm"
        stamp = target / ".installed"
        wanted = " ".join(packages)
        if not stamp.exists() or stamp.read_text() != wanted:
            target.mkdir(exist_ok=True)
            (target / "package.json").write_text('{"private": true}\n')
            call("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages, cwd=target)
            stamp.write_text(wanted)
        return target

    def _partial(self, target: Path) -> Path:
        """An empty directory that becomes the target when it is complete."""
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        return partial
