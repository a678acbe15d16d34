"""The master as a process: start, signals, deaths, reloads, ends. Its workers are those of `program`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.master.running import Program, children, gone, wait_until

Run = Callable[..., Program]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    programs: list[Program] = []

    def start(settings: str = "", ready: bool = True, **options: Any) -> Program:
        programs.append(Program(tmp_path, settings, **options))
        return programs[-1].wait_ready() if ready else programs[-1]

    yield start
    for program in programs:
        program.stop()
        assert "bug" not in program.log(), program.log()


def connects(family: int, address: Any) -> bool:
    with socket.socket(family) as sock:
        try:
            sock.connect(address)
        except OSError:
            return False
    return True


# -- start


def test_ready(run: Run, tmp_path: Path) -> None:
    program = run()
    log = program.log()
    assert log.index("listening on 127.0.0.1:") < log.index("process up: pooler ")
    assert (tmp_path / "pid").read_text() == f"{program.process.pid}\n"
    assert len(children(program.process.pid)) == 2
    cmdline = Path(f"/proc/{program.process.pid}/cmdline").read_text()
    assert cmdline.startswith(f"pooler: master [{program.ini}]")
    assert program.client().ask("generation") == "0"


def test_a_worker_that_fails_to_start(run: Run, tmp_path: Path) -> None:
    program = run(ready=False, flags=("-q",), FAIL_BOOT="1")
    assert program.wait_exit() == 1
    assert "FATAL worker 1 cannot start: told so by the test" in program.output()
    assert not (tmp_path / "pid").exists()
    assert not program.socket_path.exists()


def test_a_worker_that_dies_at_start(run: Run) -> None:
    program = run(ready=False, flags=("-q",), EXIT_BOOT="0")
    assert program.wait_exit() == 1
    assert "exited with code 4 before it was ready" in program.output()


def test_a_second_instance_is_refused(run: Run) -> None:
    program = run()
    second = run(ready=False, flags=("-q",))
    second.port = program.port
    assert second.wait_exit() == 1
    assert "exists, another instance running?" in second.output()
    assert program.client().ask("generation") == "0"


def test_broken_configuration(run: Run) -> None:
    program = run("nonsense = 1\npool_mode = none", ready=False, flags=("-q",))
    assert program.wait_exit() == 1
    said = program.output()
    assert "p.ini:11: " in said
    assert "p.ini:12: " in said
    assert "FATAL cannot load config file" in said
    assert "Traceback" not in said


def test_background(run: Run, tmp_path: Path) -> None:
    program = run(ready=False, flags=("-d",))
    assert program.wait_exit() == 0
    pid = int((tmp_path / "pid").read_text())
    try:
        assert program.unix_client().ask("generation") == "0"
        assert program.output() == ""
        assert os.getsid(pid) not in (pid, os.getsid(0))
        for one in (pid, *children(pid)):  # or who waits for the end of our output waits for theirs
            assert os.readlink(f"/proc/{one}/fd/2") == "/dev/null"
    finally:
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: gone(pid), "the daemon's end")


def test_background_that_fails_says_so(run: Run) -> None:
    program = run(ready=False, flags=("-d",), FAIL_BOOT="0")
    assert program.wait_exit() == 1
    assert "FATAL worker 0 cannot start" in program.output()


def test_background_needs_a_pidfile(run: Run) -> None:
    program = run("pidfile =", ready=False, flags=("-d",))
    assert program.wait_exit() == 1
    assert "FATAL daemon needs pidfile configured" in program.output()


def names_of_fds(pid: int) -> set[str]:
    """What the descriptors of a process lead to."""
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(fd))
    return found


def test_children_hold_nothing_of_the_master(run: Run) -> None:
    """Listeners above all: a port must be free when the master has closed it."""
    program = run()
    master = names_of_fds(program.process.pid)
    for client in program.clients_on_all().values():
        shared = {name for name in master & names_of_fds(client.pid) if name.startswith("socket:")}
        # The send ends of two workers' inboxes and of the master's; the receive end of its own inbox.
        assert len(shared) == 4


def test_service_manager(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        program = run(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        program.signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1\nSTATUS=reloaded"
        program.write_ini("no_such_setting = 1")
        program.signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        told = manager.recv(1000)
        assert told.startswith(b"READY=1\nSTATUS=reload failed: ")
        assert b"no_such_setting" in told
        program.write_ini("")
        program.signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1\nSTATUS=reloaded"
        program.signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"


def test_the_watchdog_is_fed_while_workers_live(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        program = run("worker_timeout = 0", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000")

        def fed() -> bool:
            manager.settimeout(2)
            try:
                return b"WATCHDOG=1" in [manager.recv(100), manager.recv(100)]
            except TimeoutError:
                return False

        assert fed()
        victim = next(iter(children(program.process.pid)))
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: not fed(), "an end of the feeding")
        os.kill(victim, signal.SIGCONT)
        wait_until(fed, "the feeding")


# -- ends


def test_quit(run: Run, tmp_path: Path) -> None:
    program = run()
    workers = children(program.process.pid)
    client = program.client()
    program.signal(signal.SIGQUIT)
    assert program.wait_exit() == 0
    assert client.closed()
    assert all(gone(pid) for pid in workers)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "p.ini", "p.ini.saltkey"]
    assert not connects(socket.AF_INET, ("127.0.0.1", program.port))


def test_term_waits_for_clients(run: Run) -> None:
    program = run()
    first, second = program.clients_on_all().values()
    program.signal(signal.SIGTERM)
    program.wait_log("got SIGTERM, shutting down, waiting for all clients disconnect")
    wait_until(lambda: not connects(socket.AF_INET, ("127.0.0.1", program.port)), "the listener's end")
    first.wait_seen("Drain")
    assert connects(socket.AF_UNIX, str(program.socket_path)), "the way to the console stays"
    first.close()
    second.wait_seen("Drain")
    second.close()
    assert program.wait_exit() == 0
    assert not program.socket_path.exists()


def test_int_waits_for_servers(run: Run) -> None:
    program = run()
    client = program.client()
    program.signal(signal.SIGINT)
    assert program.wait_exit() == 0
    assert client.closed()
    assert "got SIGINT, shutting down, waiting for all servers connections to be released" in program.log()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_is_the_end(run: Run, second: int) -> None:
    program = run()
    client = program.client()
    program.signal(signal.SIGTERM)
    program.wait_log("got SIGTERM")
    program.signal(second)
    assert program.wait_exit() == 0
    assert client.closed()
    assert "while shutting down, fast exit" in program.log()


def test_a_worker_killed_while_draining_is_not_replaced(run: Run) -> None:
    program = run()
    first, second = program.clients_on_all().values()
    program.signal(signal.SIGTERM)
    assert first.ask("what") == "what?"
    program.wait_log("got SIGTERM")
    os.kill(second.pid, signal.SIGKILL)
    program.wait_log("killed by SIGKILL")
    first.wait_seen("Drain")
    assert len(children(program.process.pid)) == 1
    first.close()
    assert program.wait_exit() == 0


def test_ctrl_c_reaches_the_whole_group(run: Run) -> None:
    """A terminal signals every process; the workers leave it to the master."""
    program = run()
    first, second = program.clients_on_all().values()
    os.killpg(program.process.pid, signal.SIGTERM)
    program.wait_log("got SIGTERM")
    first.wait_seen("Drain")
    second.wait_seen("Drain")
    assert program.log().count("got SIGTERM") == 1


@pytest.mark.parametrize("mode", ["immediate", "wait_for_servers"])
def test_shutdown_by_console(run: Run, mode: str) -> None:
    program = run()
    program.client().sock.sendall(f"shutdown {mode}".encode())
    assert program.wait_exit() == 0
    words = "" if mode == "immediate" else f" {mode.upper()}"
    assert f"SHUTDOWN{words} command issued" in program.log()


def test_workers_end_with_the_master(run: Run) -> None:
    program = run()
    workers = children(program.process.pid)
    program.process.kill()
    program.wait_exit()
    wait_until(lambda: all(gone(pid) for pid in workers), "the workers' end")


# -- pause


def test_pause_and_resume(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    program.signal(signal.SIGUSR1)
    program.wait_log("got SIGUSR1")
    clients[0].wait_seen("Pause")
    program.signal(signal.SIGUSR2)
    clients[0].wait_seen("Pause Resume")
    assert clients[1].ask("seen") == "nothing"
    program.signal(signal.SIGTERM)
    program.wait_log("got SIGTERM")
    program.signal(signal.SIGUSR2)
    program.wait_log("got SIGUSR2 while shutting down, ignoring")


# -- deaths


def test_a_killed_worker_is_replaced(run: Run) -> None:
    program = run()
    for turn in range(4):
        before = program.clients_on_all()
        victim, innocent = before[turn % 2], before[1 - turn % 2]
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.closed()
        assert innocent.ask("generation") == "0"
        program.wait_log("killed by SIGKILL, starting another", turn + 1)
        program.wait_log("is ready", turn + 1)
        for client in before.values():
            client.close()


def test_the_only_worker_dies_and_nobody_is_refused(run: Run) -> None:
    program = run(workers=1)
    first = program.client()
    os.kill(first.pid, signal.SIGKILL)
    second = program.client()
    assert second.worker == 0
    assert second.pid != first.pid


def test_reclaim_is_ordered_once(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    assert clients[1].ask("leave 3") == "ok"
    assert clients[1].ask("exit 9") == "ok"
    program.wait_log("exited with code 9, starting another")
    program.wait_log("worker 1 left 1 clients and 3 busy servers")
    clients[0].wait_seen("Reclaim")
    program.wait_log("worker 1 (pid", 2)
    assert clients[0].ask("seen") == "Reclaim"


def test_reclaim_waits_for_a_worker(run: Run) -> None:
    program = run(workers=1)
    client = program.client()
    client.ask("leave 2")
    client.ask("exit 9")
    assert client.closed()
    other = program.client()
    other.wait_seen("Reclaim")


def test_locked_tables_are_asked_again(run: Run) -> None:
    """A stopped process may hold the lock: until then no replacement is forked, and nothing else waits."""
    program = run()
    clients = program.clients_on_all()
    clients[1].ask("lock 4")
    clients[1].ask("exit 9")
    program.wait_log("worker 1 left 1 clients")
    wait_until(lambda: len(children(program.process.pid)) == 2, "a replacement")
    assert clients[0].ask("generation") == "0"


def test_a_silent_worker_is_killed(run: Run) -> None:
    program = run("worker_timeout = 0.2")
    clients = program.clients_on_all()
    clients[0].ask("silence")
    program.wait_log("killing worker 0 (pid")
    program.wait_log("killed by SIGKILL, starting another")
    assert clients[1].ask("generation") == "0"


def test_a_stopped_worker_is_killed(run: Run) -> None:
    program = run("worker_timeout = 0.2")
    client = program.client()
    os.kill(client.pid, signal.SIGSTOP)
    assert client.closed()
    program.wait_log("silent for")


def test_a_worker_out_of_step_is_killed(run: Run) -> None:
    program = run()
    client = program.client()
    client.ask("garbage")
    program.wait_log("its control channel is out of step: frame of 4294967295 bytes")
    assert client.closed()


def test_servers_are_inherited(run: Run) -> None:
    program = run(workers=1)
    client = program.client()
    assert client.ask("publish 3 1") == "ok"
    assert client.ask("publish 4 1") == "ok"
    assert client.ask("publish 3 2") == "ok"
    client.ask("exit 9")
    client.sock.settimeout(20)
    other = program.client()
    assert sorted(other.ask("servers").split()) == ["3:2", "4:1"]


def test_replacements_that_fail_are_tried_again(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    stop = program.ini.with_name("p.ini.exit")
    stop.touch()
    os.kill(clients[1].pid, signal.SIGKILL)
    program.wait_log("exited with code 6, starting another", 2)
    # Nobody is sent to a worker that does not come up.
    assert {program.unix_client().worker for _ in range(4)} == {0}
    stop.unlink()
    program.wait_log("is ready")
    assert program.unix_client().worker == 1


# -- configuration


def test_reload(run: Run) -> None:
    program = run("default_pool_size = 5")
    clients = program.clients_on_all()
    program.write_ini("default_pool_size = 6\nverbose = 1")
    program.signal(signal.SIGHUP)
    program.wait_log("got SIGHUP, re-reading config")
    for client in clients.values():
        wait_until(lambda c=client: c.ask("config default_pool_size") == "6", "the new value")  # type: ignore[misc]
        assert client.ask("generation") == "1"
    # A replacement is born with it.
    os.kill(clients[0].pid, signal.SIGKILL)
    clients[0].close()
    clients[1].close()
    wait_until(lambda: len(children(program.process.pid)) == 2, "a replacement")
    assert program.unix_client().ask("config default_pool_size") == "6"


def test_reload_by_console_answers_when_all_have_it(run: Run) -> None:
    program = run("default_pool_size = 5")
    clients = program.clients_on_all()
    program.write_ini("default_pool_size = 6")
    assert clients[0].ask("reload") == "done"
    assert clients[1].ask("config default_pool_size") == "6"


def test_a_broken_file_changes_nothing(run: Run) -> None:
    program = run("default_pool_size = 5")
    clients = program.clients_on_all()
    program.write_ini("default_pool_size = 6\nnonsense = 1\npool_mode = none")
    assert "p.ini:12: " in clients[0].ask("reload")
    assert "p.ini:12: " in program.log()
    assert "p.ini:13: " in program.log()
    program.signal(signal.SIGHUP)
    program.wait_log("the configuration was not changed", 2)
    for client in clients.values():
        assert client.ask("config default_pool_size") == "5"
        assert client.ask("generation") == "0"


def test_reload_waits_for_locked_tables(run: Run) -> None:
    program = run("default_pool_size = 5")
    clients = program.clients_on_all()
    program.write_ini("default_pool_size = 6")
    clients[0].ask("lock 3")
    assert clients[0].ask("reload") == "done"
    assert clients[1].ask("config default_pool_size") == "6"


def test_set(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    assert clients[0].ask("set query_timeout 12") == "done"
    assert clients[1].ask("config query_timeout") == "12.0"
    assert "SET" in clients[0].ask("set query_timeout nonsense")
    assert clients[0].ask("set listen_port 1") == "done"
    assert clients[0].ask("config listen_port") == str(program.port)
    assert clients[0].ask("reload") == "done"
    assert clients[1].ask("config query_timeout") == "0.0"


def test_what_there_is_no_room_for(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    assert "max_client_conn = 999999999" in clients[0].ask("set max_client_conn 999999999")
    assert clients[1].ask("config max_client_conn") == "100"
    program.write_ini("max_client_conn = 999999999")
    assert "max_client_conn = 999999999" in clients[0].ask("reload")


def test_restart_only_settings_are_named(run: Run) -> None:
    program = run()
    program.write_ini("listen_backlog = 5")
    assert program.client().ask("reload") == "done"
    assert "listen_backlog has changed" in program.log()


def test_log_is_reopened(run: Run, tmp_path: Path) -> None:
    program = run()
    program.log_path.rename(tmp_path / "log.1")
    program.signal(signal.SIGHUP)
    wait_until(program.log_path.exists, "a new log file")


def test_reload_survives_the_death_of_who_asked(run: Run) -> None:
    program = run()
    clients = program.clients_on_all()
    clients[0].ask("lock 5")
    clients[0].sock.sendall(b"reload")
    program.wait_log("RELOAD command issued")
    os.kill(clients[0].pid, signal.SIGKILL)
    wait_until(lambda: clients[1].ask("generation") == "1", "the new generation")
    program.signal(signal.SIGHUP)
    wait_until(lambda: clients[1].ask("generation") == "2", "another")


# -- load


def test_load_is_even(run: Run) -> None:
    program = run()
    clients = [program.unix_client() for _ in range(20)]
    assert sorted(client.worker for client in clients) == [0] * 10 + [1] * 10
