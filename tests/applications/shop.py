"""The tables that most of the programs work on, and what has to be true of them afterwards."""

from __future__ import annotations

from decimal import Decimal

from tests.support.service import Service

CLIENTS = 6
PRODUCTS = 8
STOCK = 10_000
TENANTS = [f"tenant-{number}" for number in range(CLIENTS)]

TABLES = f"""
DROP TABLE IF EXISTS order_line, orders, product, note, job CASCADE;
CREATE TABLE product (
    id int PRIMARY KEY,
    name text NOT NULL UNIQUE,
    price numeric(10, 2) NOT NULL,
    stock int NOT NULL CHECK (stock >= 0)
);
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer int NOT NULL,
    placed timestamptz NOT NULL DEFAULT now(),
    total numeric(10, 2) NOT NULL DEFAULT 0
);
CREATE TABLE order_line (
    order_id bigint NOT NULL REFERENCES orders,
    product_id int NOT NULL REFERENCES product,
    quantity int NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
INSERT INTO product SELECT n, 'product ' || n, n * 1.25, {STOCK} FROM generate_series(1, {PRODUCTS}) AS n;

-- Row-level security by a setting of the session, which holds for the owner too.
CREATE TABLE note (
    id bigserial PRIMARY KEY,
    tenant text NOT NULL DEFAULT current_setting('app.tenant'),
    body text NOT NULL
);
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
ALTER TABLE note FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON note USING (tenant = current_setting('app.tenant'));

CREATE TABLE job (id bigserial PRIMARY KEY, what text NOT NULL, taken_by text);
"""


def make_shop(service: Service) -> None:
    """The tables as new; made by PostgreSQL itself, past pooler."""
    service.sql(TABLES)


def check_orders(service: Service, count: int) -> None:
    """That many orders, each whole: stock, lines and totals agree."""
    assert service.value("SELECT count(*) FROM orders") == count
    assert service.value("SELECT sum(stock) FROM product") == PRODUCTS * STOCK - service.value(
        "SELECT coalesce(sum(quantity), 0) FROM order_line"
    )
    lines = service.value(
        "SELECT coalesce(sum(quantity * price), 0) FROM order_line JOIN product ON id = product_id"
    )
    assert service.value("SELECT coalesce(sum(total), 0) FROM orders") == Decimal(lines)
    halves = "SELECT count(*) FROM orders WHERE NOT EXISTS (SELECT FROM order_line WHERE order_id = id)"
    assert service.value(halves) == 0


def check_notes(service: Service, each: int) -> None:
    """Every tenant has its own notes, as many as it wrote, and nobody else has any."""
    rows = service.pg.sql(
        "SELECT tenant, count(*), count(*) FILTER (WHERE starts_with(body, tenant || ':'))"
        " FROM note GROUP BY tenant",
        dbname=service.database,
    )
    assert sorted(rows) == [(tenant, each, each) for tenant in TENANTS]
