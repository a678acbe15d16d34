"""Settings of a session, set in every way there is, and that they come back to what the client began with."""

from __future__ import annotations

from tests.conformance.case import Case, case, simple

SHOWN = ("SHOW search_path", "SHOW TimeZone", "SELECT name FROM things ORDER BY id LIMIT 1")

SETTINGS: dict[str, Case] = {
    "untouched": case(*SHOWN, "SHOW statement_timeout", *SHOWN, "SHOW default_transaction_read_only"),
    "set": case("SET work_mem = '2MB'", "SHOW work_mem", "SELECT 1", "SHOW work_mem"),
    "set_reported": case(
        "SET TimeZone = 'Asia/Tokyo'", "SHOW TimeZone", "SELECT '2024-01-01 00:00+00'::timestamptz"
    ),
    "set_session": case(
        "SET SESSION statement_timeout = '55s'", "SHOW statement_timeout", "SHOW statement_timeout"
    ),
    "reset": case("SET work_mem = '2MB'", "RESET work_mem", "SHOW work_mem"),
    "two_in_one": case(
        simple("SET work_mem = '3MB'; SET TimeZone = 'UTC'"), "SHOW work_mem", "SHOW TimeZone"
    ),
}
