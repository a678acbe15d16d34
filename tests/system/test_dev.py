"""`pooler dev` as a user sees it: a URL that serves, a clean end on Ctrl-C, data that stays when asked to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from pooler.dev.processes import free_port
from tests.support.processes import descendants, wait_for

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(work: Path, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command and the URLs it printed."""
    command = [sys.executable, "-m", "pooler", "dev", "--workers", "2", *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(work)}  # a killed one leaves its directory behind
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = ""
    try:
        while line := process.stdout.readline():
            output += line
            if "Ctrl-C" in line:
                break
        yield process, re.findall(r"postgresql://\S+", output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


def ask(url: str, sql: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_serves_until_a_signal(work: Path, signum: signal.Signals) -> None:
    with running(work) as (process, urls):
        pooled, console, direct = urls
        assert ask(pooled, "SELECT 1") == [(1,)]
        assert ask(direct, "SELECT 1") == [(1,)]
        assert [row[0] for row in ask(console, "SHOW DATABASES")]
        family = descendants(process.pid)
        started = time.monotonic()
        process.send_signal(signum)
        assert process.wait(10) == 0
        assert time.monotonic() - started < 5
        wait_for(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 2, "the end of all processes"
        )


def test_ends_with_a_client_in_a_transaction(work: Path) -> None:
    with running(work) as (process, urls):
        connection = psycopg2.connect(urls[0])
        connection.cursor().execute("SELECT 1")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        connection.close()


def test_leaves_no_process_behind_when_killed(work: Path) -> None:
    with running(work) as (process, _):
        family = descendants(process.pid)
        process.kill()
        wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in family), 10, "the end of all")


def test_keeps_the_data(work: Path) -> None:
    home = work / "kept"
    with running(work, "--keep", home) as (_, urls):
        ask(urls[0], "CREATE TABLE remembered AS SELECT 42 AS number")
    with running(work, "--keep", home) as (_, urls):
        assert ask(urls[0], "SELECT number FROM remembered") == [(42,)]


def test_refuses_a_directory_of_others(work: Path) -> None:
    home = work / "theirs"
    home.mkdir()
    (home / "letter").write_text("dear all")
    with running(work, "--keep", home) as (process, urls):
        assert process.wait(10) == 1
        assert urls == []


def test_port_in_use(work: Path) -> None:
    with running(work, "--port", free_port()) as (_, urls):
        taken = re.findall(r":(\d+)/", urls[0])[0]
        with running(work, "--port", taken) as (second, none):
            assert second.wait(10) == 1
            assert none == []
