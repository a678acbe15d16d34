"""Programs in Java on Debian's JDBC driver."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.install import need

DRIVER = "/usr/share/java/postgresql.jar"


def compiled(source: Path, directory: Path) -> str:
    """Compiles one into the directory; the class path with it and the driver."""
    need("default-jdk-headless", "javac")
    need("libpostgresql-jdbc-java", DRIVER)
    subprocess.run(["javac", "-Werror", "-cp", DRIVER, "-d", directory, source], check=True, timeout=60)
    return os.pathsep.join([DRIVER, str(directory)])
