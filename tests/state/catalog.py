"""All kinds of session state."""

from __future__ import annotations

from tests.state.devious import DEVIOUS
from tests.state.flight import FLIGHT
from tests.state.hidden import HIDDEN
from tests.state.kind import Kind
from tests.state.objects import OBJECTS
from tests.state.positions import POSITIONS
from tests.state.schema import FULL
from tests.state.settings import SETTINGS

KINDS = [*SETTINGS, *HIDDEN, *OBJECTS, *DEVIOUS, *FLIGHT, *POSITIONS]


def named(*names: str) -> list[Kind]:
    """Kinds by their names."""
    found = [kind for kind in KINDS if kind.name in names]
    assert len(found) == len(names)
    return found


NAMELESS = (
    "a custom setting is in no catalog; where its name is neither a whole literal of the text nor was read "
    "before, others who wait take the server, reset, and its maker loses it"
)

#: What cannot be hidden, with the reason: docs/guide/what-applications-see.md.
KNOWN = {
    "LOAD in a function": "by dynamic SQL: a library that was loaded stays, as one that a function loads",
    "function changed by another": "past the pooler, seconds ago: its maker may lose what it sets",
    "operator": NAMELESS,
    "cast": NAMELESS,
    "domain": NAMELESS,
    "set_config of two strings": NAMELESS,
    "value like a name": NAMELESS,
    "decoy": NAMELESS,
    "names of two": NAMELESS,
}

#: What only the full database has: its call is not in the text.
WORDLESS = {"operator", "cast", "domain", "event trigger"}


def is_possible(kind: Kind, database: str) -> bool:
    """Whether a database has what the kind needs."""
    return database == FULL or kind.name not in WORDLESS


#: What is tested through the pooler.
TESTED = [kind for kind in KINDS if kind.name not in KNOWN]

#: One of each sort.
SORTS = named(
    *("SET TimeZone", "SET work_mem", "SET custom", "set_config of a built name", "SQL function", "trigger"),
    *("SET ROLE", "advisory lock exclusive", "advisory lock in a function", "temp table", "PREPARE"),
    *("unnamed statement", "named statement", "WITH HOLD", "LISTEN", "currval", "setseed", "transaction"),
    *("startup TimeZone", "COPY in"),
)
