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


PASSED_BY = "the catalogs are read after it has gone or changed"
BEYOND = "no catalog shows it, and what dynamic SQL does is not known"
NAMELESS = (
    "a custom setting is in no catalog, and its name is not a whole literal of the text: its maker loses it"
)

#: What still leaks or is lost through the pooler, with the reason: to become empty.
KNOWN = {
    "function that reads": "a function's body names a view that calls another function",
    "privilege and view": "a view that sets something, read under another role",
    "function gone": PASSED_BY,
    "function gone at once": PASSED_BY,
    "function gone in a text": PASSED_BY,
    "function changed by another": PASSED_BY,
    "LOAD in a function": BEYOND,
    "dblink_connect in a function": BEYOND,
    "pg_backup_start in a function": BEYOND,
    "operator": NAMELESS,
    "cast": NAMELESS,
    "domain": NAMELESS,
    "event trigger": NAMELESS,
    "set_config of two strings": NAMELESS,
    "value like a name": NAMELESS,
    "decoy": NAMELESS,
    "names of two": NAMELESS,
}

#: What is tested through the pooler.
TESTED = [kind for kind in KINDS if kind.name not in KNOWN]

#: One of each sort.
SORTS = named(
    *("SET TimeZone", "SET work_mem", "SET custom", "set_config of a built name", "SQL function", "trigger"),
    *("SET ROLE", "advisory lock exclusive", "advisory lock in a function", "temp table", "PREPARE"),
    *("unnamed statement", "named statement", "WITH HOLD", "LISTEN", "currval", "setseed", "transaction"),
    *("startup TimeZone", "COPY in"),
)
