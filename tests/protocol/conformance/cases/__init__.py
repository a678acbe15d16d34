"""The written cases, by topic, and the scripts made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.protocol.conformance.case import Case, Scene
from tests.protocol.conformance.cases import locks, notify, pinned, roles, sessions, settings, startup, wire

TOPICS: dict[str, dict[str, Case]] = {
    "settings": settings.WAYS,
    "transactions": settings.TRANSACTIONS,
    "roles": roles.ROLES,
    "tenants": roles.TENANTS,
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


@dataclass(frozen=True)
class Script:
    """What is run: a case in one of the protocols."""

    case: Case
    scenes: list[Scene]
    #: Spreads the scripts over pools: the two forms of a case have numbers that are 2 apart.
    number: int


def _scripts() -> Iterator[tuple[str, Script]]:
    cases = [(f"{topic}-{name}", case) for topic, cases in TOPICS.items() for name, case in cases.items()]
    for number, (name, case) in enumerate(cases):
        for turn, protocol in enumerate(["raw"] if case.is_raw else ["simple", "extended"]):
            yield f"{name}-{protocol}", Script(case, case.scenes(protocol), number + 2 * turn)


SCRIPTS: dict[str, Script] = dict(_scripts())
