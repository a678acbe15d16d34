"""Products and orders, as Django's models."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models


class Product(models.Model):
    """What is in stock."""

    name = models.CharField(max_length=100, unique=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    stock = models.PositiveIntegerField()
    tags = ArrayField(models.TextField(), default=list)


class Order(models.Model):
    """A customer, who orders."""

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    placed = models.DateTimeField(auto_now_add=True)
    details = models.JSONField(default=dict)
    products = models.ManyToManyField(Product, through="Line")


class Line(models.Model):
    """How much of what."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField()

    class Meta:
        """A product stands once in an order."""

        constraints = [models.UniqueConstraint(fields=["order", "product"], name="once")]
        indexes = [models.Index(fields=["quantity"], name="by_quantity")]
