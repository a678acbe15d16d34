"""A newcomer's first hour: the commands of README and of the quickstart, as they stand there.

They run in their order, in a copy of the project, as an account that is not root, with a PostgreSQL that asks
for passwords. What is not so on a machine of one's own: the folders below / are below a folder of the test,
the ports are free ones, and a password comes from the environment. What only root may do is left out as the
quickstart says, and named here; all other commands have to end with 0.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER, THROW_AWAY, Cluster, reachable_programs
from pooler.dev.processes import Account, free_port, make_directory
from tests.support.install import need
from tests.support.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
README, QUICKSTART = ROOT / "README.md", ROOT / "docs" / "quickstart.md"

PASSWORDS = {"shop": "of the shop", SUPERUSER: "of all"}

#: Programs that only root runs.
ROOTS = ("apt-get", "useradd", "systemctl")
#: What only root may add to a command: owners of files, other accounts.
ROOTS_WORDS = re.compile(r" -o \w+ -g \w+| -u pooler\b|^runuser -u postgres -- ")
#: Runs this test, among others.
ALL_TESTS = "scripts/test"

#: Run until they are told to end; what tells that they serve.
SERVING = {"scripts/dev": "Ctrl-C", "/opt/pooler/bin/pooler -u pooler /etc/pooler/pooler.ini": "process up"}

FOLDERS = re.compile(r"(?<![\w.])/(?:opt/pooler|etc/pooler|run/pooler|etc/systemd/system)\b")

#: A compilation, and packages from the network.
COMMAND_S = 400
SERVES_S = 400

NO_COPIES = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "build",
    "bench",
    ".suites",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "*.so",
    "*.egg-info",
)


@dataclass(frozen=True)
class Block:
    """A piece of code in a document."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line] if self.language == "sh" else []


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*one) for one in found]


def commands(document: Path) -> list[str]:
    return [command for block in blocks(document) for command in block.commands]


class Machine:
    """A copy of the project, folders in the place of /opt, /etc and /run, and a PostgreSQL."""

    def __init__(self, owner: Account, home: Path, programs: Path, cluster: Cluster) -> None:
        self.owner = owner
        self.home = home
        self.project = home / "pooler"
        self.cluster = cluster
        self.port = free_port()
        self.environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "POOLER"))
            },
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "PGHOST": cluster.host,
            "PGPORT": str(cluster.port),
            "PGUSER": SUPERUSER,
            "POOLER_OPTIMIZATION": "-O0",  # it is compiled twice
        }

    def here(self, text: str) -> str:
        """A command or a file, for this account, with this machine's folders and ports."""
        text = ROOTS_WORDS.sub("", text)
        text = FOLDERS.sub(lambda found: f"{self.home}{found[0]}", text)
        return text.replace("-p 6432", f"-p {self.port}").replace("port=5432", f"port={self.cluster.port}")

    def _variables(self, command: str) -> dict[str, str]:
        user = re.search(r" -U (\w+)", command)
        return {**self.environment, "PGPASSWORD": PASSWORDS[user[1] if user else SUPERUSER]}

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.project,
            env=self._variables(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            **self.owner.identity(),
        )
        output = str(done.stdout)
        assert done.returncode == 0, f"{command}\n{output[-3000:]}"
        return output

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """Runs a command that goes on; what it has said when it serves. It has to end well on Ctrl-C."""
        output = self.home / "output"
        with open(output, "w") as file:
            process = self._start(command, file)
        try:
            deadline = time.monotonic() + SERVES_S
            while SERVING[command] not in (said := output.read_text()):
                assert process.poll() is None, said[-3000:]
                assert time.monotonic() < deadline, said[-3000:]
                time.sleep(0.1)
            yield said
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, output.read_text()[-3000:]
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(self, command: str, output: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            **self.owner.identity(),
        )

    def write(self, text: str) -> None:
        """A configuration of a document goes to the file that its first line names."""
        name = re.match(r"; (/\S+)\n", text)
        assert name, text
        path = Path(self.here(name[1]))
        path.write_text(self.here(f"{text}listen_port = {self.port}\n"))
        self.owner.give(path)


@pytest.fixture
def machine(owner: Account, work: Path) -> Iterator[Machine]:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('python3.%d' % sys.version_info[1])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    need(
        "python3-venv",
        f"/usr/lib/{version}/ensurepip/_bundled",
        f"/usr/lib/{version}/ensurepip/_uninstall.py",
    )
    need("python3-dev", f"/usr/include/{version}/Python.h")
    home = make_directory(work / "first", owner, 0o755)
    for folder in ("opt", "etc", "run", "etc/systemd", "etc/systemd/system"):
        make_directory(home / folder, owner, 0o755)
    shutil.copytree(ROOT, home / "pooler", ignore=NO_COPIES)
    for path in (home / "pooler", *(home / "pooler").rglob("*")):
        owner.give(path)
    sockets = make_directory(home / "s", owner)
    cluster = Cluster(
        reachable_programs(owner, home), owner, home / "pg", sockets,
        password=PASSWORDS[SUPERUSER], settings=THROW_AWAY,
    )  # fmt: skip
    cluster.create()
    cluster.start()
    yield Machine(owner, home, cluster.programs, cluster)
    cluster.stop()


def make_shop(cluster: Cluster) -> None:
    """The database that the smallest configuration serves, and its user."""
    connection = psycopg2.connect(cluster.dsn(dbname="postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE shop LOGIN PASSWORD %s", (PASSWORDS["shop"],))
        cursor.execute("CREATE DATABASE shop OWNER shop")
    connection.close()


def test_commands_of_readme_are_those_of_the_quickstart() -> None:
    """So that the test below has run them, too."""
    named = commands(README)
    assert len(named) >= 5
    assert set(named) - set(commands(QUICKSTART)) == {ALL_TESTS}
    assert os.access(ROOT / ALL_TESTS, os.X_OK)


def test_configurations_are_the_same() -> None:
    first, second = (
        [block for block in blocks(document) if block.language == "ini"] for document in (README, QUICKSTART)
    )
    assert first == second
    assert len(first) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_quickstart(machine: Machine) -> None:
    make_shop(machine.cluster)
    outputs: dict[str, str] = {}
    machine.run("mkdir -p /run/pooler")  # there the unit makes it
    with ExitStack() as running:
        for block in blocks(QUICKSTART):
            if block.language == "ini":
                machine.write(block.text)
            for command in block.commands:
                if command == "scripts/dev":
                    with machine.serving(command) as outputs[command]:
                        pass
                elif command in SERVING:
                    outputs[command] = running.enter_context(machine.serving(command))
                elif shlex.split(command)[0] not in ROOTS:
                    outputs[command] = machine.run(command)
        answers = {command.rpartition(" -c ")[2].strip("'"): text for command, text in outputs.items()}
        assert "Unsafe" not in outputs["/opt/pooler/bin/pooler check /etc/pooler/pooler.ini"]
        assert "(1 row)" in answers["SELECT 1"]
        assert re.search(r"^ *shop +\| shop ", answers["SHOW POOLS"], re.MULTILINE)
        assert "pool_mode" in answers["SHOW CONFIG"]
        assert answers["RELOAD"] == "RELOAD\n"
        assert "postgresql://" in outputs["scripts/dev"]
        assert backends(machine.cluster) == 1
    wait_for(lambda: not backends(machine.cluster), 10, "the end of pooler's connections")


def backends(cluster: Cluster) -> int:
    connection = psycopg2.connect(cluster.dsn(dbname="postgres"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")
        (row,) = cursor.fetchall()
    connection.close()
    return int(row[0])
