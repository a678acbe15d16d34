"""Columns change their type, with rows in the table; a constraint, and an array."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """Many ALTER TABLEs in one transaction."""

    dependencies = [("store", "0002_products")]
    operations = [
        migrations.AlterField("product", "price", models.DecimalField(max_digits=10, decimal_places=2)),
        migrations.AlterField("product", "name", models.CharField(max_length=100, unique=True)),
        migrations.AddField(
            "product",
            "tags",
            django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None),
        ),
        migrations.AddConstraint("line", models.UniqueConstraint(fields=["order", "product"], name="once")),
    ]
