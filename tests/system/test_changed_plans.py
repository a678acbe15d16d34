"""Drivers that keep prepared statements while tables change: more clients than servers, and no errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import psycopg
import pytest

from tests.support.pooler import Pooler

CLIENTS = 5
CHANGES = [
    "ALTER TABLE kept ALTER COLUMN n TYPE text",
    "ALTER TABLE kept ADD COLUMN later timestamptz DEFAULT '2000-01-01 00:00+00'",
    "ALTER TABLE kept ALTER COLUMN n TYPE bigint USING n::bigint",
    "DROP TABLE kept; CREATE TABLE kept AS SELECT 8.5 AS other",
    "CREATE TABLE unrelated (n int); DROP TABLE unrelated",
]

HOW = ["through_pooler", "past_pooler", "new_servers"]


@pytest.fixture
def small(make_pooler: Callable[..., Pooler]) -> Pooler:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=2"})
    pooler.sql("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7 AS n, 'x' AS x")
    return pooler


def alter(pooler: Pooler, change: str, how: str) -> tuple[object, ...]:
    """Changes the table; its row, as a client sees it that has never seen it before."""
    if how == "through_pooler":
        pooler.sql(change)
    else:
        pooler.pg.sql(change, user="bouncer", dbname="p0")
    if how == "new_servers":
        pooler.console("RECONNECT p0")
    (row,) = pooler.pg.sql("SELECT * FROM kept", dbname="p0")
    return row


@pytest.mark.parametrize("how", HOW)
def test_asyncpg(small: Pooler, how: str) -> None:
    """It goes by the columns that it was told of first, and parses again at PostgreSQL's error."""

    async def main() -> None:
        clients = [
            await asyncpg.connect(host=small.host, port=small.port, user="bouncer", database="p0")
            for _ in range(CLIENTS)
        ]
        for change in CHANGES:
            for _ in range(3):
                await asyncio.gather(*(client.fetchrow("SELECT * FROM kept") for client in clients))
            row = alter(small, change, how)
            for _ in range(3):
                for got in await asyncio.gather(
                    *(client.fetchrow("SELECT * FROM kept") for client in clients)
                ):
                    assert tuple(got) == row
        for client in clients:
            await client.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", HOW)
def test_psycopg(small: Pooler, how: str) -> None:
    """It asks for columns every time, and would never parse again."""

    async def main() -> None:
        clients = [
            await psycopg.AsyncConnection.connect(
                small.dsn(dbname="p0"), autocommit=True, prepare_threshold=0
            )
            for _ in range(CLIENTS)
        ]

        async def fetch(client: psycopg.AsyncConnection[tuple[object, ...]]) -> tuple[object, ...] | None:
            return await (await client.execute("SELECT * FROM kept")).fetchone()

        for change in CHANGES:
            for _ in range(3):
                await asyncio.gather(*map(fetch, clients))
            row = alter(small, change, how)
            for _ in range(3):
                assert await asyncio.gather(*map(fetch, clients)) == [row] * CLIENTS
        for client in clients:
            await client.close()

    asyncio.run(main())
