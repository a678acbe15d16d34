"""Processes stopped, killed and starved: silent workers, a dead master, no descriptors, a stuck log."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pooler.dev.processes import Account
from pooler.dev.program import Program
from tests.support.health import (
    assert_consistent,
    assert_no_bugs,
    descriptor_counts,
    in_group,
    kill_worker,
    process_alive,
    restarts,
    wait_for_descriptors,
    wait_for_replacement,
    wait_until_empty,
    wait_until_slots_work,
    worker_pids,
)
from tests.support.pooler import Bouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import descendants, stop_process, wait_for
from tests.support.storm import Storm
from tests.support.wire import Wire, query
from tests.system.conftest import Witnesses

MakePooler = Callable[..., Pooler]
MakeBouncer = Callable[..., Bouncer]


def core_limits(pooler: Pooler) -> set[str]:
    """Soft and hard limit of a core dump, of the master and of each worker."""
    pids = [pooler.pid, *worker_pids(pooler).values()]
    assert len(pids) == 3
    found = set()
    for pid in pids:
        match = re.search(r"^Max core file size +(\S+ +\S+)", Path(f"/proc/{pid}/limits").read_text(), re.M)
        assert match
        found.add(" ".join(match[1].split()))
    return found


def test_nothing_of_it_is_dumped(make_pooler: MakePooler) -> None:
    """Neither master nor workers may leave a core dump, which has passwords and keys; unless told to."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("core dumps are forbidden to all of us")
    pooler = make_pooler(workers=2)
    assert core_limits(pooler) == {"0 0"}
    killed = kill_worker(pooler, 0)
    wait_for_replacement(pooler, 0, of=killed)
    assert core_limits(pooler) == {"0 0"}
    allowed = make_pooler(workers=2, core_dumps=1)
    assert not any(limits.endswith(" 0") for limits in core_limits(allowed))


def test_stopped_worker_is_killed_and_replaced(make_pooler: MakePooler, pg: Postgres) -> None:
    """Its clients break after worker_timeout; the others, and the console, do not even wait for that."""
    pooler = make_pooler(workers=3, worker_timeout=2, databases={"p0": "pool_size=3", "p1": ""})
    others = Witnesses(pooler)
    victims = [wire for wire in others.wires if _worker_of(pooler, wire) == 1]
    for wire in victims:
        others.wires.remove(wire)
    stopped = kill_worker(pooler, 1, signal.SIGSTOP)
    started = time.monotonic()
    while time.monotonic() - started < 1:
        for wire in others.wires:
            assert wire.rows("SELECT 42") == [[b"42"]]
    wait_for_replacement(pooler, 1, of=stopped, timeout_s=8)
    assert time.monotonic() - started > 1.5, "killed too early"
    for wire in victims:
        wire.expect_closed()
        wire.close()
    for wire in others.wires:
        assert wire.rows("SELECT 42") == [[b"42"]]
    others.close()
    wait_until_slots_work(pooler, 3)
    assert_consistent(pooler, pg)
    assert not process_alive(stopped)


def _worker_of(pooler: Pooler, wire: Wire) -> int:
    (row,) = pooler.show("clients", port=wire.socket.getsockname()[1])
    number: int = row["worker"]
    return number


def test_stopped_only_worker(make_pooler: MakePooler) -> None:
    """Nobody is left to serve until it is replaced; then everything is as before."""
    pooler = make_pooler(workers=1, worker_timeout=1)
    kill_worker(pooler, 0, signal.SIGSTOP)
    wait_for(lambda: _serves(pooler), 10, "service after the replacement")
    assert restarts(pooler) == 1


def test_briefly_stopped_worker_is_not_killed(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=2, worker_timeout=20)
    with pooler.wire() as wire:
        pid = worker_pids(pooler)[_worker_of(pooler, wire.login())]
        for _ in range(5):
            stop_process(pid)
            wire.send(query("SELECT 1"))
            wire.expect_silence(0.05)
            os.kill(pid, signal.SIGCONT)
            wire.expect("TDCZ")
    assert restarts(pooler) == 0


def _serves(pooler: Pooler) -> bool:
    try:
        with pooler.wire(timeout_s=2) as wire:
            return wire.login().rows("SELECT 1") == [[b"1"]]
    except Exception:
        return False


def test_killed_master_leaves_nothing(make_pooler: MakePooler, pg: Postgres) -> None:
    """Workers end by themselves, backends go, the port is free for the next start."""
    pooler = make_pooler(workers=3)
    family = descendants(pooler.pid)
    group = os.getpgid(pooler.pid)
    with pooler.wire() as idle, pooler.wire() as busy:
        idle.login()
        busy.login().rows("BEGIN")
        os.kill(pooler.pid, signal.SIGKILL)
        pooler.wait()
        assert busy.rows("SELECT 1") == [[b"1"]], "a transaction may end"
        busy.query("COMMIT")
        wait_for(lambda: not any(map(process_alive, family)), 10, f"the end of {family}")
    assert not in_group(group)
    wait_for(lambda: not pg.backends(), 5, "the end of all backends")
    pooler.start()
    assert pooler.sql("SELECT 1") == [(1,)]


def test_signals_to_workers_do_no_harm(make_pooler: MakePooler) -> None:
    """A terminal sends Ctrl-C to all of the group, kill -HUP may go to the wrong process."""
    pooler = make_pooler(workers=2)
    with pooler.wire() as wire:
        wire.login()
        for pid in worker_pids(pooler).values():
            for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(pid, signum)
        assert wire.rows("SELECT 1") == [[b"1"]]
    assert restarts(pooler) == 0


BROKEN = {
    "unknown setting": "no_such_setting = 1\n",
    "bad value": "default_pool_size = many\n",
    "no section": "[nonsense\n",
    "bad database": "[databases]\np9 = host=\n= = =\n",
    "missing userlist": "auth_file = /nonexistent/userlist.txt\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_reload_of_broken_file_changes_nothing(make_pooler: MakePooler, name: str) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=2"})
    config = pooler.show("config")
    with Storm((pooler.host, pooler.port), 10) as storm:
        storm.wait_until_complete()
        good = pooler.ini.read_text()
        pooler.ini.write_text(good.replace("pool_size=2", "pool_size=7") + BROKEN[name])
        with pooler.expect_log(r"ERROR .*pooler\.ini:\d+|ERROR .*userlist"):
            pooler.signal(signal.SIGHUP)
        with pytest.raises(Exception, match=r"(?s)."):
            pooler.console("RELOAD")
        storm.wait_for_answers(50)
        assert pooler.show("config") == config
        assert pooler.pool()["pool_size"] == 2
        pooler.ini.write_text(good.replace("pool_size=2", "pool_size=3"))
        pooler.reload()
        assert pooler.pool()["pool_size"] == 3
    assert (storm.breaks, dict(storm.errors), restarts(pooler)) == ([], {}, 0)
    assert_no_bugs(pooler)


def test_storm_of_reloads_under_load(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=3"})
    with Storm((pooler.host, pooler.port), 20) as storm:
        storm.wait_until_complete()
        for number in range(150):
            if number % 30 == 0:
                pooler.databases["p0"] = f"pool_size={3 + number // 30 % 2}"
                pooler.write_config()
            pooler.signal(signal.SIGHUP)
            storm.wait_for_answers(1)
        pooler.reload()
    assert (storm.breaks, dict(storm.errors), restarts(pooler)) == ([], {}, 0)
    assert_consistent(pooler, pg)


class Starved(Pooler):
    """A pooler whose processes may open few files, and cannot raise that."""

    files = 180

    def command(self) -> Program:
        program = super().command()
        limited = ("/bin/sh", "-c", f'ulimit -n {self.files}; exec "$@"', "sh")
        return Program((*limited, *program.argv), program.env)


def test_workers_run_out_of_descriptors(make_bouncer: MakeBouncer, pg: Postgres) -> None:
    """More sockets than descriptors: those inside are served, the rest is turned away, nothing leaks."""
    pooler = make_bouncer(
        Starved, databases={"p0": "pool_size=4", "p1": ""}, max_client_conn=100, tcp_defer_accept=0
    )
    assert isinstance(pooler, Pooler)
    wait_until_empty(pooler, pg)
    before = descriptor_counts(pooler)
    others = Witnesses(pooler)
    inside = pooler.wire().login()
    silent = [pooler.wire() for _ in range(500)]
    most = max(open_files(pooler))
    assert most > Starved.files - 10, f"{most}: not starved, so nothing was shown"
    for _ in range(20):
        assert inside.rows("SELECT 1") == [[b"1"]]
        for wire in others.wires:
            assert wire.rows("SELECT 42") == [[b"42"]]
    for wire in (*silent, inside):
        wire.socket.close()
    wait_for(lambda: _serves(pooler), 5, "service afterwards")
    others.assert_undisturbed()
    others.close()
    wait_until_slots_work(pooler, 4)
    pooler.console("RECONNECT")
    wait_for(lambda: not pooler.show("slots"), 5, "no server")
    wait_for_descriptors(pooler, before)


def open_files(pooler: Pooler) -> list[int]:
    """Descriptors of each process, without asking the console, which nobody reaches without any."""
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in descendants(pooler.pid)]


def test_full_disk_under_the_log(make_pooler: MakePooler) -> None:
    """Every write fails; service goes on, nothing is printed about it."""
    pooler = make_pooler(workers=2, start=False)
    pooler.log.symlink_to("/dev/full")
    pooler.start()
    for _ in range(20):
        assert pooler.sql("SELECT 1") == [(1,)]
    assert pooler.out.read_text() == ""
    pooler.log.unlink()
    pooler.signal(signal.SIGHUP)
    wait_for(lambda: pooler.log.exists() and _logs(pooler), 5, "a log that works again")


def _logs(pooler: Pooler) -> bool:
    pooler.sql("SELECT 1")
    return "login attempt" in pooler.log.read_text()


@pytest.mark.parametrize("reads", [True, False], ids=["closed", "stuck"])
def test_log_pipe_that_nobody_reads(make_pooler: MakePooler, owner: Account, reads: bool) -> None:
    """Standard error is a pipe whose reader is gone, or asleep with the pipe full."""
    pooler = make_pooler(start=False, workers=2, logfile=None, verbose=3)
    pooler.write_config()
    program = pooler.command()
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [*program.argv, str(pooler.ini)],
        stdin=subprocess.DEVNULL,
        stderr=theirs,
        env=dict(program.env),
        start_new_session=True,
        **owner.identity(),
    )
    pooler.process = process
    os.close(theirs)
    try:
        wait_for(lambda: _serves(pooler), 10, "service")
        if reads:
            os.close(ours)
        with Storm((pooler.host, pooler.port), 20) as storm:
            storm.wait_until_complete()
            for _ in range(300):
                with pooler.wire() as wire:
                    wire.login()
            storm.wait_for_answers(200)
        assert restarts(pooler) == 0
    finally:
        if not reads:
            os.close(ours)


def test_half_open_clients_are_found(make_pooler: MakePooler) -> None:
    """Keepalive is on for the client's socket, with the times of the configuration."""
    pooler = make_pooler(
        workers=1, tcp_keepalive=1, tcp_keepidle=7, tcp_keepintvl=3, tcp_keepcnt=2, tcp_user_timeout=5000
    )
    with pooler.wire() as wire:
        port = wire.login().socket.getsockname()[1]
        assert _keepalive_timer(pooler.port, port), "no keepalive timer on the client's socket"


def _keepalive_timer(local: int, remote: int) -> bool:
    """Whether the kernel runs a keepalive timer (02) on that connection."""
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
                return fields[5].startswith("02")
    return False


def test_port_in_use(make_pooler: MakePooler) -> None:
    """A clear word and exit code 1, without a traceback."""
    pooler = make_pooler(start=False, workers=2)
    with socket.create_server((pooler.host, pooler.port)):
        pooler.launch()
        assert pooler.wait() == 1
    assert "Address already in use" in pooler.log.read_text()
