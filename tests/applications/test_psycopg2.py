"""Programs on psycopg2: a shop, cursors, COPY, a queue with NOTIFY, two-phase commit, large objects."""

from __future__ import annotations

import contextlib
import random
import select
import threading
import time
from io import StringIO
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
import psycopg2.pool
import pytest
from psycopg2.extensions import connection as Connection

from tests.applications.dbapi import one, open_to, run
from tests.applications.shop import CLIENTS, PRODUCTS, check_orders
from tests.support.crowd import at_once
from tests.support.processes import wait_for
from tests.support.service import Service

POOL_SIZES = (2, 1)
ORDERS = 12


class GivenUpError(Exception):
    """A customer thinks better of it."""


def place_order(connection: Connection, customer: int, chance: random.Random, give_up: bool) -> None:
    """One transaction of several statements."""
    wanted = {number: chance.randint(1, 5) for number in sorted(chance.sample(range(1, PRODUCTS + 1), 3))}
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, price FROM product WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (list(wanted),)
        )
        prices = dict(cursor.fetchall())
        total = sum(prices[number] * quantity for number, quantity in wanted.items())
        cursor.execute("INSERT INTO orders (customer, total) VALUES (%s, %s) RETURNING id", (customer, total))
        (order,) = cursor.fetchone() or (0,)
        lines = [(order, number, quantity) for number, quantity in wanted.items()]
        psycopg2.extras.execute_values(cursor, "INSERT INTO order_line VALUES %s", lines)
        for number, quantity in wanted.items():
            cursor.execute("UPDATE product SET stock = stock - %s WHERE id = %s", (quantity, number))
        if give_up:
            raise GivenUpError


def test_orders(shop: Service) -> None:
    pool = psycopg2.pool.ThreadedConnectionPool(CLIENTS, CLIENTS, shop.dsn())

    def customer(number: int) -> None:
        chance = random.Random(number)
        for turn in range(ORDERS):
            connection = pool.getconn()
            with contextlib.suppress(GivenUpError):
                place_order(connection, number, chance, give_up=turn % 4 == 3)
            pool.putconn(connection)

    try:
        at_once(CLIENTS, customer)
    finally:
        pool.closeall()
    check_orders(shop, CLIENTS * ORDERS * 3 // 4)


def test_named_cursors(shop: Service) -> None:
    shop.sql("INSERT INTO job (what) SELECT 'job ' || n FROM generate_series(1, 300) AS n")

    def reader(_: int) -> int:
        with open_to(shop) as connection, connection, connection.cursor("jobs") as cursor:
            cursor.itersize = 50
            cursor.execute("SELECT what FROM job ORDER BY id")
            return sum(1 for _ in cursor)

    assert at_once(CLIENTS, reader) == [300] * CLIENTS


def test_copy(shop: Service) -> None:
    def client(number: int) -> str:
        with open_to(shop) as connection, connection.cursor() as cursor:
            text = "".join(f"line {n}\t{number}\n" for n in range(500))
            cursor.copy_expert("COPY job (what, taken_by) FROM STDIN", StringIO(text))
            connection.commit()
            with pytest.raises(psycopg2.errors.BadCopyFileFormat):
                cursor.copy_expert("COPY job (what, taken_by) FROM STDIN", StringIO("a\tb\tc\n"))
            connection.rollback()
            out = StringIO()
            mine = f"SELECT what, taken_by FROM job WHERE taken_by = '{number}' ORDER BY id"
            cursor.copy_expert(f"COPY ({mine}) TO STDOUT", out)
            connection.commit()
            assert out.getvalue() == text
            return "done"

    assert at_once(CLIENTS, client) == ["done"] * CLIENTS


def test_queue_with_notify(shop: Service) -> None:
    """Workers sleep until they are notified; more of them listen than the pool has servers."""
    jobs_each, workers = 10, 3
    heard: list[list[str]] = [[] for _ in range(workers)]
    ready = threading.Barrier(CLIENTS)

    def worker(number: int) -> None:
        with open_to(shop) as connection:
            connection.autocommit = True
            run(connection, "LISTEN jobs")
            ready.wait(30)
            deadline = time.monotonic() + 30
            while len(heard[number]) < jobs_each * (CLIENTS - workers):
                assert time.monotonic() < deadline, f"heard {len(heard[number])} notifications"
                select.select([connection], [], [], 0.5)
                connection.poll()
                while connection.notifies:
                    note = connection.notifies.pop(0)
                    assert note.channel == "jobs"
                    heard[number].append(note.payload)
                    take = "UPDATE job SET taken_by = %s WHERE what = %s AND taken_by IS NULL"
                    run(connection, take, str(number), note.payload)

    def producer(number: int) -> None:
        with open_to(shop) as connection, connection.cursor() as cursor:
            ready.wait(30)
            for turn in range(jobs_each):
                cursor.execute("NOTIFY jobs, 'undone'")
                connection.rollback()
                cursor.execute("INSERT INTO job (what) VALUES (%s)", (f"{number}-{turn}",))
                cursor.execute("SELECT pg_notify('jobs', %s)", (f"{number}-{turn}",))
                connection.commit()

    at_once(CLIENTS, lambda number: worker(number) if number < workers else producer(number))
    assert heard[0] == heard[1] == heard[2], "all hear the same in the same order"
    for number in range(workers, CLIENTS):
        told = [payload for payload in heard[0] if payload.startswith(f"{number}-")]
        assert told == [f"{number}-{turn}" for turn in range(jobs_each)]
    assert shop.value("SELECT count(*) FROM job WHERE taken_by IS NULL") == 0


def test_own_notification(shop: Service) -> None:
    """It comes with the process id that the connection knows as its own."""
    with open_to(shop) as connection:
        connection.autocommit = True
        run(connection, "LISTEN self")
        run(connection, "NOTIFY self, 'hello'")
        deadline = time.monotonic() + 10
        while not connection.notifies:
            assert time.monotonic() < deadline, "no notification"
            select.select([connection], [], [], 0.5)
            connection.poll()
        (note,) = connection.notifies
        assert (note.payload, note.pid) == ("hello", connection.info.backend_pid)
        run(connection, "UNLISTEN self")


def test_two_phase_commit(shop: Service) -> None:
    """Prepared by one connection, finished by another, with other servers in between."""

    def prepare(number: int) -> None:
        with open_to(shop) as connection:
            connection.tpc_begin(connection.xid(42, f"order {number}", "shop"))
            run(connection, "INSERT INTO job (what) VALUES (%s)", f"prepared {number}")
            connection.tpc_prepare()

    at_once(CLIENTS, prepare)
    assert shop.value("SELECT count(*) FROM job") == 0
    with open_to(shop) as connection:
        found = sorted(connection.tpc_recover(), key=lambda xid: xid.gtrid)
        connection.rollback()
        for number, xid in enumerate(found):
            (connection.tpc_commit if number % 2 else connection.tpc_rollback)(xid)
    assert shop.value("SELECT count(*) FROM job") == CLIENTS // 2
    assert shop.value("SELECT count(*) FROM pg_prepared_xacts") == 0


def test_large_objects(shop: Service) -> None:
    def client(number: int) -> None:
        data = bytes([number]) * 20_000
        with open_to(shop) as connection:
            blob: Any = connection.lobject(0, "wb")
            blob.write(data)
            blob.close()
            connection.commit()
            again: Any = connection.lobject(blob.oid, "rb")
            assert again.read() == data
            again.unlink()
            connection.commit()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM pg_largeobject_metadata") == 0


def test_cancel_hits_the_right_query(shop: Service) -> None:
    """Each client is canceled in its own long query, while the others go on."""

    def cancel(connection: Connection, query: str) -> None:
        running = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"
        wait_for(lambda: shop.value(running, query), 30, query)
        connection.cancel()

    def client(number: int) -> None:
        sleep = f"SELECT pg_sleep(30 + {number})"
        with open_to(shop) as connection:
            for _ in range(2):
                run(connection, "INSERT INTO job (what) VALUES (%s)", f"sleeper {number}")
                canceler = threading.Thread(target=cancel, args=(connection, sleep))
                canceler.start()
                with pytest.raises(psycopg2.errors.QueryCanceled):
                    run(connection, sleep)
                canceler.join()
                connection.rollback()
                assert one(connection, "SELECT 1") == 1
                connection.commit()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job") == 0
