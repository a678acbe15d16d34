"""Protocol 3.2, for clients that ask for it: cancel keys that nobody guesses. libpq 18 is such a client."""

from __future__ import annotations

import struct

import psycopg
import pytest

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler
from tests.support.wire import CANCEL_REQUEST, Wire, query, untyped

V3 = 3 << 16
LONG = "SELECT pg_sleep(60)"

pooler = module_pooler(databases={"p0": "", "p1": ""})


def login(pooler: Pooler, version: int, database: str = "p0") -> Wire:
    return pooler.wire().login("bouncer", database, version=version)


def running(pg: Postgres) -> bool:
    return pg.sql("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = %s", (LONG,)) != []


def cancel(pooler: Pooler, pid: int, key: bytes) -> None:
    with pooler.wire() as wire:
        wire.send(untyped(CANCEL_REQUEST, struct.pack("!I", pid) + key))
        wire.expect_closed()


@pytest.mark.parametrize(("version", "size"), [(V3, 4), (V3 + 1, 4), (V3 + 2, 32)])
@pytest.mark.parametrize("database", ["p0", "pgbouncer"])
def test_length_of_the_key(pooler: Pooler, version: int, size: int, database: str) -> None:
    """Nothing is negotiated: what the client asks for is spoken."""
    with pooler.wire() as wire:
        user = "bouncer" if database == "p0" else "postgres"
        wire.login(user, database, version=version)
        assert len(wire.backend_key[1]) == size


@pytest.mark.parametrize(("version", "size"), [(V3 + 3, 32), (V3 + 9999, 32)])
def test_later_versions_get_3_2(pooler: Pooler, version: int, size: int) -> None:
    with pooler.wire() as wire:
        wire.send(_startup(version))
        assert wire.receive().body == struct.pack("!II", V3 + 2, 0)
        assert [len(m.body) - 4 for m in wire.receive_until("Z") if m.type == "K"] == [size]


def test_extension_keeps_3_0(pooler: Pooler) -> None:
    with pooler.wire() as wire:
        wire.send(_startup(V3, b"_pq_.x\0\x31\0"))
        assert wire.receive().body == struct.pack("!II", V3, 1) + b"_pq_.x\0"
        assert [len(m.body) - 4 for m in wire.receive_until("Z") if m.type == "K"] == [4]


def _startup(version: int, more: bytes = b"") -> bytes:
    return untyped(version, b"user\0bouncer\0database\0p0\0" + more + b"\0")


@pytest.mark.parametrize("version", [V3, V3 + 2])
def test_only_the_whole_key_cancels(pooler: Pooler, running_postgres: Postgres, version: int) -> None:
    """From any worker; one that is a byte off, or of another length, does nothing."""
    with login(pooler, version) as wire:
        pid, key = wire.backend_key
        wire.send(query(LONG))
        wait_for(lambda: running(running_postgres), 5, "the query")
        wrong = [key[:i] + bytes([key[i] ^ 1]) + key[i + 1 :] for i in (0, 3, len(key) - 1)]
        for bad in (
            *wrong,
            key[:-1],
            key + b"\0",
            key[:4] + bytes(28),
            key[:4] if version > V3 else b"",
            b"",
        ):
            if len(bad) >= 4:
                cancel(pooler, pid, bad)
        wire.expect_silence()
        cancel(pooler, pid, key)
        assert wire.receive_until("E")[-1].fields["C"] == "57014"
        wire.expect("Z")


def test_libpq(pooler: Pooler, running_postgres: Postgres) -> None:
    """psycopg's libpq asks for 3.2, and cancels with what it was told."""
    dsn = pooler.dsn(max_protocol_version="3.2", min_protocol_version="3.2")
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.pgconn.full_protocol_version == 30002
        for _ in range(3):
            connection.pgconn.send_query(LONG.encode())
            wait_for(lambda: running(running_postgres), 5, "the query")
            connection.cancel_safe()
            result = connection.pgconn.get_result()
            assert result is not None
            assert b"canceling statement" in result.error_message
            assert connection.pgconn.get_result() is None


def test_psql(pooler: Pooler) -> None:
    found = pooler.run_program(
        "psql", "-XAtc", "SELECT 42", "dbname=p0 user=bouncer max_protocol_version=latest"
    )
    assert found.strip() == "42"
