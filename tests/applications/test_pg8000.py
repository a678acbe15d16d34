"""Programs on pg8000, a driver in Python alone, by its DB-API and by its own interface."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pg8000.dbapi
import pg8000.native
import pytest

from tests.applications.shop import CLIENTS, TENANTS, check_notes, check_orders
from tests.support.crowd import at_once
from tests.support.service import Service


def native(service: Service, **keywords: Any) -> contextlib.closing[Any]:
    return contextlib.closing(pg8000.native.Connection(**service.keywords(**keywords)))


@contextlib.contextmanager
def dbapi(service: Service) -> Iterator[Any]:
    with contextlib.closing(pg8000.dbapi.connect(**service.keywords())) as connection:
        yield connection


def place_order(cursor: Any, customer: int, turn: int) -> None:
    cursor.execute("INSERT INTO orders (customer) VALUES (%s) RETURNING id", (customer,))
    (order,) = cursor.fetchone()
    for product in sorted({1 + turn % 3, 4 + customer % 3}):
        take = "UPDATE product SET stock = stock - %s WHERE id = %s RETURNING price"
        cursor.execute(take, (2, product))
        (price,) = cursor.fetchone()
        cursor.execute("INSERT INTO order_line VALUES (%s, %s, %s)", (order, product, 2))
        cursor.execute("UPDATE orders SET total = total + %s WHERE id = %s", (price * 2, order))


def test_orders(shop: Service) -> None:
    def customer(number: int) -> None:
        with dbapi(shop) as connection:
            cursor = connection.cursor()
            for turn in range(12):
                place_order(cursor, number, turn)
                if turn % 4 == 3:
                    connection.rollback()
                else:
                    connection.commit()
                if turn == 6:
                    with pytest.raises(pg8000.dbapi.DatabaseError):
                        cursor.execute("SELECT 1 / %s", (0,))
                    connection.rollback()

    at_once(CLIENTS, customer)
    check_orders(shop, CLIENTS * 9)


def test_tenants(shop: Service) -> None:
    def tenant(number: int) -> None:
        me = TENANTS[number]
        with native(shop, startup_params={"app.tenant": me} if number % 2 else {}) as connection:
            if number % 2 == 0:
                connection.run("SELECT set_config('app.tenant', :me, false)", me=me)
            for turn in range(10):
                connection.run("INSERT INTO note (body) VALUES (:body)", body=f"{me}: {turn}")
                assert connection.run("SELECT count(*) FROM note") == [[turn + 1]]

    at_once(CLIENTS, tenant)
    check_notes(shop, 10)


def test_prepared(shop: Service) -> None:
    def client(number: int) -> None:
        with native(shop) as connection:
            add = connection.prepare("SELECT :a::int + :b::int")
            name = connection.prepare("SELECT name FROM product WHERE id = :id")
            for turn in range(1, 8):
                assert add.run(a=number, b=turn) == [[number + turn]]
                assert name.run(id=turn) == [[f"product {turn}"]]
            add.close()
            with pytest.raises(pg8000.native.DatabaseError):
                connection.run("SELECT nothing FROM nowhere")
            assert name.run(id=1) == [["product 1"]]

    at_once(CLIENTS, client)


def test_copy(shop: Service) -> None:
    def client(number: int) -> None:
        with native(shop) as connection:
            text = "".join(f"line {n}\t{number}\n" for n in range(300)).encode()
            connection.run("COPY job (what, taken_by) FROM STDIN", stream=BytesIO(text))
            out = BytesIO()
            mine = f"SELECT what, taken_by FROM job WHERE taken_by = '{number}' ORDER BY id"
            connection.run(f"COPY ({mine}) TO STDOUT", stream=out)
            assert out.getvalue() == text

    at_once(CLIENTS, client)


def test_own_notifications(shop: Service) -> None:
    """They come with the answer to a later statement, whichever server gives it."""

    def client(number: int) -> None:
        with native(shop) as connection:
            connection.run(f"LISTEN channel_{number}")
            for turn in range(4):
                connection.run(f"NOTIFY channel_{number}, '{turn}'")
            while len(connection.notifications) < 4:
                connection.run("SELECT 1")
            assert [note[1:] for note in connection.notifications] == [
                (f"channel_{number}", str(turn)) for turn in range(4)
            ]
            connection.run("UNLISTEN *")

    at_once(CLIENTS, client)


def test_two_phase_commit(shop: Service) -> None:
    def client(number: int) -> None:
        with dbapi(shop) as connection:
            for turn in range(2):
                connection.tpc_begin(connection.xid(0, f"{number}-{turn}", ""))
                connection.cursor().execute("INSERT INTO job (what) VALUES ('two phases')")
                connection.tpc_prepare()
                (connection.tpc_rollback if turn else connection.tpc_commit)()

    at_once(CLIENTS, client)
    assert shop.value("SELECT count(*) FROM job") == CLIENTS
    assert shop.value("SELECT count(*) FROM pg_prepared_xacts") == 0
