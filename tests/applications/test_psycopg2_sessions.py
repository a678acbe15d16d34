"""Programs on psycopg2 that keep things in their session: settings, held cursors, temporary tables, locks."""

from __future__ import annotations

import contextlib
from io import StringIO

import psycopg2
import psycopg2.errors
import psycopg2.extras
import psycopg2.pool
import pytest
from psycopg2.extensions import connection as Connection

from tests.applications.dbapi import one, open_to, run
from tests.applications.shop import CLIENTS, PRODUCTS, TENANTS, check_notes
from tests.support.crowd import at_once
from tests.support.service import Service

POOL_SIZES = (2, 1)


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


def test_tenants(shop: Service) -> None:
    """Clients that see what follows from a setting that each connection makes once."""

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
        connection.set_session(isolation_level="default", readonly="default")
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
            run(
                connection,
                "SET statement_timeout = '1s'; SET app.tenant = 'second'; SET DateStyle = 'German'",
            )
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
                assert (cursor.fetchone() or ())[1] == "job 1"
                connection.commit()
            connection.commit()
            assert one(connection, "SELECT count(*) FROM pg_cursors") == 0
        return found

    assert at_once(CLIENTS, report) == [[f"job {n}" for n in range(1, 121)]] * CLIENTS


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
