"""What programs in other languages need: Debian's packages and npm's, installed where they are missing.

As root on Debian and Ubuntu by apt-get; elsewhere the test fails and says what to install.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Ignored by git, kept between runs.
BUILD = Path(__file__).resolve().parents[2] / "build"

#: Held while Debian's packages are installed, by the tests of every clone on the machine.
DEBIAN = Path("/run/lock/pooler-tests")

TIMEOUT_S = 300


def need(package: str, *there: str) -> None:
    """Installs Debian's package unless one of the programs or files is there."""

    def found() -> bool:
        return any(Path(name).exists() if "/" in name else shutil.which(name) for name in there)

    if found():
        return
    hint = f"missing: {there[0]}. On Debian or Ubuntu: sudo apt-get install {package}"
    assert os.geteuid() == 0, hint
    assert shutil.which("apt-get"), hint
    with alone(DEBIAN):  # apt-get waits for dpkg's lock, not for that of the package lists
        if not found():
            _apt_get("update")
            _apt_get("install", "-y", "--no-install-recommends", package)


def _apt_get(*arguments: str) -> None:
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(command, env=environment)


def npm_packages(manifest: Path) -> Path:
    """The node_modules of a package.json, made once for each text of it."""
    text = manifest.read_text()
    directory = BUILD / "node" / hashlib.sha256(text.encode()).hexdigest()[:12]
    modules = directory / "node_modules"
    with alone(BUILD / "node"):
        if not (directory / "done").exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            (directory / "package.json").write_text(text)
            run(
                ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"],
                cwd=directory,
            )
            (directory / "done").touch()
    return modules


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Two runs of the tests at once install one after the other."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: list[str], **keywords: object) -> None:
    result = subprocess.run(  # type: ignore[call-overload]
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S, **keywords
    )
    assert result.returncode == 0, f"{' '.join(command)}:\n{result.stdout[-2000:]}"


def python_package(name: str, module: str, *headers: tuple[str, str]) -> None:
    """Installs a package of Python that is an extra of pooler and has to be compiled.

    `headers`: Debian's packages that its compilation needs, each with a file of it.
    """
    if importlib.util.find_spec(module) is not None:
        return
    for package, file in headers:
        need(package, file)
    with alone(BUILD / "pip"):
        if importlib.util.find_spec(module) is None:
            run([sys.executable, "-m", "pip", "install", "-q", name])
            importlib.invalidate_caches()
