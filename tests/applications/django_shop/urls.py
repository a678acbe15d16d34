"""The pages of the site."""

from django.urls import path

from django_shop.store import views

urlpatterns = [
    path("login/", views.log_in),
    path("order/", views.order),
    path("orders/", views.orders),
    path("report/", views.report),
]
