"""Programs on psycopg2: a shop, tenants, reports over held cursors, staging tables, a queue with NOTIFY."""

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
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
import pytest
from psycopg2.extensions import connection as Connection

from tests.programs.shop import CLIENTS, PRODUCTS, TENANTS, check_notes, check_orders
from tests.support.crowd import at_once
from tests.support.processes import wait_for
from tests.support.service import Service

POOL_SIZES = (2, 1)
ORDERS = 12


class GivenUpError(Exception):
    """A customer thinks better of it."""


def open_to(service: Service, **values: object) -> contextlib.closing[Connection]:
    return contextlib.closing(psycopg2.connect(service.dsn(**values)))


def one(connection: Connection, text: str, *arguments: object) -> Any:
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(text, arguments or None)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def run(connection: Connection, text: str, *arguments: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text, arguments or None)


def place_order(connection: Connection, customer: int, chance: random.Random, give_up: bool) -> None:
    """One transaction of several statements."""
    wanted = {number: chance.randint(1, 5) for number in sorted(chance.sample(range(1, PRODUCTS + 1), 3))}
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, price FROM product WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (list(wanted),)
        )
        prices = dict(cursor.fetchall())
        total = sum(prices[number] * quantity for number, quantity in wanted.items())
        cursor.execute(
            "INSERT INTO orders (customer, total) VALUES (%s, %s) RETURNING id", (customer, total)
        )
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


def test_tenants(shop: Service) -> None:
    """Who sees what follows from a setting that each connection makes once."""

    def tenant(number: int) -> None:
        me = TENANTS[number]
        with open_to(shop) as connection:
            run(connection, "SELECT set_config('app.tenant', %s, false)", me)
            connection.commit()
            for turn in range(10):
                run(connection, "INSERT INTO note (body) VALUES (%s)", f"{me}: {turn}")
                connection.commit()
                assert one(connection, "SELECT count(*) FROM note") == turn + 1
                connection.rollback()

    at_once(CLIENTS, tenant)
    check_notes(shop, 10)


def test_setting_of_a_transaction_that_fails_is_undone(shop: Service) -> None:
    def client(number: int) -> None:
        with open_to(shop, options=f"-c app.tenant={TENANTS[number]}") as connection:
            for _ in range(5):
                run(connection, "SET app.tenant = 'somebody else'")
                run(connection, "SET search_path = nowhere")
                with pytest.raises(psycopg2.errors.DivisionByZero):
                    run(connection, "SELECT 1/0")
                connection.rollback()
                assert one(connection, "SHOW app.tenant") == TENANTS[number]
                run(connection, "SET LOCAL app.tenant = 'for a moment'")
                connection.commit()
                assert one(connection, "SELECT current_setting('app.tenant')") == TENANTS[number]
                assert one(connection, "SELECT count(*) FROM product") == PRODUCTS
                connection.commit()

    at_once(CLIENTS, client)


def test_set_session(shop: Service) -> None:
    """In autocommit mode psycopg2 makes these settings of the session; half of the clients read only."""

    def reader(connection: Connection) -> None:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=True)
        for _ in range(8):
            assert one(connection, "SHOW transaction_isolation") == "repeatable read"
            with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                run(connection, "INSERT INTO job (what) VALUES ('never')")
        connection.set_session(isolation_level="DEFAULT", readonly="DEFAULT")
        assert one(connection, "SHOW default_transaction_read_only") == "off"
        run(connection, "INSERT INTO job (what) VALUES ('read')")

    def writer(connection: Connection) -> None:
        connection.set_session(isolation_level="SERIALIZABLE", autocommit=True)
        for _ in range(8):
            assert one(connection, "SHOW transaction_isolation") == "serializable"
            with contextlib.suppress(psycopg2.errors.SerializationFailure):
                run(connection, "INSERT INTO job (what) VALUES ('written')")
        connection.autocommit = False
        assert one(connection, "SHOW transaction_isolation") == "serializable"
        connection.rollback()

    def client(number: int) -> None:
        with open_to(shop) as connection:
            (reader if number % 2 else writer)(connection)

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job WHERE what = 'read'") == CLIENTS // 2
    assert shop.value("SELECT count(*) FROM job WHERE what = 'never'") == 0


def test_encodings(shop: Service) -> None:
    def client(number: int) -> None:
        encoding, text = [("UTF8", "né €"), ("LATIN1", "né ß"), ("WIN1250", "žluť €")][number % 3]
        with open_to(shop) as connection:
            connection.set_client_encoding(encoding)
            for _ in range(6):
                run(connection, "INSERT INTO job (what, taken_by) VALUES (%s, %s)", text, encoding)
                connection.commit()
                assert one(connection, "SELECT DISTINCT what FROM job WHERE taken_by = %s", encoding) == text
                connection.rollback()
                assert one(connection, "SHOW client_encoding") == encoding
                connection.rollback()
            connection.reset()
            assert connection.encoding == "UTF8"

    at_once(CLIENTS, client)
    assert shop.sql("SELECT DISTINCT what FROM job ORDER BY what") == [
        ("né ß",),
        ("né €",),
        ("žluť €",),
    ]


def test_reset_gives_the_start_values_back(shop: Service) -> None:
    options = "-c search_path=public,pg_catalog -c statement_timeout=21s -c app.tenant=first"
    with open_to(shop, options=options, application_name="shop") as connection:
        for _ in range(5):
            run(connection, "SET statement_timeout = '1s'; SET app.tenant = 'second'; SET DateStyle = 'German'")
            connection.commit()
            assert one(connection, "SELECT DATE '2024-12-31'::text") == "31.12.2024"
            connection.reset()
            assert one(connection, "SHOW statement_timeout") == "21s"
            connection.rollback()
            assert one(connection, "SHOW app.tenant") == "first"
            connection.rollback()
            assert one(connection, "SHOW application_name") == "shop"
            connection.rollback()
            assert connection.info.parameter_status("DateStyle") == "ISO, MDY"
            assert one(connection, "SELECT DATE '2024-12-31'::text") == "2024-12-31"
            connection.rollback()


def test_report_over_a_held_cursor(shop: Service) -> None:
    """It commits after each batch that it read; the cursor outlives that."""
    shop.sql("INSERT INTO job (what) SELECT 'job ' || n FROM generate_series(1, 120) AS n")

    def report(number: int) -> list[str]:
        found = []
        with open_to(shop) as connection:
            with connection.cursor("report", withhold=True, scrollable=True) as cursor:
                cursor.execute("SELECT id, what FROM job ORDER BY id")
                while rows := cursor.fetchmany(30):
                    found += [row[1] for row in rows]
                    run(connection, "UPDATE job SET taken_by = %s WHERE id = %s", str(number), rows[0][0])
                    connection.commit()
                cursor.scroll(0, mode="absolute")
                assert cursor.fetchone()[1] == "job 1"
                connection.commit()
            connection.commit()
            assert one(connection, "SELECT count(*) FROM pg_cursors") == 0
        return found

    assert at_once(CLIENTS, report) == [[f"job {n}" for n in range(1, 121)]] * CLIENTS


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


def test_staging_table(shop: Service) -> None:
    """A temporary table, filled in one transaction and merged in another, the same name for everybody."""

    def load(number: int) -> None:
        with open_to(shop) as connection, connection.cursor() as cursor:
            for turn in range(2):
                cursor.execute("CREATE TEMPORARY TABLE staging (what text)")
                connection.commit()
                cursor.copy_expert("COPY staging FROM STDIN", StringIO(f"{number}-{turn}\n" * 20))
                connection.commit()
                assert one(connection, "SELECT count(*) FROM staging") == 20
                connection.commit()
                cursor.execute("INSERT INTO job (what) SELECT DISTINCT what FROM staging")
                cursor.execute("DROP TABLE staging")
                connection.commit()
                assert one(connection, "SELECT to_regclass('staging')") is None
                connection.commit()

    at_once(CLIENTS, load)
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 2


def test_last_value_is_one_s_own(shop: Service) -> None:
    def client(number: int) -> None:
        with open_to(shop) as connection:
            connection.autocommit = True
            for _ in range(5):
                run(connection, "INSERT INTO job (what) VALUES (%s)", f"client {number}")
                mine = one(connection, "SELECT currval('job_id_seq')")
                assert one(connection, "SELECT what FROM job WHERE id = %s", mine) == f"client {number}"
                assert one(connection, "SELECT lastval()") == mine

    at_once(CLIENTS, client)


def test_advisory_lock_across_transactions(shop: Service) -> None:
    """A critical section of several transactions; the count would come out short without the lock."""
    shop.sql("INSERT INTO job (id, what) VALUES (1, '0')")

    def client(_: int) -> None:
        with open_to(shop) as connection:
            connection.autocommit = True
            for _ in range(4):
                run(connection, "SELECT pg_advisory_lock(4711)")
                count = int(one(connection, "SELECT what FROM job WHERE id = 1"))
                run(connection, "UPDATE job SET what = %s WHERE id = 1", str(count + 1))
                assert one(connection, "SELECT pg_advisory_unlock(4711)") is True

    at_once(CLIENTS, client)
    assert shop.value("SELECT what FROM job WHERE id = 1") == str(CLIENTS * 4)


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
            blob = connection.lobject(0, "wb")
            blob.write(data)
            blob.close()
            connection.commit()
            again = connection.lobject(blob.oid, "rb")
            assert again.read() == data
            again.unlink()
            connection.commit()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM pg_largeobject_metadata") == 0


def test_cancel_hits_the_right_query(shop: Service) -> None:
    """Each client is canceled in its own long query, while the others go on."""

    def client(number: int) -> None:
        with open_to(shop) as connection:
            for _ in range(2):
                run(connection, "INSERT INTO job (what) VALUES (%s)", f"sleeper {number}")
                wanted = f"SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30 + {number})'"
                canceler = threading.Thread(
                    target=lambda wanted=wanted: (wait_for(lambda: shop.value(wanted), 30), connection.cancel())
                )
                canceler.start()
                with pytest.raises(psycopg2.errors.QueryCanceled):
                    run(connection, f"SELECT pg_sleep(30 + {number})")
                canceler.join()
                connection.rollback()
                assert one(connection, "SELECT 1") == 1
                connection.commit()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job") == 0
