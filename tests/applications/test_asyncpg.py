"""A program on asyncpg with its defaults: its pool, its cache of prepared statements, listeners, COPY."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import asyncpg
import pytest

from tests.applications.shop import CLIENTS, PRODUCTS, TENANTS, check_notes, check_orders
from tests.support.service import Service

POOL_SIZES = (2, 1)


def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Runs all at once on one event loop; their results."""

    async def main() -> list[Any]:
        return await asyncio.gather(*work)

    return asyncio.run(main())


async def place_order(connection: Any, customer: int, chance: random.Random, give_up: bool) -> None:
    wanted = {number: chance.randint(1, 5) for number in sorted(chance.sample(range(1, PRODUCTS + 1), 3))}
    transaction = connection.transaction()
    await transaction.start()
    order = await connection.fetchval("INSERT INTO orders (customer) VALUES ($1) RETURNING id", customer)
    for number, quantity in wanted.items():
        take = "UPDATE product SET stock = stock - $1 WHERE id = $2 RETURNING price"
        price = await connection.fetchval(take, quantity, number)
        await connection.execute("INSERT INTO order_line VALUES ($1, $2, $3)", order, number, quantity)
        await connection.execute(
            "UPDATE orders SET total = total + $1 WHERE id = $2", price * quantity, order
        )
    with pytest.raises(asyncpg.CheckViolationError):
        async with connection.transaction():
            await connection.execute("UPDATE product SET stock = $1 WHERE id = $2", -1, min(wanted))
    await (transaction.rollback() if give_up else transaction.commit())


def test_orders(shop: Service) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**shop.keywords(), min_size=3, max_size=CLIENTS) as pool:

            async def customer(number: int) -> None:
                chance = random.Random(number)
                for turn in range(12):
                    async with pool.acquire() as connection:
                        await place_order(connection, number, chance, give_up=turn % 4 == 3)

            await asyncio.gather(*map(customer, range(CLIENTS)))

    asyncio.run(main())
    check_orders(shop, CLIENTS * 9)


def test_tenants_by_startup(shop: Service) -> None:
    async def tenant(number: int) -> None:
        me = TENANTS[number]
        connection = await asyncpg.connect(**shop.keywords(server_settings={"app.tenant": me}))
        try:
            for turn in range(10):
                await connection.execute("INSERT INTO note (body) VALUES ($1)", f"{me}: {turn}")
                assert await connection.fetchval("SELECT count(*) FROM note") == turn + 1
                if turn == 5:
                    await connection.reset()  # back to what it started with
        finally:
            await connection.close()

    together(*map(tenant, range(CLIENTS)))
    check_notes(shop, 10)


def test_tenants_of_a_pool(shop: Service) -> None:
    """The pool's reset after each release takes the tenant away again."""

    async def main() -> None:
        async with asyncpg.create_pool(**shop.keywords(), min_size=3, max_size=3) as pool:

            async def tenant(number: int) -> None:
                me = TENANTS[number]
                for turn in range(8):
                    async with pool.acquire() as connection:
                        setting = "SELECT coalesce(current_setting('app.tenant', true), '')"
                        assert await connection.fetchval(setting) == ""
                        await connection.execute("SELECT set_config('app.tenant', $1, false)", me)
                        await connection.execute("INSERT INTO note (body) VALUES ($1)", f"{me}: {turn}")
                        assert await connection.fetchval("SELECT count(*) FROM note") == turn + 1

            await asyncio.gather(*map(tenant, range(CLIENTS)))

    asyncio.run(main())
    check_notes(shop, 8)


def test_statements_prepared_by_hand(shop: Service) -> None:
    """They live as long as the connection, whatever server answers; types are looked up on the way."""
    shop.sql("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE place AS (street text, number int)")

    async def client(number: int) -> None:
        connection = await asyncpg.connect(**shop.keywords())
        try:
            cheap = await connection.prepare("SELECT name FROM product WHERE id <= $1 ORDER BY id")
            odd = await connection.prepare("SELECT $1::mood AS mood, ROW('Long', $2)::place AS place")
            assert [a.name for a in odd.get_attributes()] == ["mood", "place"]
            for turn in range(1, PRODUCTS):
                rows = await cheap.fetch(turn)
                assert [row["name"] for row in rows] == [f"product {n}" for n in range(1, turn + 1)]
                row = await odd.fetchrow("happy", number)
                assert (row["mood"], row["place"]["number"]) == ("happy", number)
            with pytest.raises(asyncpg.InvalidTextRepresentationError):
                await odd.fetchrow("furious", 1)
            assert len(await cheap.fetch(3)) == 3
        finally:
            await connection.close()

    try:
        together(*map(client, range(CLIENTS)))
    finally:
        shop.sql("DROP TYPE mood, place")


def test_many_statements(shop: Service) -> None:
    """More texts than asyncpg's cache holds: old statements are closed, new ones made all the time."""

    async def client(number: int) -> None:
        connection = await asyncpg.connect(**shop.keywords(statement_cache_size=8))
        try:
            for turn in range(3):
                for n in range(14):
                    text = f"SELECT $1::int + {n} -- client {number % 3}"
                    assert await connection.fetchval(text, turn) == turn + n
        finally:
            await connection.close()

    together(*map(client, range(CLIENTS)))


def test_listeners(shop: Service) -> None:
    """More connections listen than there are servers, and go on with other work meanwhile."""
    count, listeners = 8, 3

    async def listener(ready: asyncio.Event) -> list[str]:
        heard: list[str] = []
        enough = asyncio.Event()

        def note(_: Any, pid: int, channel: str, payload: str) -> None:
            assert (channel, pid > 0) == ("news", True)
            heard.append(payload)
            if len(heard) == count * (CLIENTS - listeners):
                enough.set()

        connection = await asyncpg.connect(**shop.keywords())
        try:
            await connection.add_listener("news", note)
            ready.set()
            for n in range(10):
                assert await connection.fetchval("SELECT $1::int", n) == n
            await asyncio.wait_for(enough.wait(), 30)
            await connection.remove_listener("news", note)
        finally:
            await connection.close()
        return heard

    async def speaker(number: int, ready: list[asyncio.Event]) -> list[str]:
        connection = await asyncpg.connect(**shop.keywords())
        try:
            await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), 30)
            for turn in range(count):
                async with connection.transaction():
                    await connection.execute("SELECT pg_notify('news', $1)", f"{number}-{turn}")
        finally:
            await connection.close()
        return []

    async def main() -> list[list[str]]:
        ready = [asyncio.Event() for _ in range(listeners)]
        speakers = (speaker(number, ready) for number in range(listeners, CLIENTS))
        return await asyncio.gather(*map(listener, ready), *speakers)

    heard = asyncio.run(main())
    assert heard[0] == heard[1] == heard[2]
    assert sorted(heard[0]) == sorted(f"{n}-{t}" for n in range(listeners, CLIENTS) for t in range(count))


def test_cursors_and_copy(shop: Service) -> None:
    async def client(number: int) -> None:
        connection = await asyncpg.connect(**shop.keywords())
        me = str(number)
        try:
            records = [(f"job {n}", me) for n in range(300)]
            await connection.copy_records_to_table("job", records=records, columns=["what", "taken_by"])
            async with connection.transaction():
                query = "SELECT what, taken_by FROM job WHERE taken_by = $1 ORDER BY id"
                found = [tuple(row) async for row in connection.cursor(query, me, prefetch=40)]
                assert found == records
                cursor = await connection.cursor(query, me)
                await cursor.forward(100)
                assert (await cursor.fetchrow())["what"] == "job 100"
            parts: list[bytes] = []

            async def keep(data: bytes) -> None:
                parts.append(data)

            await connection.copy_from_query(
                "SELECT what FROM job WHERE taken_by = $1 ORDER BY id", me, output=keep
            )
            assert b"".join(parts).decode().splitlines() == [f"job {n}" for n in range(300)]
            with pytest.raises(asyncpg.NotNullViolationError):
                await connection.copy_records_to_table("job", records=[(None,)], columns=["what"])
        finally:
            await connection.close()

    together(*map(client, range(CLIENTS)))
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 300


def test_executemany(shop: Service) -> None:
    async def client(number: int) -> None:
        connection = await asyncpg.connect(**shop.keywords())
        try:
            for _ in range(3):
                rows = [(f"{number}: {n}",) for n in range(60)]
                await connection.executemany("INSERT INTO job (what) VALUES ($1)", rows)
                with pytest.raises(asyncpg.NotNullViolationError):
                    await connection.executemany("INSERT INTO job (what) VALUES ($1)", [("x",), (None,)])
        finally:
            await connection.close()

    together(*map(client, range(CLIENTS)))
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 180


def test_table_changed_under_a_cached_statement(shop: Service) -> None:
    """asyncpg prepares again by itself when a result has new columns; nobody notices outside transactions."""
    changed = asyncio.Event()

    async def client(counted: asyncio.Semaphore) -> list[int]:
        connection = await asyncpg.connect(**shop.keywords())
        try:
            before = await connection.fetchrow("SELECT * FROM job LIMIT 1")
            counted.release()
            await asyncio.wait_for(changed.wait(), 30)
            after = [await connection.fetchrow("SELECT * FROM job LIMIT 1") for _ in range(4)]
            return [len(before), *map(len, after)]
        finally:
            await connection.close()

    async def main() -> list[list[int]]:
        counted = asyncio.Semaphore(0)
        clients = [asyncio.create_task(client(counted)) for _ in range(CLIENTS)]
        for _ in range(CLIENTS):
            await asyncio.wait_for(counted.acquire(), 30)
        await asyncio.to_thread(shop.sql, "ALTER TABLE job ADD COLUMN added int DEFAULT 5")
        changed.set()
        return await asyncio.gather(*clients)

    shop.sql("INSERT INTO job (what) VALUES ('first')")
    assert asyncio.run(main()) == [[3, 4, 4, 4, 4]] * CLIENTS


def test_time_limits(shop: Service) -> None:
    """A call that takes too long is canceled by the driver; the connection goes on."""

    async def client(number: int) -> None:
        connection = await asyncpg.connect(**shop.keywords())
        try:
            for turn in range(2):
                with pytest.raises(asyncio.TimeoutError):
                    await connection.fetchval("SELECT pg_sleep(30)", timeout=0.1)
                assert await connection.fetchval("SELECT $1::int", number + turn) == number + turn
        finally:
            await connection.close()

    together(*map(client, range(CLIENTS)))
