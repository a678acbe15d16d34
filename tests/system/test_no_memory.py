"""There is no memory for one allocation, whichever it is: a client may be refused, or closed with its server,
and that is all. No other client hears of it, and no worker ends.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.certificates import Authority
from tests.support.exchange import pooled
from tests.support.health import worker_pids
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import running_pooler
from tests.support.starving import StarvingPooler
from tests.support.tls_postgres import tls_postgres
from tests.support.wire import (
    SSL_REQUEST,
    SYNC,
    EndOfStream,
    LoginRefused,
    Wire,
    bind,
    close,
    execute,
    parse,
    query,
    untyped,
)

#: More than any way needs; each is gone until it meets no failure any more.
MOST = 250

RUN = execute() + SYNC
CLOSED = (EndOfStream, ConnectionError, LoginRefused, ssl.SSLError)


def prepared(name: str, text: str) -> bytes:
    return parse(text, name) + bind(name=name) + RUN


#: What clients ask for: what each sends, in turn.
WAYS: dict[str, list[bytes]] = {
    "query": [query("SELECT 1")],
    "setting": [query("SET work_mem = '5MB'"), query("SELECT 1")],
    "setting that is reported": [query("SET TimeZone = 'Asia/Tokyo'"), query("SELECT 1")],
    "setting of its own": [query("SET starved.a = 'mine'"), query("SELECT current_setting('starved.a')")],
    "name as an argument": [query("SELECT set_config('starved.b', 'mine', false)"), query("SELECT 1")],
    "name that is read": [query("SELECT current_setting('starved.c', true)")],
    "transaction": [query("BEGIN"), query("SET starved.d = 'mine'"), query("COMMIT"), query("SELECT 1")],
    "reset": [query("SET starved.e = 'mine'"), query("RESET ALL"), query("SELECT 1")],
    "discard": [query("SET starved.f = 'mine'"), query("DISCARD ALL"), query("SELECT 1")],
    "block": [query("DO $$ BEGIN PERFORM set_config('starved.g', 'mine', false); END $$")],
    "unknown function": [query(f"SELECT nobody_has_{n}()") for n in range(3)],
    "lock": [query("SELECT pg_advisory_lock(4711)"), query("SELECT pg_advisory_unlock(4711)")],
    "listen": [query("LISTEN starved"), query("NOTIFY starved, 'x'"), query("UNLISTEN starved")],
    "listen in a transaction": [query("BEGIN; LISTEN starved"), query("NOTIFY starved"), query("COMMIT")],
    "notify": [query("NOTIFY starved, 'x'")],
    "named statement": [prepared("s", "SELECT 1"), prepared("t", "SELECT 2"), close(name="s") + SYNC],
    "unnamed statement": [parse("SELECT 3") + SYNC, bind() + RUN],
    "pipeline": [b"".join(parse(f"SELECT {n}", f"p{n}") + bind(name=f"p{n}") for n in range(40)) + SYNC],
    "SQL PREPARE": [query("PREPARE q AS SELECT 1"), query("EXECUTE q"), query("DEALLOCATE q")],
    "EXECUTE of a named statement": [prepared("u", "SELECT 4"), query("EXECUTE u"), query("DEALLOCATE ALL")],
    "temporary table": [query("CREATE TEMP TABLE starved (n int)"), query("DROP TABLE starved")],
    "large answer": [query("SELECT repeat('x', 200000)")],
    "large text": [query(f"SELECT '{'x' * 100_000}'"), prepared("v", f"SELECT '{'y' * 100_000}'")],
    "role": [query("ALTER ROLE bouncer SET starved.h = 'mine'"), query("ALTER ROLE bouncer RESET starved.h")],
    "sequence": [query("CREATE SEQUENCE IF NOT EXISTS starved_s"), query("SELECT nextval('starved_s') > 0")],
    "COPY": [query("COPY (SELECT 1) TO STDOUT")],
}  # fmt: skip


@pytest.fixture(scope="module")
def pooler(running_postgres: Postgres, owner: Account, work: Path) -> Iterator[StarvingPooler]:
    running_postgres.ensure_running()
    started = running_pooler(
        running_postgres, owner, work, kind=StarvingPooler, workers=1,
        databases={"p0": "pool_size=2", "p1": "pool_size=2"},
    )  # fmt: skip
    with started as pooler:
        assert isinstance(pooler, StarvingPooler)
        pooler.learn_catalogs("p0")
        yield pooler


def answers(wire: Wire, sent: bytes) -> list[str]:
    """What is answered, up to ReadyForQuery; a FATAL error is that of no memory, and the end."""
    wire.send(sent)
    found: list[str] = []
    for _ in range(1000):
        got = wire.receive()
        if got.type == "Z":
            return found
        if got.type == "E" and got.fields["S"] == "FATAL":
            assert got.fields["C"] == "53200" or got.fields["M"] == "server conn crashed?", got.fields
            wire.expect_closed()
            raise EndOfStream
        if got.type == "E":
            found.append(got.fields["M"])
        elif got.type in "CD":
            found.append(repr(got.body))
        elif got.type == "S":
            name, value, _ = got.body.split(b"\0")
            wire.parameters[name.decode()] = value.decode()
    raise AssertionError("no end")


def each_fails(
    pooler: StarvingPooler,
    client: Callable[[], Wire],
    attempt: Callable[[Wire, int], None],
    thread: str = "relay",
    enough: int = 0,
) -> None:
    """Goes a way again and again, with another allocation that fails, until none does, or `enough` have."""
    for number in range(1, enough + 1 if enough else MOST):
        wire = client()
        before = worker_pids(pooler)
        pooler.memory.begin(number, thread)
        try:
            with contextlib.suppress(*CLOSED), wire:
                attempt(wire, number)
        finally:
            failed = pooler.memory.end()
        assert worker_pids(pooler) == before, f"allocation {number}"
        nothing_is_left(pooler, f"allocation {number}")
        if not failed:
            return
    assert enough, f"{MOST} allocations and no end"


def nothing_is_left(pooler: StarvingPooler, when: str) -> None:
    """Others are served, and see nothing of it, on whichever server."""
    settings = ",".join(f"NULLIF(current_setting('starved.{letter}', true), '')" for letter in "abcdefg")
    text = (
        f"SELECT coalesce({settings}), current_setting('work_mem'), current_setting('TimeZone'),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
        " (SELECT count(*) FROM pg_listening_channels() c WHERE c = 'starved'),"
        " (SELECT count(*) FROM pg_prepared_statements WHERE name = 'q')"
    )
    with pooled(pooler) as one, pooled(pooler) as two:
        for wire in (one, two):
            wire.query("BEGIN")
            (row,) = [got.values for got in wire.query(text) if got.type == "D"]
            assert row[:1] + row[3:] == [None, b"0", b"0", b"0"], f"{when}: {row}"
            assert not {b"5MB", b"Asia/Tokyo"} & set(row), f"{when}: {row}"


@pytest.mark.parametrize("way", WAYS)
def test_a_statement(pooler: StarvingPooler, way: str) -> None:
    """A client that gets all of the answers gets those of the last one, for whom nothing failed."""
    heard: list[list[str]] = []

    def attempt(wire: Wire, number: int) -> None:
        heard.append([text for data in WAYS[way] for text in answers(wire, data)])

    each_fails(pooler, lambda: pooled(pooler), attempt)
    assert all(texts == heard[-1] for texts in heard)


def test_a_login(pooler: StarvingPooler) -> None:
    """What a server makes of a startup packet is told to one client, and remembered for the next."""

    def attempt(wire: Wire, number: int) -> None:
        options = f"-c search_path=pg_catalog -c starved.z={number}"
        wire.login(database="p1", application_name=f"a{number}", options=options, TimeZone="utc")
        assert answers(wire, query("SHOW starved.z"))[0].endswith(f"{number}'")
        assert wire.parameters["TimeZone"] == "UTC"

    each_fails(pooler, pooler.wire, attempt)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["its login", "itself", "its origin"])
def test_a_client_for_which_there_is_nothing_is_in_the_log(pooler: StarvingPooler, number: int) -> None:
    """It cannot be told."""

    def is_closed() -> bool:
        pooler.memory.begin(number)  # what else the relay does just then may meet the failure instead
        try:
            with pooler.wire() as wire:
                wire.login()
        except (EndOfStream, ConnectionError):
            return True
        finally:
            pooler.memory.end()
        return False

    with pooler.expect_log("WARNING a client was closed: out of memory", 1):
        assert any(is_closed() for _ in range(20))


def test_a_worker_that_takes_over_what_is_known(pooler: StarvingPooler) -> None:
    """Its first text of a database begins with a copy of what the catalogs say."""

    def client() -> Wire:
        pooler.wait_for_workers(1, without=pooler.kill_worker(0))
        return pooled(pooler)

    def attempt(wire: Wire, number: int) -> None:
        answers(wire, query("SELECT nobody_has_it()"))

    each_fails(pooler, client, attempt)


def test_a_client_with_a_server_of_its_own(pooler: StarvingPooler) -> None:
    def attempt(wire: Wire, number: int) -> None:
        wire.login("postgres", replication="database")
        answers(wire, query("IDENTIFY_SYSTEM"))

    each_fails(pooler, pooler.wire, attempt)
    wait_for(lambda: not pooler.show("servers", replication="logical"), 5, "the end of its servers")


@pytest.fixture(scope="module")
def encrypted(owner: Account, work: Path) -> Iterator[StarvingPooler]:
    """With TLS on both sides."""
    authority = Authority(work / "tls-no-memory", owner)
    pair = authority.sign("server", "/CN=localhost", "DNS:localhost", key="rsa")
    pg = tls_postgres(owner, make_directory(work / "no-memory", owner), pair, authority.cert)
    settings = {"server_tls_sslmode": "require", "client_tls_sslmode": "allow"}
    files = {"client_tls_key_file": pair.key, "client_tls_cert_file": pair.cert}
    keywords = {"workers": 1, "databases": {"p0": "pool_size=2"}, **settings, **files}
    try:
        with running_pooler(pg, owner, work, kind=StarvingPooler, **keywords) as pooler:
            assert isinstance(pooler, StarvingPooler)
            pooler.learn_catalogs("p0")
            yield pooler
    finally:
        pg.stop()


@pytest.mark.parametrize("thread", ["relay", "pump"])
def test_tls(encrypted: StarvingPooler, thread: str) -> None:
    """More than a socket takes, in both directions."""

    def client() -> Wire:
        wire = encrypted.wire()
        wire.send(untyped(SSL_REQUEST))
        assert wire.read_exactly(1) == b"S"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return Wire(context.wrap_socket(wire.socket)).login()

    def attempt(wire: Wire, number: int) -> None:
        large = f"SELECT length('{'x' * 3_000_000}')"
        assert answers(wire, query(large))[0].endswith("3000000'")
        assert len(answers(wire, query("SELECT repeat('x', 50000) FROM generate_series(1, 200)"))) == 201

    each_fails(encrypted, client, attempt, thread, enough=20)
