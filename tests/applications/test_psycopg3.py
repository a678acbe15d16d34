"""Programs on psycopg 3 with its defaults: statements prepared at their fifth use, pipelines, COPY."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row, scalar_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum

from tests.applications.shop import CLIENTS, PRODUCTS, TENANTS, check_notes, check_orders
from tests.support.crowd import at_once
from tests.support.processes import wait_for
from tests.support.service import Service

Connection = psycopg.Connection[Any]


class GivenUpError(Exception):
    """A customer thinks better of it."""


def open_to(service: Service, **keywords: Any) -> Connection:
    """Works as a context manager that commits and closes."""
    return psycopg.connect(service.dsn(), **keywords)


def one(connection: Connection, text: str, *arguments: object) -> Any:
    """The first column of the first row; each text is prepared at its fifth use."""
    row = connection.execute(text, arguments).fetchone()
    assert row is not None
    return row[0]


def place_order(connection: Connection, customer: int, chance: random.Random, give_up: bool) -> None:
    """One transaction of statements that are the same each time."""
    wanted = {number: chance.randint(1, 5) for number in sorted(chance.sample(range(1, PRODUCTS + 1), 3))}
    with connection.transaction():
        order = one(connection, "INSERT INTO orders (customer) VALUES (%s) RETURNING id", customer)
        for number, quantity in wanted.items():
            take = "UPDATE product SET stock = stock - %s WHERE id = %s RETURNING price"
            price = one(connection, take, quantity, number)
            connection.execute("INSERT INTO order_line VALUES (%s, %s, %s)", (order, number, quantity))
            connection.execute(
                "UPDATE orders SET total = total + %s WHERE id = %s", (price * quantity, order)
            )
        with contextlib.suppress(psycopg.errors.CheckViolation), connection.transaction():
            connection.execute("UPDATE product SET stock = %s WHERE id = %s", (-1, min(wanted)))
        if give_up:
            raise GivenUpError


@pytest.mark.parametrize("protocol", ["prepared", "binary", "simple"])
def test_orders(shop: Service, protocol: str) -> None:
    def prepare(connection: Connection) -> None:
        if protocol == "simple":
            connection.cursor_factory = psycopg.ClientCursor
        elif protocol == "binary":
            connection.cursor_factory = BinaryCursor
            connection.prepare_threshold = 0

    with psycopg_pool.ConnectionPool(shop.dsn(), min_size=CLIENTS, configure=prepare) as pool:

        def customer(number: int) -> None:
            chance = random.Random(number)
            for turn in range(12):
                with contextlib.suppress(GivenUpError), pool.connection() as connection:
                    place_order(connection, number, chance, give_up=turn % 4 == 3)

        at_once(CLIENTS, customer)
    check_orders(shop, CLIENTS * 9)


class BinaryCursor(psycopg.Cursor[Any]):
    """Asks for all results in the binary format."""

    format = psycopg.pq.Format.BINARY


def test_tenants(shop: Service) -> None:
    """The setting in the startup message; statements prepared."""

    def tenant(number: int) -> None:
        me = TENANTS[number]
        with open_to(shop, options=f"-c app.tenant={me}", autocommit=True) as connection:
            for turn in range(12):
                connection.execute("INSERT INTO note (body) VALUES (%s)", (f"{me}: {turn}",))
                assert one(connection, "SELECT count(*) FROM note") == turn + 1
            assert connection.execute("SELECT DISTINCT tenant FROM note").fetchall() == [(me,)]

    at_once(CLIENTS, tenant)
    check_notes(shop, 12)


def test_pool_that_changes_the_tenant(shop: Service) -> None:
    """Each checkout of a pooled connection is for another tenant; the pool resets it afterwards."""

    def reset(connection: Connection) -> None:
        connection.execute("RESET ALL")
        connection.commit()

    with psycopg_pool.ConnectionPool(shop.dsn(), min_size=3, max_size=3, reset=reset) as pool:

        def tenant(number: int) -> None:
            me = TENANTS[number]
            for turn in range(8):
                with pool.connection() as connection:
                    assert one(connection, "SELECT coalesce(current_setting('app.tenant', true), '')") == ""
                    connection.execute("SELECT set_config('app.tenant', %s, false)", (me,))
                    connection.commit()
                    connection.execute("INSERT INTO note (body) VALUES (%s)", (f"{me}: {turn}",))
                    connection.commit()
                    assert one(connection, "SELECT count(*) FROM note") == turn + 1

        at_once(CLIENTS, tenant)
    check_notes(shop, 8)


def test_pipelines(shop: Service) -> None:
    """Orders in one round trip each; the ones that fail leave nothing."""

    def customer(number: int) -> int:
        refused = 0
        with open_to(shop, autocommit=True) as connection:
            for turn in range(12):
                with contextlib.suppress(psycopg.errors.CheckViolation):
                    order_in_a_pipeline(connection, number, 1_000_000 if turn % 3 == 2 else 1)
                    continue
                refused += 1
                assert one(connection, "SELECT %s::int", turn) == turn
        return refused

    assert at_once(CLIENTS, customer) == [4] * CLIENTS
    check_orders(shop, CLIENTS * 8)


def order_in_a_pipeline(connection: Connection, customer: int, quantity: int) -> None:
    with connection.pipeline(), connection.transaction():
        total = one_price(connection, 3)
        connection.execute(
            "INSERT INTO orders (customer, total) VALUES (%s, %s)", (customer, total * quantity % 10**8)
        )
        connection.execute("INSERT INTO order_line VALUES (currval('orders_id_seq'), %s, %s)", (3, quantity))
        connection.execute("UPDATE product SET stock = stock - %s WHERE id = %s", (quantity, 3))


def one_price(connection: Connection, product: int) -> Any:
    return one(connection, "SELECT price FROM product WHERE id = %s", product)


def test_pipeline_of_many_transactions(shop: Service) -> None:
    """More requests than answers are waited for; statements are prepared on the way."""

    def client(number: int) -> list[tuple[int, int]]:
        found = []
        with open_to(shop, autocommit=True) as connection:
            for _ in range(4):
                with connection.pipeline() as pipeline:
                    cursors = []
                    for n in range(30):
                        cursors.append(connection.execute("SELECT %s::int, %s::int", (number, n)))
                        pipeline.sync()
                    found += [cursor.fetchall()[0] for cursor in cursors]
        return found

    assert at_once(CLIENTS, client) == [[(number, n) for n in range(30)] * 4 for number in range(CLIENTS)]


def test_executemany(shop: Service) -> None:
    def client(number: int) -> None:
        insert = "INSERT INTO job (what) VALUES (%s) RETURNING what"
        texts = [f"{number}: {n}" for n in range(50)]
        with open_to(shop) as connection, connection.cursor(row_factory=scalar_row) as cursor:
            for _ in range(3):
                cursor.executemany(insert, [(text,) for text in texts], returning=True)
                found = [cursor.fetchone()]
                while cursor.nextset():
                    found.append(cursor.fetchone())
                assert found == texts
                connection.commit()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 150


def test_server_cursors(shop: Service) -> None:
    shop.sql("INSERT INTO job (what) SELECT 'job ' || n FROM generate_series(1, 200) AS n")

    def reader(_: int) -> list[int]:
        found = []
        with open_to(shop) as connection:
            for hold in (False, True):
                with connection.cursor("jobs", withhold=hold, scrollable=True) as cursor:
                    cursor.itersize = 40
                    cursor.execute("SELECT id FROM job WHERE what LIKE %s ORDER BY id", ("job%",))
                    if hold:
                        connection.commit()
                    found.append(sum(1 for _ in cursor))
                    cursor.scroll(-10)
                    found.append(len(cursor.fetchall()))
                connection.commit()
            found.append(sum(1 for _ in connection.cursor().stream("SELECT id FROM job")))
        return found

    assert at_once(CLIENTS, reader) == [[200, 9, 200, 9, 200]] * CLIENTS


def given_up_copy(connection: Connection) -> None:
    with connection.cursor().copy("COPY job (what) FROM STDIN") as copy:
        copy.write_row(("never",))
        raise GivenUpError


def given_up_reading(connection: Connection) -> None:
    with connection.cursor().copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
        copy.read()
        raise GivenUpError


def test_copy(shop: Service) -> None:
    def client(number: int) -> int:
        with open_to(shop) as connection:
            with connection.cursor().copy("COPY job (what, taken_by) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text"])
                for n in range(300):
                    copy.write_row((f"job {n}", str(number)))
            connection.commit()
            with pytest.raises(GivenUpError):
                given_up_copy(connection)
            connection.rollback()
            mine = "COPY (SELECT what FROM job WHERE taken_by = %s ORDER BY id) TO STDOUT"
            with connection.cursor().copy(mine, (str(number),)) as copy:
                assert [row[0] for row in copy.rows()] == [f"job {n}" for n in range(300)]
            connection.commit()
            with pytest.raises(GivenUpError):
                given_up_reading(connection)
            connection.rollback()
            return int(one(connection, "SELECT count(*) FROM job WHERE taken_by = %s", str(number)))

    assert at_once(CLIENTS, client) == [300] * CLIENTS
    assert shop.value("SELECT count(*) FROM job WHERE what = 'never'") == 0


def test_notifications(shop: Service) -> None:
    """Half of the clients listen, more than there are servers; nothing undone is heard."""
    count, listeners = 8, CLIENTS // 2
    ready = threading.Barrier(CLIENTS)

    def listener(_: int) -> list[str]:
        with open_to(shop, autocommit=True) as connection:
            connection.execute("LISTEN news")
            ready.wait(30)
            notes = connection.notifies(timeout=30, stop_after=count * (CLIENTS - listeners))
            return [note.payload for note in notes]

    def speaker(number: int) -> list[str]:
        with open_to(shop) as connection:
            ready.wait(30)
            for turn in range(count):
                connection.execute("SELECT pg_notify('news', %s)", ("undone",))
                connection.rollback()
                connection.execute("SELECT pg_notify('news', %s)", (f"{number}-{turn}",))
                connection.commit()
        return []

    heard = at_once(CLIENTS, lambda number: (listener if number < listeners else speaker)(number))
    assert heard[0] == heard[1] == heard[2]
    assert sorted(heard[0]) == sorted(
        f"{n}-{turn}" for n in range(listeners, CLIENTS) for turn in range(count)
    )


def test_types_looked_up(shop: Service) -> None:
    """psycopg asks the catalogs for types of the application's own."""
    shop.sql("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE place AS (street text, number int)")

    def client(number: int) -> None:
        with open_to(shop, autocommit=True) as connection:
            mood, place = EnumInfo.fetch(connection, "mood"), CompositeInfo.fetch(connection, "place")
            assert mood is not None
            assert place is not None
            register_enum(mood, connection)
            register_composite(place, connection)
            for _ in range(8):
                feeling = one(connection, "SELECT 'happy'::mood")
                assert feeling.name == "happy"
                there = one(connection, "SELECT ROW('Long', %s)::place", number)
                assert (there.street, there.number) == ("Long", number)

    try:
        at_once(CLIENTS, client)
    finally:
        shop.sql("DROP TYPE mood, place")


def test_two_phase_commit(shop: Service) -> None:
    def client(number: int) -> None:
        with open_to(shop) as connection:
            for turn in range(3):
                connection.tpc_begin(connection.xid(1, f"{number}-{turn}", "b"))
                connection.execute("INSERT INTO job (what) VALUES (%s)", (f"{number}-{turn}",))
                connection.tpc_prepare()
                (connection.tpc_rollback if turn == 2 else connection.tpc_commit)()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 2
    assert shop.value("SELECT count(*) FROM pg_prepared_xacts") == 0


def test_isolation_and_read_only(shop: Service) -> None:
    def client(number: int) -> None:
        with open_to(shop, row_factory=dict_row) as connection:
            connection.isolation_level = psycopg.IsolationLevel(1 + number % 4)
            connection.read_only = number % 2 == 1
            wanted = connection.isolation_level.name.lower().replace("_", " ")
            for _ in range(6):
                level = connection.execute("SHOW transaction_isolation").fetchone()
                assert level == {"transaction_isolation": wanted}
                writable = connection.execute("SHOW transaction_read_only").fetchone()
                assert writable == {"transaction_read_only": "on" if connection.read_only else "off"}
                connection.commit()

    at_once(CLIENTS, client)


def test_cancel(shop: Service) -> None:
    def client(number: int) -> None:
        sleep = f"SELECT pg_sleep(40 + {number})"
        running = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"

        with open_to(shop, autocommit=True) as connection:

            def cancel() -> None:
                wait_for(lambda: shop.value(running, sleep), 30)
                connection.cancel_safe(timeout=10)

            canceler = threading.Thread(target=cancel)
            canceler.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(sleep)
            canceler.join()
            assert one(connection, "SELECT 1") == 1

    at_once(CLIENTS, client)
