"""An asynchronous program on psycopg 3: one event loop, more connections than servers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import psycopg
import psycopg_pool
import pytest

from tests.applications.shop import CLIENTS, TENANTS, check_notes, check_orders
from tests.support.service import Service

POOL_SIZES = (2, 1)

Connection = psycopg.AsyncConnection[Any]


async def one(connection: Connection, text: str, *arguments: object) -> Any:
    row = await (await connection.execute(text, arguments)).fetchone()
    assert row is not None
    return row[0]


async def place_order(connection: Connection, customer: int, turn: int) -> None:
    async with connection.transaction(force_rollback=turn % 4 == 3):
        order = await one(connection, "INSERT INTO orders (customer) VALUES (%s) RETURNING id", customer)
        for product in sorted({1 + turn % 3, 4 + customer % 3}):
            take = "UPDATE product SET stock = stock - 1 WHERE id = %s RETURNING price"
            price = await one(connection, take, product)
            async with connection.pipeline():
                await connection.execute("INSERT INTO order_line VALUES (%s, %s, 1)", (order, product))
                await connection.execute("UPDATE orders SET total = total + %s WHERE id = %s", (price, order))


def test_orders(shop: Service) -> None:
    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(
            shop.dsn(), min_size=CLIENTS, check=psycopg_pool.AsyncConnectionPool.check_connection
        ) as pool:

            async def customer(number: int) -> None:
                for turn in range(12):
                    async with pool.connection() as connection:
                        await place_order(connection, number, turn)

            await asyncio.gather(*map(customer, range(CLIENTS)))

    asyncio.run(main())
    check_orders(shop, CLIENTS * 9)


def test_tenants(shop: Service) -> None:
    async def tenant(number: int) -> None:
        me = TENANTS[number]
        connection = await psycopg.AsyncConnection.connect(shop.dsn(), autocommit=True)
        async with connection:
            await connection.execute("SELECT set_config('app.tenant', %s, false)", (me,))
            for turn in range(12):
                await connection.execute("INSERT INTO note (body) VALUES (%s)", (f"{me}: {turn}",))
                assert await one(connection, "SELECT count(*) FROM note") == turn + 1

    async def main() -> None:
        await asyncio.gather(*map(tenant, range(CLIENTS)))

    asyncio.run(main())
    check_notes(shop, 12)


def test_queue(shop: Service) -> None:
    """Workers hear of jobs on one connection and take them on another."""
    jobs = 12

    async def worker(number: int, ready: asyncio.Event) -> int:
        taken = 0
        take = (
            "UPDATE job SET taken_by = %s WHERE id = (SELECT id FROM job WHERE taken_by IS NULL"
            " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
        )
        connect = psycopg.AsyncConnection.connect
        listening = await connect(shop.dsn(), autocommit=True)
        working = await connect(shop.dsn(), autocommit=True)
        async with listening, working:
            await listening.execute("LISTEN job")
            ready.set()
            async for note in listening.notifies(timeout=40):
                if note.payload == "end":
                    break
                while await (await working.execute(take, (str(number),))).fetchone():
                    taken += 1
        return taken

    async def main() -> list[int]:
        events = [asyncio.Event() for _ in range(3)]
        workers = [asyncio.create_task(worker(n, event)) for n, event in enumerate(events)]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in events)), 30)
        async with await psycopg.AsyncConnection.connect(shop.dsn()) as connection:
            for n in range(jobs):
                await connection.execute("INSERT INTO job (what) VALUES (%s)", (f"job {n}",))
                await connection.execute("NOTIFY job")
                await connection.commit()
            await connection.execute("NOTIFY job, 'end'")
        return await asyncio.gather(*workers)

    assert sum(asyncio.run(main())) == jobs


def test_cursors_and_copy(shop: Service) -> None:
    async def client(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(shop.dsn()) as connection:
            async with connection.cursor().copy("COPY job (what, taken_by) FROM STDIN") as copy:
                for n in range(200):
                    await copy.write_row((f"job {n}", str(number)))
            await connection.commit()
            async with connection.cursor("mine", withhold=True) as cursor:
                await cursor.execute("SELECT what FROM job WHERE taken_by = %s ORDER BY id", (str(number),))
                await connection.commit()
                found = [row[0] async for row in cursor]
            assert found == [f"job {n}" for n in range(200)]

    async def main() -> None:
        await asyncio.gather(*map(client, range(CLIENTS)))

    asyncio.run(main())


def test_tasks_canceled_in_the_middle(shop: Service) -> None:
    """A web request that is given up cancels its query; the others do not notice."""

    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(shop.dsn(), min_size=CLIENTS) as pool:

            async def slow(_: int) -> None:
                async with pool.connection() as connection:
                    await connection.execute("INSERT INTO job (what) VALUES ('slow')")
                    await connection.execute("SELECT pg_sleep(60)")

            async def quick(number: int) -> None:
                for turn in range(6):
                    async with pool.connection() as connection:
                        assert await one(connection, "SELECT %s::int", number * turn) == number * turn

            given_up = asyncio.create_task(slow(0))
            work = asyncio.gather(*map(quick, range(1, CLIENTS)))
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
            while not await asyncio.to_thread(shop.value, sleeping):
                assert not given_up.done()
            given_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await given_up
            await work

    asyncio.run(main())
    assert shop.value("SELECT count(*) FROM job") == 0


def test_settings_by_startup(shop: Service) -> None:
    options = "-c search_path=other,public -c timezone=Europe/Vienna -c statement_timeout=33s"

    async def client(_: int) -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(shop.dsn(), options=options, autocommit=True) as connection:
            for _ in range(8):
                assert await one(connection, "SHOW search_path") == "other,public"
                assert str(connection.info.timezone) == "Europe/Vienna"
                moment = await one(connection, "SELECT '2024-07-01 12:00+00'::timestamptz::text")
                assert moment == "2024-07-01 14:00:00+02"
                assert await one(connection, "SHOW statement_timeout") == "33s"
            with pytest.raises(psycopg.errors.UndefinedTable):
                await connection.execute("SELECT * FROM nothing")

    async def main() -> None:
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    asyncio.run(main())
