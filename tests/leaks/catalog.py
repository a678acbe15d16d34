"""All kinds of session state."""

from __future__ import annotations

from tests.leaks.devious import DEVIOUS
from tests.leaks.flight import FLIGHT
from tests.leaks.hidden import HIDDEN
from tests.leaks.kind import Kind
from tests.leaks.objects import OBJECTS
from tests.leaks.settings import SETTINGS

KINDS = [*SETTINGS, *HIDDEN, *OBJECTS, *DEVIOUS, *FLIGHT]


def named(*names: str) -> list[Kind]:
    """Kinds by their names."""
    found = [kind for kind in KINDS if kind.name in names]
    assert len(found) == len(names)
    return found


#: One of each sort.
SORTS = named(
    *("SET TimeZone", "SET work_mem", "SET custom", "set_config of a built name", "SQL function", "trigger"),
    *("SET ROLE", "advisory lock exclusive", "advisory lock in a function", "temp table", "PREPARE"),
    *("unnamed statement", "named statement", "WITH HOLD", "LISTEN", "currval", "setseed", "transaction"),
    *("startup TimeZone", "COPY in"),
)
