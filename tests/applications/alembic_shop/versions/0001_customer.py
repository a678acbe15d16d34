"""A table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Made, with rows."""
    table = op.create_table(
        "customer",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
    )
    op.bulk_insert(table, [{"id": n, "name": f"Customer {n}"} for n in range(1, 21)])


def downgrade() -> None:
    """Gone."""
    op.drop_table("customer")
