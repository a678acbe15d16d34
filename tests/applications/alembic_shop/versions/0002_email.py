"""A column that is filled from another before it must not be null; a temporary table on the way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rows change by SQL."""
    op.add_column("customer", sa.Column("email", sa.Text))
    op.execute(
        "CREATE TEMPORARY TABLE address AS SELECT id, 'c' || id || '@example.org' AS email FROM customer"
    )
    op.execute("UPDATE customer SET email = address.email FROM address WHERE address.id = customer.id")
    op.execute("DROP TABLE address")
    op.alter_column("customer", "email", nullable=False)
    op.alter_column("customer", "name", type_=sa.String(80))


def downgrade() -> None:
    """As before."""
    op.alter_column("customer", "name", type_=sa.String(40))
    op.drop_column("customer", "email")
