"""The first products: rows written by Python code in a migration."""

from django.db import migrations


def forwards(apps, schema_editor):
    """Eight products."""
    product = apps.get_model("store", "Product")
    product.objects.bulk_create(
        product(id=number, name=f"product {number}", price=number * 3, stock=10_000) for number in range(1, 9)
    )


def backwards(apps, schema_editor):
    """None."""
    apps.get_model("store", "Product").objects.all().delete()


class Migration(migrations.Migration):
    """Data."""

    dependencies = [("store", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
