"""The written cases, by topic."""

from __future__ import annotations

from tests.conformance.case import Case
from tests.conformance.cases import locks, notify, pinned, roles, sessions, settings, startup, wire

TOPICS: dict[str, dict[str, Case]] = {
    "settings": settings.WAYS,
    "transactions": settings.TRANSACTIONS,
    "roles": roles.ROLES,
    "tenants": roles.TENANTS,
    "placeholders": roles.PLACEHOLDERS,
    "startup": startup.STARTUP,
    "prepared": pinned.PREPARED,
    "temporary": pinned.TEMPORARY,
    "cursors": pinned.CURSORS,
    "discards": pinned.DISCARDS,
    "loads": pinned.LOADS,
    "locks": locks.LOCKS,
    "sequences": locks.SEQUENCES,
    "notify": notify.NOTIFY,
    "notices": sessions.NOTICES,
    "portals": sessions.PORTALS,
    "copies": sessions.COPIES,
    "others": sessions.OTHERS,
    **wire.WIRE,
}
