"""The exchanges of tests/protocol/wire, which look at one client alone, among neighbours."""

from __future__ import annotations

from tests.protocol.conformance.case import Case
from tests.protocol.wire.scripts import COPY, EXTENDED, SIMPLE
from tests.protocol.wire.test_prepared import SCRIPTS as PREPARED
from tests.support.exchange import Script

#: Long ones take seconds in four pools and show nothing more.
LONGEST_BYTES = 5_000


def _cases(scripts: dict[str, Script]) -> dict[str, Case]:
    return {
        name: Case(tuple(script))
        for name, script in scripts.items()
        if sum(len(step.data) for step in script) < LONGEST_BYTES
    }


WIRE: dict[str, dict[str, Case]] = {
    "wire_simple": _cases(SIMPLE),
    "wire_extended": _cases(EXTENDED),
    "wire_copy": _cases(COPY),
    "wire_prepared": _cases(PREPARED),
}
