"""An index made while the shop is open, which PostgreSQL does outside of transactions only."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """CREATE INDEX CONCURRENTLY."""

    atomic = False
    dependencies = [("store", "0003_changes")]
    operations = [AddIndexConcurrently("line", models.Index(fields=["quantity"], name="by_quantity"))]
