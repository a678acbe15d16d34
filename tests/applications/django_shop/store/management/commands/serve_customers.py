"""Customers in threads use the site at once; what they saw is printed as JSON."""

import json
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import close_old_connections, connection, transaction
from django.test import Client

from django_shop.store.models import Line, Order, Product


class Command(BaseCommand):
    """serve_customers NUMBER"""

    def add_arguments(self, parser):
        """How many customers."""
        parser.add_argument("customers", type=int)

    def handle(self, customers, **options):
        """All customers at once, each with a connection of its own that stays open between requests."""
        User.objects.all().delete()
        Product.objects.all().update(stock=10_000)
        connection.close()
        with ThreadPoolExecutor(customers) as threads:
            seen = list(threads.map(self.customer, range(customers)))
        self.stdout.write(json.dumps(seen))

    def customer(self, number):
        """A visit: some orders, one look, a report, and the ORM outside of requests."""
        try:
            User.objects.create_user(f"customer {number}", password="secret")
            client = Client(raise_request_exception=True)
            client.post("/login/", {"name": f"customer {number}", "password": "secret"})
            for turn in range(6):
                wanted = {1 + turn % 3: 2, 4 + number % 4: 3}
                client.post("/order/", json.dumps(wanted), content_type="application/json")
            report = client.get("/report/")
            assert report.status_code == 200, report.content
            self.long_read(number)
            return client.get("/orders/").json()
        finally:
            close_old_connections()
            connection.close()

    def long_read(self, number):
        """Cursors in and out of transactions, interleaved with writes."""
        mine = Line.objects.filter(order__customer__username=f"customer {number}").order_by("pk")
        with transaction.atomic():
            assert sum(1 for _ in mine.iterator(chunk_size=5)) == 12
        for line in mine.iterator(chunk_size=5):
            Order.objects.filter(pk=line.order_id).update(details={"seen": line.pk})
        with transaction.atomic(durable=True):
            order = Order.objects.select_for_update(skip_locked=True).filter(lines__in=mine).first()
            assert order.details["seen"]
