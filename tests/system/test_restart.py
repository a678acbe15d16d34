"""Online restart (-R): nobody is refused, no commit is lost, and both instances together keep the limits."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.ipc import handoff
from tests.support.bank import Bank
from tests.support.health import LimitWatch, assert_no_bugs
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.restart import Restarts
from tests.system.conftest import GuardedPooler

MakePooler = Callable[..., Pooler]

#: What a client may be told: it is between two transactions, and connects again.
EXPECTED = ("server shutting down", "server closed the connection unexpectedly")


def assert_only_closed(bank: Bank) -> None:
    """No teller was refused, or cut off inside a transaction."""
    strange = [text for text in bank.failures if not any(known in text for known in EXPECTED)]
    assert not strange, strange[:5]
    assert not bank.begun
    assert not bank.unknown


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, make_pooler: MakePooler, pg: Postgres) -> Pooler:
    return make_pooler(
        workers=request.param,
        databases={"p0": "pool_size=4", "p1": "pool_size=1"},
        max_db_connections=5,
        max_server_connections=5,
        shutdown_timeout=2,
    )


@pytest.fixture
def restarts(pooler: Pooler) -> Iterator[Restarts]:
    with Restarts(pooler) as found:
        yield found


def test_transfers_go_on(pooler: Pooler, restarts: Restarts, pg: Postgres) -> None:
    bank = Bank(pg, pooler.dsn, tellers=8)
    with LimitWatch(pg) as watch, bank:
        bank.wait_for_commits(50)
        for _ in range(4):
            restarts.again()
            bank.wait_for_commits(30)
        restarts.wait_for_old()
        bank.wait_for_commits(30)
    bank.check()
    assert watch.most <= 5
    assert_only_closed(bank)
    assert_no_bugs(pooler)


def takeover_socket(pooler: Pooler) -> socket.socket:
    sock = handoff.open_socket()
    sock.settimeout(5)
    sock.connect(handoff.address_of(handoff.path_of(str(pooler.directory), pooler.port)))
    return sock


def heard(sock: socket.socket, last: str) -> list[str]:
    """The words up to `last`, descriptors closed."""
    words: list[str] = []
    while last not in words:
        assert sock.recv(1, socket.MSG_PEEK), f"closed after {words}"
        got = handoff.receive(sock)
        assert got is not None
        words.append(got[0])
        if got[2] >= 0:
            os.close(got[2])
    return words


def hello(sock: socket.socket, version: int = handoff.VERSION) -> None:
    sock.send(handoff.pack("hello", {"version": version, "pid": os.getpid()}))


def test_a_successor_that_cannot_start_changes_nothing(pooler: Pooler, restarts: Restarts) -> None:
    with pooler.connect() as client, client.cursor() as cursor:
        good = pooler.ini.read_text()
        pooler.ini.write_text(good + "no_such_setting = 1\n")
        program = pooler.command()
        broken = restarts.run(*program.argv, "-R", str(pooler.ini))
        pooler.ini.write_text(good)
        assert broken.returncode == 1
        assert b"unknown parameter" in broken.stderr
        cursor.execute("SELECT 1")
        assert pooler.sql("SELECT 2") == [(2,)]


@pytest.mark.parametrize("last", ["offer", "yours"])
def test_a_successor_that_dies_on_the_way_changes_nothing(pooler: Pooler, last: str) -> None:
    with pooler.connect() as client, client.cursor() as cursor:
        cursor.execute("SELECT 1")
        with pooler.expect_log("this one goes on"), takeover_socket(pooler) as sock:
            hello(sock)
            heard(sock, "offer")
            if last == "yours":
                sock.send(handoff.pack("commit", {"pids": []}))
                heard(sock, "yours")
        assert pooler.sql("SELECT 2") == [(2,)]
        cursor.execute("SELECT 3")
        client.rollback()
        with contextlib.ExitStack() as stack:  # as many servers as before
            for _ in range(4):
                other = stack.enter_context(pooler.connect(autocommit=False))
                other.cursor().execute("SELECT 4")


def socket_files(pooler: Pooler) -> list[str]:
    return sorted(path.name for path in pooler.directory.iterdir() if path.name.startswith(".s."))


def assert_reached_by_file(pooler: Pooler) -> None:
    assert len(socket_files(pooler)) == 2
    assert pooler.sql("SELECT 1", host=str(pooler.directory)) == [(1,)]


def test_a_failed_successor_leaves_the_socket_files(pooler: Pooler, restarts: Restarts) -> None:
    """One that cannot listen, and one that is ended while it boots."""
    good = pooler.ini.read_text()
    pooler.ini.write_text(good.replace(f"listen_addr = {pooler.host}", "listen_addr = 192.0.2.1"))
    failed = restarts.run(*pooler.command().argv, "-R", str(pooler.ini))
    assert failed.returncode == 1, failed
    assert b"failed to listen on any address" in failed.stderr
    pooler.ini.write_text(good)
    assert_reached_by_file(pooler)
    with pooler.expect_log("this one goes on", timeout_s=20):
        with pooler.expect_log("taking over from process", timeout_s=20):
            successor = subprocess.Popen(
                [*pooler.command().argv, "-R", str(pooler.ini)],
                env=pooler.command().env,
                cwd=pooler.directory,
                stderr=subprocess.DEVNULL,
                **pooler.owner.identity(),
            )
        successor.terminate()
    assert successor.wait(20) == 1
    assert_reached_by_file(pooler)
    restarts.again()
    restarts.wait_for_old()
    assert_reached_by_file(pooler)


def test_a_successor_that_had_begun_to_serve_leaves_nothing_behind(pooler: Pooler) -> None:
    """It has put sockets of its own in the place of ours, and has removed them."""
    files = socket_files(pooler)
    with pooler.expect_log("this one goes on"), takeover_socket(pooler) as sock:
        hello(sock)
        heard(sock, "offer")
        sock.send(handoff.pack("commit", {"pids": []}))
        baton = -1
        while True:
            got = handoff.receive(sock)
            assert got is not None
            baton = got[2] if got[0] == "baton" else baton
            if got[0] == "yours":
                break
        assert os.read(baton, 10) == b"1"
        os.close(baton)
        for name in files:
            (pooler.directory / name).unlink()
    wait_for(lambda: socket_files(pooler) == files, 10, "the files")
    assert_reached_by_file(pooler)
    assert pooler.sql("SELECT 2") == [(2,)]


@pytest.mark.parametrize("last", ["", "yours"])
def test_a_successor_that_hangs_is_given_up(pooler: Pooler, restarts: Restarts, last: str) -> None:
    """Clients wait for it a moment at most, and it blocks no other."""
    with pooler.connect() as client, client.cursor() as cursor, takeover_socket(pooler) as sock:
        with pooler.expect_log("is given up .*: this one goes on", timeout_s=20):
            if last:
                hello(sock)
                heard(sock, "offer")
            if last == "yours":
                sock.send(handoff.pack("commit", {"pids": [os.getpid()]}))
                heard(sock, "yours")
        assert pooler.sql("SELECT 2") == [(2,)]
        cursor.execute("SELECT 3")
        client.rollback()
        restarts.again()
        assert pooler.sql("SELECT 4") == [(4,)]


def test_who_does_not_speak_the_language_is_refused(pooler: Pooler) -> None:
    with takeover_socket(pooler) as sock:
        hello(sock, version=99)
        assert heard(sock, "refused") == ["refused"]
    with takeover_socket(pooler) as sock:
        sock.send(b"\xff\x00 nonsense")
        assert sock.recv(100) == b""
    with takeover_socket(pooler) as first:
        hello(first)
        heard(first, "offer")
        with takeover_socket(pooler) as second:
            assert heard(second, "refused") == ["refused"]
    pooler.console("PAUSE")
    with takeover_socket(pooler) as sock:
        hello(sock)
        assert heard(sock, "refused") == ["refused"]
    pooler.console("RESUME")
    assert pooler.sql("SELECT 2") == [(2,)]


def test_transactions_end_where_they_began(pooler: Pooler, restarts: Restarts, pg: Postgres) -> None:
    """A client in a transaction finishes it, an idle one goes on until its time is over; then 57P01."""
    with pooler.connect(autocommit=False) as busy, pooler.connect() as idle:
        cursor = busy.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone() or (0,)
        idle.cursor().execute("SELECT 1")
        old = restarts.again()
        assert pooler.sql("SELECT 2") == [(2,)]
        idle.cursor().execute("SELECT 3")
        with pytest.raises(psycopg2.OperationalError):
            wait_for(lambda: idle.cursor().execute("SELECT 4"), 20, "the end of the idle client")
        assert old.poll() is None
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == (backend,)
        busy.commit()
    restarts.wait_for_old()
    assert pooler.sql("SELECT 5") == [(5,)]


def test_one_server_for_both(pooler: Pooler, restarts: Restarts, pg: Postgres) -> None:
    """pool_size=1: clients of both instances take turns."""
    pooler.configure(shutdown_timeout=0)
    with pooler.connect(dbname="p1") as idle, LimitWatch(pg, "p1") as watch:
        idle.cursor().execute("SELECT 1")
        restarts.again()
        for number in range(5):
            assert pooler.sql("SELECT %s", (number,), dbname="p1") == [(number,)]
            with contextlib.suppress(psycopg2.Error):  # it may have been closed for another pool
                idle.cursor().execute("SELECT 2")
    assert watch.most == 1
    restarts.wait_for_old()


def test_cancel_finds_its_query_in_the_old_instance(pooler: Pooler, restarts: Restarts) -> None:
    with pooler.connect() as client:
        failures: list[str] = []

        def sleep() -> None:
            try:
                client.cursor().execute("SELECT pg_sleep(60)")
            except psycopg2.Error as error:
                failures.append(error.pgcode or str(error))

        thread = threading.Thread(target=sleep)
        thread.start()
        wait_for(lambda: pooler.pool()["sv_active"], 5, "the query")
        restarts.again()
        client.cancel()
        thread.join(10)
        assert failures == ["57014"]


def test_the_old_master_is_killed(pooler: Pooler, restarts: Restarts, pg: Postgres) -> None:
    """Its workers end their transactions, then the new instance may open all servers."""
    bank = Bank(pg, pooler.dsn, tellers=6)
    with LimitWatch(pg) as watch, bank:
        bank.wait_for_commits(30)
        old = restarts.again()
        os.kill(old.pid, signal.SIGKILL)
        bank.wait_for_commits(100, timeout_s=30)
    bank.check()
    assert watch.most <= 5
    assert not any("refused" in text for text in bank.failures)
    old.wait(20)
    restarts.old.remove(old)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            other = stack.enter_context(pooler.connect(autocommit=False))
            other.cursor().execute("SELECT 4")


def test_the_new_instance_is_killed(pooler: Pooler, restarts: Restarts, pg: Postgres) -> None:
    """What the old one still has ends in peace."""
    pooler.configure(shutdown_timeout=0)
    with pooler.connect(autocommit=False) as busy, pooler.connect() as idle:
        busy.cursor().execute("SELECT 1")
        idle.cursor().execute("SELECT 1")
        old = restarts.again()
        pooler.kill()
        busy.cursor().execute("SELECT 2")
        busy.commit()
        idle.cursor().execute("SELECT 3")
    assert old.wait(20) == 0
    pooler.start()
    assert pooler.sql("SELECT 5") == [(5,)]


def test_pid_file_and_socket_files(make_pooler: MakePooler, restarts: Restarts, pooler: Pooler) -> None:
    pidfile = pooler.directory / "pid"
    pooler.settings["pidfile"] = pidfile
    pooler.write_config()
    restarts.again()  # from an instance without pidfile
    for _ in range(2):
        assert pidfile.read_text() == f"{pooler.pid}\n"
        restarts.again()
    restarts.wait_for_old()
    assert pidfile.read_text() == f"{pooler.pid}\n"
    assert (pooler.directory / f".s.PGSQL.{pooler.port}").is_socket()
    assert pooler.sql("SELECT 1", host=str(pooler.directory)) == [(1,)]
    pooler.stop()
    assert not [path.name for path in pooler.directory.iterdir() if path.name.startswith((".s.", "pid"))]


def test_nobody_to_take_over_from(pooler: Pooler) -> None:
    pooler.stop()
    with pooler.expect_log("LOG old process not found, try to continue normally"):
        pooler.start("-R")
    assert pooler.sql("SELECT 1") == [(1,)]


def test_signals_while_it_drains(pooler: Pooler, restarts: Restarts) -> None:
    with pooler.connect(autocommit=False) as busy:
        busy.cursor().execute("SELECT 1")
        old = restarts.again()
        with pooler.expect_log("got SIGUSR2 while shutting down, ignoring"):
            os.kill(old.pid, signal.SIGUSR2)
        with pooler.expect_log("got SIGTERM while shutting down, fast exit"):
            os.kill(old.pid, signal.SIGTERM)
        restarts.wait_for_old()
    assert pooler.sql("SELECT 1") == [(1,)]


class FakePredecessor:
    """A running instance that offers no sockets and then says nothing more."""

    def __init__(self, pooler: Pooler) -> None:
        self.path = handoff.path_of(str(pooler.directory), pooler.port)
        self.sock = handoff.open_socket()
        self.sock.settimeout(10)
        self.sock.bind(handoff.address_of(self.path))
        self.sock.listen()
        os.chmod(self.path, 0o777)

    def offer(self, *sockets: tuple[str, dict[str, object], int]) -> socket.socket:
        """The connection of a successor that has said commit."""
        found, _ = self.sock.accept()
        found.settimeout(10)
        heard(found, "hello")
        for word, values, fd in sockets:
            handoff.send(found, handoff.pack(word, values), fd)
        found.send(handoff.pack("offer", {"pid": os.getpid()}))
        heard(found, "commit")
        return found

    def close(self) -> None:
        self.sock.close()
        os.unlink(self.path)


@pytest.fixture
def fake(pooler: Pooler) -> Iterator[FakePredecessor]:
    pooler.stop()
    found = FakePredecessor(pooler)
    yield found
    found.close()


def test_signals_while_it_takes_over(pooler: Pooler, fake: FakePredecessor) -> None:
    pooler.launch("-R")
    with fake.offer():
        with pooler.expect_log("FATAL takeover was in progress, going down immediately"):
            pooler.signal(signal.SIGTERM)
        assert pooler.wait() == 1


def test_a_predecessor_that_does_not_answer(pooler: Pooler, fake: FakePredecessor) -> None:
    pooler.launch("-R")
    with fake.offer():
        assert pooler.wait(20) == 1
    assert "FATAL the running process did not answer within 10 s" in pooler.log.read_text()


def test_a_successor_that_wakes_too_late_does_not_serve(pooler: Pooler, fake: FakePredecessor) -> None:
    """The running instance has gone on, and has taken back the right to serve."""
    pooler.launch("-R")
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with fake.offer() as sock:
        handoff.send(sock, handoff.pack("baton", {}), reader)
        sock.send(handoff.pack("yours", {"pids": [os.getpid()]}))
        assert pooler.wait() == 1
    os.close(reader)
    os.close(writer)
    assert "FATAL the running process did not wait any longer, and goes on" in pooler.log.read_text()
    assert "process up" not in pooler.log.read_text().split("taking over from process")[-1]


def test_a_predecessor_that_refuses(pooler: Pooler, fake: FakePredecessor) -> None:
    pooler.launch("-R")
    with fake.offer() as sock:
        sock.send(handoff.pack("refused", {"text": "it is paused"}))
        assert pooler.wait() == 1
    assert "FATAL the running process does not hand over: it is paused" in pooler.log.read_text()


def test_a_predecessor_that_ends_in_between(pooler: Pooler, fake: FakePredecessor) -> None:
    """Nobody serves then: the new one does, when the last of the old processes is gone."""
    old = subprocess.Popen(["sleep", "60"])
    pooler.launch("-R")
    with fake.offer() as sock, pooler.expect_log("LOG process up"):
        sock.send(handoff.pack("yours", {"pids": [old.pid]}))
        heard(sock, "serving")
        sock.close()
    old.kill()
    old.wait()
    assert pooler.sql("SELECT 1") == [(1,)]
    assert pooler.sql("SELECT 1", host=str(pooler.directory)) == [(1,)]


def test_a_predecessor_that_takes_its_socket_file_along(pooler: Pooler, fake: FakePredecessor) -> None:
    """It ends as if nobody followed: the new one listens there anew."""
    path = pooler.directory / f".s.PGSQL.{pooler.port}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        os.chmod(path, 0o777)
        pooler.owner.give(path)
        pooler.launch("-R")
        values = {"path": str(path), "activated": False}
        with (
            fake.offer(("listener", values, listening.fileno())) as sock,
            pooler.expect_log("LOG process up"),
        ):
            path.unlink()
            sock.send(handoff.pack("yours", {"pids": []}))
            heard(sock, "serving")
    assert pooler.sql("SELECT 1", host=str(pooler.directory)) == [(1,)]
    assert pooler.sql("SELECT 1") == [(1,)]


def test_no_directory_for_sockets(pooler: Pooler, restarts: Restarts) -> None:
    other = pooler.directory / "other.ini"
    other.write_text(
        pooler.ini.read_text().replace(f"unix_socket_dir = {pooler.directory}", "unix_socket_dir =")
    )
    pooler.owner.give(other)
    done = restarts.run(*pooler.command().argv, "-R", str(other))
    assert done.returncode == 1
    assert b"FATAL cannot reboot if unix dir not configured" in done.stderr


def test_in_the_background_under_a_service_manager(pooler: Pooler, restarts: Restarts) -> None:
    """-d -R returns when the new process serves; the manager is told which process it is now."""
    pidfile = pooler.directory / "pid"
    pooler.settings["pidfile"] = pidfile
    pooler.write_config()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(pooler.directory / "notify"))
        os.chmod(pooler.directory / "notify", 0o777)
        manager.settimeout(10)
        command = (*pooler.command().argv, "-d", "-R", str(pooler.ini))
        done = restarts.run(*command, NOTIFY_SOCKET=str(pooler.directory / "notify"))
        assert done.returncode == 0, done.stderr
        daemon = int(pidfile.read_text())
        try:
            assert daemon != pooler.pid
            assert manager.recv(200) == f"READY=1\nMAINPID={daemon}".encode()
            assert pooler.wait(20) == 0
            assert pooler.sql("SELECT 1") == [(1,)]
        finally:
            os.kill(daemon, signal.SIGQUIT)
            wait_for(lambda: not pidfile.exists(), 10, "the end of the daemon")


def test_servers_of_auth_query_change_hands(make_bouncer: Callable[..., Pooler], pg: Postgres) -> None:
    """The server for look-ups counts over both instances, in a pool with its limits."""
    pg.sql("CREATE ROLE looked_up LOGIN PASSWORD 'up'")
    try:
        pooler = make_bouncer(
            GuardedPooler,  # `looked_up` is not in its userlist
            workers=2,
            auth_type="scram-sha-256",
            auth_user=SUPERUSER,
            databases={"p0": "pool_size=1"},
            max_db_connections=2,
            client_login_timeout=10,
        )
        with Restarts(pooler) as restarts, LimitWatch(pg, "p0") as watch:
            assert pooler.sql("SELECT 1", user="looked_up", password="up") == [(1,)]
            for number in range(3):
                restarts.again()
                for _ in range(4):
                    values = {"user": "looked_up", "password": "up"}
                    assert pooler.sql("SELECT %s", (number,), **values) == [(number,)]
            restarts.wait_for_old()
        assert watch.most == 2
        assert_no_bugs(pooler)
    finally:
        pg.sql("DROP ROLE looked_up")
