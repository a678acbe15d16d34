"""How Alembic reaches the database: migrators take turns by a lock that they hold over all transactions."""

from __future__ import annotations

import os
import time

import sqlalchemy as sa
from alembic import context
from sqlalchemy.pool import NullPool

LOCK = 72_707_001

metadata = sa.MetaData()
sa.Table(
    "customer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(80), nullable=False, index=True),
    sa.Column("email", sa.Text, nullable=False),
)


def lock(connection: sa.Connection) -> None:
    """Tried again and again: who waits inside PostgreSQL holds up another's CREATE INDEX CONCURRENTLY."""
    deadline = time.monotonic() + 60
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(LOCK))):
        connection.commit()
        assert time.monotonic() < deadline, "another migrator does not end"
        time.sleep(0.01)
    connection.commit()


def migrate(connection: sa.Connection) -> None:
    """All that is to be done, one transaction for each migration."""
    lock(connection)
    try:
        context.configure(
            connection=connection, target_metadata=metadata, transaction_per_migration=True, compare_type=True
        )
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        unlocked = connection.scalar(sa.select(sa.func.pg_advisory_unlock(LOCK)))
        connection.commit()
        assert unlocked, "the lock was not ours any more"


engine = sa.create_engine(os.environ["DATABASE_URL"], poolclass=NullPool)
with engine.connect() as connection:
    migrate(connection)
