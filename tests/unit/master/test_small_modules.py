"""The master's small parts: loop, duplicates, notifier, budget, back-off."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.config import Config, Database, Settings
from pooler.errors import BootError
from pooler.master import capacity
from pooler.master.loop import READ, WRITE, Loop
from pooler.master.notify import Notifier
from pooler.master.server_fds import ServerFds
from pooler.master.worker import DEATHS, DEATHS_WINDOW_S, FIRST_PAUSE_S, LAST_PAUSE_S, Worker


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def a_file() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- loop


def test_timers_run_in_order_and_can_be_canceled(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(0.002, lambda: seen.append("later"))
    loop.after(0, lambda: seen.append("first"))
    loop.after(0, lambda: seen.append("second"))
    loop.after(0.001, lambda: seen.append("never")).cancel()
    while "later" not in seen:
        loop.run_once()
    assert seen == ["first", "second", "later"]


def test_watch_replace_and_unwatch(loop: Loop) -> None:
    seen: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.watch(ours.fileno(), lambda: seen.append("read"), READ)
        loop.run_once(0)
        assert seen == []
        theirs.send(b"x")
        loop.run_once()
        loop.watch(ours.fileno(), lambda: seen.append("write"), WRITE)
        loop.run_once()
        assert seen == ["read", "write"]
        loop.unwatch(ours.fileno())
        loop.unwatch(ours.fileno())
        loop.run_once(0)
        assert seen == ["read", "write"]


def test_a_callback_may_end_another_watch_of_the_same_turn(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called = []

    def end_the_other(me: int) -> None:
        called.append(me)
        loop.unwatch(pairs[1 - me][0].fileno())

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        loop.watch(ours.fileno(), lambda number=number: end_the_other(number))  # type: ignore[misc]
    loop.run_once()
    assert len(called) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_bug_does_not_end_the_loop(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    loop.after(0, lambda: 1 // 0)
    loop.after(0, lambda: seen.append("on it goes"))
    while not seen:
        loop.run_once()
    assert "ZeroDivisionError" in capfd.readouterr().err


# -- duplicates


def test_newer_replaces_older() -> None:
    held = ServerFds()
    old, new = a_file(), a_file()
    held.add(5, 1, old)
    held.add(5, 2, new)
    assert not is_open(old)
    late = a_file()
    held.add(5, 1, late)
    assert not is_open(late)
    assert held.fds == {5: (2, new)}
    held.drop(5, 1)
    held.drop(6, 1)
    assert is_open(new)
    held.drop(5, 3)
    assert not is_open(new)
    assert held.fds == {}


def test_generations_wrap() -> None:
    held = ServerFds()
    old, new = a_file(), a_file()
    held.add(0, 2**32 - 1, old)
    held.add(0, 0, new)
    assert held.fds == {0: (0, new)}
    held.drop(0, 2**32 - 1)
    assert is_open(new)
    held.close()
    assert not is_open(new)


# -- notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_service_manager_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    path = f"@pooler-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path[1:] if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        notifier = Notifier.from_environment()
        assert notifier.watchdog_s == 1.5
        notifier.ready()
        notifier.reloading()
        notifier.stopping()
        notifier.alive()
        heard = [manager.recv(1000).decode() for _ in range(4)]
    assert [heard[0], *heard[2:]] == ["READY=1", "STOPPING=1", "WATCHDOG=1"]
    word, _, stamp = heard[1].partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert 0 <= time.monotonic() - int(stamp) / 1e6 < 10


def test_no_service_manager(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    notifier = Notifier.from_environment()
    notifier.ready()
    assert notifier.watchdog_s == 0
    assert capfd.readouterr().err == ""


def test_watchdog_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier.from_environment().watchdog_s == 0


def test_a_manager_that_is_gone_is_no_trouble(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody")).ready()
    assert "cannot tell the service manager READY=1" in capfd.readouterr().err


# -- back-off


def test_a_killed_worker_is_replaced_at_once() -> None:
    worker = Worker(0)
    for n in range(DEATHS - 1):
        worker.deaths.append(float(n))
        assert worker.pause_s(float(n)) == 0


def test_failing_starts_back_off() -> None:
    worker = Worker(0)
    pauses = []
    for worker.failures in range(1, 40):
        pauses.append(worker.pause_s(0.0))
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LAST_PAUSE_S


def test_a_worker_that_dies_all_the_time_waits() -> None:
    worker = Worker(0)
    worker.deaths.extend(float(n) / 10 for n in range(DEATHS))
    assert worker.pause_s(DEATHS / 10) == LAST_PAUSE_S
    assert worker.pause_s(DEATHS_WINDOW_S + 1) == 0


# -- budget


def config_of(databases: int = 1, **settings: Any) -> Config:
    named = {f"d{n}": Database(f"d{n}") for n in range(databases)}
    return Config("p.ini", Settings(workers=2, **settings), named)


def test_enough_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    capacity.check_fds(config_of(max_client_conn=100), 1024)
    assert capfd.readouterr().err == ""


def test_maybe_too_few_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    capacity.check_fds(config_of(max_client_conn=1000), 1024)
    assert "limit of open files (1024) may be too low" in capfd.readouterr().err


def test_too_few_descriptors() -> None:
    with pytest.raises(BootError, match=r"too low for max_client_conn = 4000 with 2 workers: at least \d+"):
        capacity.check_fds(config_of(max_client_conn=4000), 1024)


def test_table_sizes() -> None:
    sizes = capacity.table_sizes(config_of(max_client_conn=100), 2**20)
    assert sizes["workers"] == 2
    assert sizes["clients"] > 200
    assert sizes["slots"] >= capacity.MIN_SLOTS
    many = capacity.table_sizes(config_of(5000, max_client_conn=10**7), 2**20)
    assert many["databases"] > 10_000
    assert many["clients"] <= capacity.MAX_CLIENTS
    assert many["slots"] <= capacity.MAX_SLOTS


def test_rows_are_fixed_at_the_start() -> None:
    sizes = capacity.table_sizes(config_of(max_client_conn=100), 4096)
    capacity.check_rows(config_of(max_client_conn=sizes["clients"]), sizes)
    with pytest.raises(BootError, match="needs a restart: there is room for"):
        capacity.check_rows(config_of(max_client_conn=sizes["clients"] + 1), sizes)


def test_slots_fit_the_descriptors() -> None:
    sizes = capacity.table_sizes(config_of(100, max_client_conn=1000), 1024)
    assert sizes["slots"] <= 1024 - 500 - capacity.RESERVE_FDS
