"""An index made outside of any transaction, under a time limit for locks that is this migration's own."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """CREATE INDEX CONCURRENTLY."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '17s'")
        op.create_index("ix_customer_name", "customer", ["name"], postgresql_concurrently=True)
        assert op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar() == "17s"
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    """DROP INDEX CONCURRENTLY."""
    with op.get_context().autocommit_block():
        op.drop_index("ix_customer_name", postgresql_concurrently=True)
