"""The written cases, by topic."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases import roles, settings, startup

TOPICS: dict[str, dict[str, Case]] = {
    "settings": settings.WAYS,
    "transactions": settings.TRANSACTIONS,
    "roles": roles.ROLES,
    "tenants": roles.TENANTS,
    "placeholders": roles.PLACEHOLDERS,
    "startup": startup.STARTUP,
}
