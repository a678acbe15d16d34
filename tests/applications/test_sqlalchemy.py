"""Programs on SQLAlchemy's ORM and core, with each of its engines for PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey, event, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from tests.applications.shop import CLIENTS, TENANTS, check_notes, check_orders
from tests.support.crowd import at_once
from tests.support.service import Service

DRIVERS = ("psycopg", "psycopg2", "pg8000")


class Base(DeclarativeBase):
    """The shop's tables as classes."""


class Product(Base):
    """A row of the stock."""

    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    stock: Mapped[int]


class Order(Base):
    """An order with its lines."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    customer: Mapped[int]
    total: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2), default=Decimal(0))
    lines: Mapped[list[Line]] = relationship()


class Line(Base):
    """One product of an order."""

    __tablename__ = "order_line"
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True)
    quantity: Mapped[int]
    product: Mapped[Product] = relationship()


class Note(Base):
    """What a tenant may read only if it is its own."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default=text("current_setting('app.tenant')"))
    body: Mapped[str]


class GivenUpError(Exception):
    """A customer thinks better of it."""


@pytest.fixture(params=DRIVERS)
def engine(request: pytest.FixtureRequest, shop: Service) -> Iterator[sa.Engine]:
    """An engine with a connection for each client, more than pooler has servers."""
    url = shop.url(f"postgresql+{request.param}")
    engine = sa.create_engine(url, pool_size=CLIENTS, pool_pre_ping=True)
    yield engine
    engine.dispose()


def place_order(session: Session, customer: int, turn: int) -> None:
    order = Order(customer=customer, total=Decimal(0))
    session.add(order)
    wanted = [1 + turn % 3, 4 + customer % 3]
    query = select(Product).where(Product.id.in_(wanted)).order_by(Product.id).with_for_update()
    for product in session.scalars(query):
        order.lines.append(Line(product=product, quantity=2))
        product.stock -= 2
        order.total += product.price * 2
    session.flush()
    with pytest.raises(sa.exc.DBAPIError, match="product_stock_check"), session.begin_nested():
        session.execute(sa.update(Product).where(Product.id == 1).values(stock=-1))
    if turn % 4 == 3:
        raise GivenUpError


def test_orders(engine: sa.Engine, shop: Service) -> None:
    def customer(number: int) -> None:
        for turn in range(8):
            try:
                with Session(engine) as session, session.begin():
                    place_order(session, number, turn)
            except GivenUpError:
                continue
        with Session(engine) as session:
            query = select(Order).where(Order.customer == number).options(selectinload(Order.lines))
            orders = session.scalars(query).all()
            assert [len(order.lines) for order in orders] == [2] * 6
            assert sum(line.quantity for order in orders for line in order.lines) == 24

    at_once(CLIENTS, customer)
    check_orders(shop, CLIENTS * 6)


def test_tenants(engine: sa.Engine, shop: Service) -> None:
    """A connection is taken from the engine's pool, given to a tenant, and used in several transactions."""

    def tenant(number: int) -> None:
        me = TENANTS[number]
        for turn in range(3):
            with engine.connect() as connection:
                connection.execute(select(func.set_config("app.tenant", me, False)))
                connection.commit()
                with Session(connection) as session:
                    session.add(Note(body=f"{me}: {turn}"))
                    session.commit()
                    assert [note.tenant for note in session.scalars(select(Note))] == [me] * (turn + 1)

    at_once(CLIENTS, tenant)
    check_notes(shop, 3)


def test_settings_made_at_connect(engine: sa.Engine, shop: Service) -> None:
    """As documented for a search path: an event of the engine runs SET once for a new connection."""

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET search_path TO elsewhere, public")
        cursor.execute("SET statement_timeout TO '44s'")
        cursor.close()
        connection.commit()

    def client(_: int) -> None:
        for _ in range(5):
            with engine.connect() as connection:
                assert connection.scalar(text("SHOW search_path")) == "elsewhere, public"
                connection.commit()
                assert connection.scalar(text("SHOW statement_timeout")) == "44s"
                assert connection.scalar(select(func.count()).select_from(Product)) == 8

    at_once(CLIENTS, client)


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_levels(engine: sa.Engine, shop: Service, level: str) -> None:
    """By an option of a connection, of an engine, or for all connections of another engine."""
    optional = engine.execution_options(isolation_level=level)
    another = sa.create_engine(engine.url, isolation_level=level)
    wanted = "read committed" if level == "AUTOCOMMIT" else level.lower()

    def client(number: int) -> None:
        for turn in range(4):
            with [engine, optional, another][number % 3].connect() as connection:
                if number % 3 == 0:
                    connection = connection.execution_options(isolation_level=level)
                assert connection.scalar(text("SHOW transaction_isolation")) == wanted
                assert connection.scalar(text(f"SELECT {turn}")) == turn
                connection.commit()
                assert connection.scalar(text("SHOW transaction_isolation")) == wanted
            with engine.connect() as connection:
                assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"

    try:
        at_once(CLIENTS, client)
    finally:
        another.dispose()


def test_rows_streamed(engine: sa.Engine, shop: Service) -> None:
    """Server-side cursors; pg8000 has none and reads everything at once."""
    shop.sql("INSERT INTO job (what) SELECT 'job ' || n FROM generate_series(1, 500) AS n")

    def reader(_: int) -> int:
        with engine.connect() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=60)
            rows = streaming.execute(text("SELECT id, what FROM job ORDER BY id"))
            return sum(len(part) for part in rows.partitions())

    assert at_once(CLIENTS, reader) == [500] * CLIENTS


def test_tables_made_and_reflected(engine: sa.Engine, shop: Service) -> None:
    """DDL by metadata, and the many catalog queries of reflection."""

    def client(number: int) -> None:
        metadata = sa.MetaData()
        table = sa.Table(
            f"made_{number}",
            metadata,
            sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
            sa.Column("kind", sa.Enum("a", "b", name=f"kind_{number}")),
            sa.Column("data", sa.JSON),
            sa.Column("tags", sa.ARRAY(sa.Text) if number % 2 else sa.Text, index=True),
        )
        metadata.create_all(engine)
        with engine.begin() as connection:
            rows = [{"kind": "ab"[n % 2], "data": {"n": n}} for n in range(20)]
            connection.execute(sa.insert(table), rows)
        again = sa.MetaData()
        again.reflect(engine, only=[table.name])
        assert [column.name for column in again.tables[table.name].columns] == ["id", "kind", "data", "tags"]
        with engine.connect() as connection:
            data = connection.scalars(select(table.c.data).where(table.c.kind == "b").order_by(table.c.id))
            assert [value["n"] for value in data] == list(range(1, 20, 2))
        metadata.drop_all(engine)
        assert not sa.inspect(engine).has_table(table.name)

    at_once(CLIENTS, client)


def test_temporary_tables(engine: sa.Engine, shop: Service) -> None:
    """A table of a connection, used in several of its transactions."""
    metadata = sa.MetaData()
    staging = sa.Table("staging", metadata, sa.Column("what", sa.Text), prefixes=["TEMPORARY"])

    def client(number: int) -> None:
        with engine.connect() as connection:
            staging.create(connection)
            connection.commit()
            connection.execute(sa.insert(staging), [{"what": f"{number}-{n}"} for n in range(10)])
            connection.commit()
            count = select(func.count()).select_from(staging).where(staging.c.what.like(f"{number}-%"))
            assert connection.scalar(count) == 10
            connection.commit()
            staging.drop(connection)
            connection.commit()

    at_once(CLIENTS, client)


def test_two_phase_sessions(shop: Service) -> None:
    engine = sa.create_engine(shop.url("postgresql+psycopg2"), pool_size=CLIENTS)

    def client(number: int) -> None:
        for turn in range(2):
            with Session(engine, twophase=True) as session:
                session.add(Order(customer=number, total=Decimal(0)))
                session.prepare()
                (session.rollback if turn else session.commit)()

    try:
        at_once(CLIENTS, client)
    finally:
        engine.dispose()
    assert shop.value("SELECT count(*) FROM orders") == CLIENTS
    assert shop.value("SELECT count(*) FROM pg_prepared_xacts") == 0


# asyncpg, on one event loop.


async def place_order_async(session: AsyncSession, customer: int, turn: int) -> None:
    order = Order(customer=customer, total=Decimal(0), lines=[])
    session.add(order)
    wanted = [1 + turn % 3, 4 + customer % 3]
    query = select(Product).where(Product.id.in_(wanted)).order_by(Product.id).with_for_update()
    for product in (await session.scalars(query)).all():
        order.lines.append(Line(product=product, quantity=2))
        product.stock -= 2
        order.total += product.price * 2
    await session.flush()
    with pytest.raises(sa.exc.DBAPIError, match="product_stock_check"):
        async with session.begin_nested():
            await session.execute(sa.update(Product).where(Product.id == 1).values(stock=-1))
    if turn % 4 == 3:
        raise GivenUpError


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg_async"])
def test_asynchronous(shop: Service, driver: str) -> None:
    shop.sql("INSERT INTO job (what) SELECT 'job ' || n FROM generate_series(1, 200) AS n")

    async def main() -> None:
        engine = create_async_engine(shop.url(f"postgresql+{driver}"), pool_size=CLIENTS)
        sessions = async_sessionmaker(engine)

        async def customer(number: int) -> None:
            for turn in range(8):
                try:
                    async with sessions.begin() as session:
                        await place_order_async(session, number, turn)
                except GivenUpError:
                    continue
            async with engine.connect() as connection:
                level = await connection.execution_options(isolation_level="SERIALIZABLE")
                assert await level.scalar(text("SHOW transaction_isolation")) == "serializable"
                stream = await level.stream(text("SELECT what FROM job"))
                assert len([row async for row in stream]) == 200
            autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
            async with autocommit.connect() as connection:
                await connection.execute(text("SET app.tenant = 'nobody'"))
                assert await connection.scalar(text("SHOW app.tenant")) == "nobody"
                await connection.execute(text("RESET ALL"))

        try:
            await asyncio.gather(*map(customer, range(CLIENTS)))
        finally:
            await engine.dispose()

    asyncio.run(main())
    check_orders(shop, CLIENTS * 6)
