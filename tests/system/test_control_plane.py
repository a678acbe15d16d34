"""The control plane where it could forget somebody: dials that break, databases that move, lost consoles."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import ANSWER, AUTH_OK, KEY, READY, FakeServer, Peer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import EndOfStream, query

MakePooler = Callable[..., Pooler]


def test_host_that_cannot_be_a_name(make_pooler: MakePooler) -> None:
    """A typo in a host costs its own database's clients an error, and no slot."""
    pooler = make_pooler(workers=1, databases={"p0": "", "typo": "host=a..b"}, client_login_timeout=2)
    with pooler.wire(timeout_s=5) as wire, pytest.raises(AssertionError, match="FATAL"):
        wire.login(database="typo")
    wait_for(lambda: not pooler.show("servers", database="typo"), 3, "the slot of the dial")
    pooler.databases["typo"] = "dbname=p0"
    pooler.configure()
    assert pooler.sql("SELECT 1", dbname="typo") == [(1,)]


def test_no_client_gets_a_server_of_before_the_reload(make_pooler: MakePooler) -> None:
    """When RELOAD has answered, a database that moved is at its new place for everybody."""
    pooler = make_pooler(workers=1, databases={"here": "dbname=p0"})
    with pooler.wire() as wire:
        wire.login(database="here")
        for turn in range(10):
            name = f"p{turn % 2}"
            pooler.databases["here"] = f"dbname={name}"
            pooler.configure()
            assert wire.rows("SELECT current_database()") == [[name.encode()]], f"turn {turn}"


def test_server_without_parameters(make_pooler: MakePooler) -> None:
    def script(peer: Peer) -> None:
        peer.send(AUTH_OK + KEY + READY)
        while peer.message()[0] == b"Q":
            peer.send(ANSWER)

    with FakeServer({"bare": script}) as server:
        pooler = make_pooler(
            workers=1,
            databases={"bare": f"host=127.0.0.1 port={server.port} pool_size=1"},
            client_login_timeout=3,
        )
        with pooler.wire(timeout_s=5) as wire:
            assert wire.login(database="bare").rows("SELECT 1") == [[b"1"]]


def test_console_that_leaves_while_its_command_waits(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1)
    with pooler.wire() as wire:
        wire.login().rows("BEGIN")
        wire.rows("SELECT 1")
        with pooler.wire() as console:
            console.login(user="postgres", database="pgbouncer")
            console.send(query("PAUSE p0"))
            wait_for(lambda: pooler.show("databases", name="p0")[0]["paused"] == 1, 3, "PAUSE")
        wait_for(
            lambda: len([c for c in pooler.show("clients") if c["database"] == "pgbouncer"]) == 1,
            3,
            "the end of the console that left",
        )
        pooler.console("RESUME p0")
        wire.rows("COMMIT")


def hammer(pooler: Pooler, database: str, stop: threading.Event) -> None:
    """Logs in, asks, leaves, again and again."""
    while not stop.is_set():
        try:
            with pooler.wire() as wire:
                wire.login(database=database).rows("SELECT 1")
        except (AssertionError, OSError, EndOfStream):
            continue


@contextlib.contextmanager
def hammers(pooler: Pooler, database: str) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=hammer, args=(pooler, database, stop)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_database_moves_under_load(make_pooler: MakePooler) -> None:
    """A worker that has not heard of the reload may open a server at the old place; nobody gets it later."""
    pooler = make_pooler(workers=2, databases={"here": "dbname=p0 pool_size=4"})
    with pooler.wire() as wire:
        wire.login(database="here")
        for turn in range(1, 16):
            name = f"p{turn % 2}"
            with hammers(pooler, "here"):
                wire.rows("SELECT 1")
                pooler.databases["here"] = f"dbname={name} pool_size=4"
                pooler.configure()
                for _ in range(20):
                    assert wire.rows("SELECT current_database()") == [[name.encode()]], f"turn {turn}"


def limit_descriptors(pid: int, count: int) -> None:
    """As the user of that process: root may lack the capability."""
    argv = ["prlimit", f"--pid={pid}", f"--nofile={count}:"]
    who = os.stat(f"/proc/{pid}")
    subprocess.run(argv, user=who.st_uid, group=who.st_gid, check=True)


def test_worker_without_a_descriptor_leaves_the_slot_to_others(make_pooler: MakePooler, pg: Postgres) -> None:
    """Out of descriptors, a worker cannot take the duplicate of a new server; the slot is not lost."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"})
    some = [pooler.wire(timeout_s=6).login() for _ in range(6)]
    homes = {row["port"]: row["worker"] for row in pooler.show("clients", database="p0")}
    wires = {homes[wire.socket.getsockname()[1]]: wire for wire in some}
    pg.terminate_backends()
    wait_for(lambda: not pooler.show("servers", database="p0"), 3, "the end of the servers")
    pid = pooler.show("workers", worker=1)[0]["pid"]
    limit_descriptors(pid, 3)
    assert wires[0].rows("SELECT 1") == [[b"1"]]
    wires[1].send(query("SELECT 2"))
    answer = wires[1].receive()
    limit_descriptors(pid, 1000)
    assert answer.type == "E", "the worker had room for a descriptor"
    assert wires[0].rows("SELECT 3") == [[b"3"]]
    for wire in some:
        wire.socket.close()
