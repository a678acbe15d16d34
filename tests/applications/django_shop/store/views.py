"""A shop: log in, order, look at one's orders, and a report that reads everything."""

import json

from django.contrib.auth import authenticate, login
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Sum
from django.http import HttpResponse, JsonResponse

from django_shop.store.models import Line, Order, Product


def log_in(request):
    """The session is kept in the database."""
    user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
    login(request, user)
    return JsonResponse({"id": user.pk})


@login_required
def order(request):
    """One transaction; a savepoint that fails in the middle."""
    wanted = {int(key): quantity for key, quantity in json.loads(request.body).items()}
    products = Product.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
    placed = Order.objects.create(customer=request.user, details={"lines": len(wanted)})
    for product in products:
        Line.objects.create(order=placed, product=product, quantity=wanted[product.pk])
        Product.objects.filter(pk=product.pk).update(stock=F("stock") - wanted[product.pk])
    try:
        with transaction.atomic():
            Line.objects.create(order=placed, product=products[0], quantity=1)
    except IntegrityError:
        return JsonResponse({"order": placed.pk})
    raise AssertionError("the same product twice")


@login_required
def orders(request):
    """What the user has ordered."""
    found = Order.objects.filter(customer=request.user).prefetch_related("lines__product").order_by("pk")
    sums = Line.objects.filter(order__customer=request.user).aggregate(total=Sum("quantity"))
    return JsonResponse({"orders": [len(one.lines.all()) for one in found], "total": sums["total"]})


@transaction.non_atomic_requests
def report(request):
    """Outside of a transaction iterator() holds its cursor; other queries run while it is read."""
    total = 0
    for line in Line.objects.order_by("pk").iterator(chunk_size=10):
        total += line.quantity
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('TimeZone')")
            assert cursor.fetchone() == ("UTC",)
    return HttpResponse(str(total))
