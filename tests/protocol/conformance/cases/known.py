"""What cannot be hidden, with the reasons: the only differences there may be, and what they look like.

Everybody else's sessions leave these traces in a server process, and PostgreSQL has no command that takes
them away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.protocol.conformance.case import Case, case
from tests.protocol.conformance.cases.startup import started


@dataclass(frozen=True)
class Known:
    """A case that may differ like this and in no other way: expressions of the first lines that do."""

    case: Case
    reason: str
    directly: str
    through_pooler: str


NAMES_STAY = (
    "A custom setting's name exists in a server process from its first SET on, and is empty after a RESET. "
    "An application that asks for app.tenant before it ever set it has to expect both, as it has to directly "
    "after a SET LOCAL."
)
SCHEMA_STAYS = "A server process keeps its empty temporary schema once somebody had temporary objects there."
LIBRARY_STAYS = (
    "A library that was loaded into a server process, by LOAD or by a function's use, stays there."
)
STATEMENTS_SHARED = (
    "pg_prepared_statements tells what a server process has: statements of the protocol are prepared there "
    "once, under names of pooler's, for all clients. Those of SQL's PREPARE (from_sql) are the client's own."
)
SOURCE = (
    "pg_settings tells whence a value comes; what a client asked for at its start is put in force by SET, "
    "so it comes from the session and reset_val is the server's. RESET itself leads to the client's."
)

KNOWN: dict[str, Known] = {
    "setting_never_set": Known(
        case("SELECT current_setting('app.tenant', true)"), NAMES_STAY, r"D \[None\]", r"D \[b''\]"
    ),
    "setting_never_set_shown": Known(
        case("SHOW app.tenant"), NAMES_STAY, "unrecognized configuration parameter", r"T app\.tenant"
    ),
    "setting_after_local": Known(
        case("BEGIN", "SET LOCAL app.mine = 'x'", "COMMIT", "SELECT current_setting('app.mine', true)"),
        NAMES_STAY,
        r"D \[b''\]",
        r"D \[None\]",
    ),
    "setting_after_rollback": Known(
        case("BEGIN", "SET app.mine = 'x'", "ROLLBACK", "SELECT current_setting('app.mine', true)"),
        NAMES_STAY,
        r"D \[b''\]",
        r"D \[None\]",
    ),
    "temporary_schema": Known(
        case("SELECT pg_my_temp_schema() = 0"), SCHEMA_STAYS, r"D \[b't'\]", r"D \[b'f'\]"
    ),
    "function_in_no_schema": Known(
        case("SELECT pg_temp.f()"), SCHEMA_STAYS, 'schema "pg_temp" does not exist', r"f\(\) does not exist"
    ),
    "library": Known(
        case("SHOW plpgsql.variable_conflict"), LIBRARY_STAYS, "unrecognized configuration", "T plpgsql"
    ),
    "statements": Known(
        case("SELECT count(*) FROM pg_prepared_statements"), STATEMENTS_SHARED, r"D \[b'0'\]", r"D \[b'\d+'\]"
    ),
    "source": Known(
        started(
            {"work_mem": "2MB"},
            "SELECT setting, source, reset_val FROM pg_settings WHERE name = 'work_mem'",
        ),
        SOURCE,
        r"D \[b'2048', b'client', b'2048'\]",
        r"D \[b'2048', b'session', b'4096'\]",
    ),
}


@dataclass(frozen=True)
class Tolerated:
    """What some written scripts may meet, by the beginning of their names: this difference first, or none."""

    reason: str
    directly: str
    through_pooler: str


GIVEN_UP = Tolerated(
    "What sequences remember cannot be taken along, and is given up when others wait for the server and the "
    "client says nothing for a while: it is never another's value.",
    r"D \[b'value#\d+'\]",
    r"C55000 .* is not yet defined in this session",
)

LIBRARY_MISSING = Tolerated(
    "A library that a function's use loaded stays in that server process. The next transaction may run on "
    "another one, where the library's settings are still custom settings that anybody may set.",
    r"(permission denied to set|invalid value for) parameter",
    r"C b'SET",
)

TOLERATED = {
    "sequences-": GIVEN_UP,
    "loads-load": LIBRARY_MISSING,
    "loads-set_after_load": LIBRARY_MISSING,
    "portals-implicit_transaction-simple": GIVEN_UP,
    "settings-set_config_of_rows": Tolerated(
        "Names of settings that come from rows are in no text; once they were read by name they are known.",
        r"D \[b'one', b'three'\]",
        r"D \[b'', b''\]",
    ),
    "startup-set_config_empty": Tolerated(
        "set_config(name, NULL) returns the value that it resets to, and that is the server's.",
        r"D \[b'one'\]",
        r"D \[b''\]",
    ),
    "startup-bad_option": Tolerated(
        "The words of PgBouncer, for those who come from there.",
        "C42601",
        "unsupported options startup parameter",
    ),
}


def tolerated(name: str) -> Tolerated | None:
    """What a script may meet, if anything."""
    return next((known for prefix, known in TOLERATED.items() if name.startswith(prefix)), None)


def is_expected(found: str, known: Known | Tolerated) -> bool:
    """Whether this is the difference that is known."""
    pattern = f"directly: .*{known.directly}.*\n.*through pooler: .*{known.through_pooler}"
    return bool(re.search(pattern, found))
