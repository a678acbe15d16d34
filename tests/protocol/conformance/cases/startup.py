"""What a client asks for when it logs in: it is what RESET and DISCARD ALL go back to."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, Parameters, Part, by, case, simple
from tests.protocol.conformance.cases.roles import MINE, WHO
from tests.protocol.conformance.cases.settings import LOOK, MANY


def started(parameters: Parameters, *parts: Part) -> Case:
    """A case whose client logs in with these parameters."""
    return case(*parts, startup={"a": parameters})


def options(text: str) -> Parameters:
    return {"options": text}


STARTUP: dict[str, Case] = {
    "reported": started(
        {"TimeZone": "Asia/Tokyo", "DateStyle": "German", "application_name": "mine"}, MANY, *LOOK, MANY
    ),
    "encoding": started({"client_encoding": "LATIN1"}, "SELECT 'ä'", "SHOW client_encoding", MANY),
    "unreported": started({"work_mem": "2MB", "search_path": "conf_evil, public"}, MANY, *LOOK, MANY),
    "float_digits": started({"extra_float_digits": "0"}, "SELECT pi()", "SELECT pi()", MANY),
    "custom": started({"app.tenant": "one"}, MINE, "SHOW app.tenant", MINE),
    "custom_reset": started(
        {"app.tenant": "one"}, "SET app.tenant = 'two'", MINE, "RESET app.tenant", MINE, "RESET ALL", MINE
    ),
    "options": started(options("-c work_mem=2MB -c statement_timeout=55s"), MANY, "SELECT 1", MANY),
    "options_long": started(options("--work_mem=2MB --search-path=conf_evil"), MANY, *LOOK),
    "options_quoted": started(
        options("-c search_path=conf_evil,\\ public -cTimeZone=Asia/Tokyo"), MANY, *LOOK
    ),
    "options_reported": started(options("-c TimeZone=Asia/Tokyo -c application_name=opt"), MANY, *LOOK),
    "options_tenant": started(options("-c app.tenant=one"), MINE, MINE, "RESET ALL", MINE),
    "options_and_parameters": started(
        {"options": "-c work_mem=2MB -c TimeZone=UTC", "TimeZone": "Asia/Tokyo"}, MANY, *LOOK
    ),
    "reset": started(
        {"TimeZone": "Asia/Tokyo"}, "SET TimeZone = 'UTC'", *LOOK, "RESET TimeZone", *LOOK, MANY
    ),
    "reset_options": started(
        options("-c work_mem=2MB"),
        "SET work_mem = '3MB'",
        "SHOW work_mem",
        "RESET work_mem",
        "SHOW work_mem",
        MANY,
    ),
    "reset_all": started(
        {"options": "-c work_mem=2MB", "DateStyle": "German"},
        "SET work_mem = '3MB'",
        "SET DateStyle = 'ISO'",
        "SET TimeZone = 'UTC'",
        MANY,
        "RESET ALL",
        MANY,
        *LOOK,
    ),
    "set_to_default": started(
        options("-c work_mem=2MB"), "SET work_mem = '3MB'", "SET work_mem TO DEFAULT", "SHOW work_mem", MANY
    ),
    "discard_all": started(
        {"options": "-c work_mem=2MB", "TimeZone": "Asia/Tokyo"},
        "SET work_mem = '3MB'",
        "SET TimeZone = 'UTC'",
        "DISCARD ALL",
        MANY,
        *LOOK,
    ),
    "set_config_empty": started({"app.tenant": "one"}, "SELECT set_config('app.tenant', NULL, false)", MINE),
    "rollback": started(
        {"TimeZone": "Asia/Tokyo"}, "BEGIN", "SET TimeZone = 'UTC'", *LOOK, "ROLLBACK", *LOOK, "SHOW TimeZone"
    ),
    "role": started(
        {"role": "conf_one"}, WHO, WHO, "RESET ROLE", WHO, "SET ROLE conf_two", WHO, "RESET ALL", WHO
    ),
    "role_options": started(options("-c role=conf_one"), WHO, WHO, "SET ROLE NONE", WHO, "RESET ROLE", WHO),
    **{
        f"role_{name}": started({"role": "conf_one"}, before, WHO, text, WHO, WHO, "RESET ROLE", WHO)
        for name, before, text in (
            ("discarded", "SET ROLE conf_two", "DISCARD ALL"),
            ("discarded_again", "SET ROLE NONE", "DISCARD ALL"),
            ("session_reset", "SET ROLE conf_two", "RESET SESSION AUTHORIZATION"),
            ("session_default", "SET ROLE conf_two", "SET SESSION AUTHORIZATION DEFAULT"),
        )
    },
    "role_reset_with_all": started(
        {"role": "conf_one"}, "SET ROLE NONE", simple("RESET ROLE; RESET ALL"), WHO, WHO
    ),
    "of_one_transaction": started(
        {"transaction_isolation": "serializable", "options": "-c transaction_deferrable=on"},
        "SHOW transaction_isolation",
        "SHOW transaction_deferrable",
    ),
    "of_no_transaction": started({"transaction_deferrable": "none"}, "SELECT 1"),
    "read_only": started(
        options("-c default_transaction_read_only=on"),
        "DELETE FROM things",
        "SHOW transaction_read_only",
        MANY,
    ),
    "isolation": started(
        options("-c default_transaction_isolation=serializable"), "SHOW transaction_isolation", MANY
    ),
    "timeout": started(options("-c statement_timeout=50"), "SELECT pg_sleep(5)", "SELECT 1", MANY),
    "unknown": started({"no_such_setting": "1"}, "SELECT 1"),
    "bad_value": started({"work_mem": "lots"}, "SELECT 1"),
    "bad_option": started(options("-c work_mem"), "SELECT 1"),
    "unknown_option": started(options("--no-such-setting=1"), "SELECT 1"),
    "not_for_users": started(options("-c shared_buffers=1MB"), "SELECT 1"),
    "not_for_this_user": started(options("-c log_min_messages=error"), "SELECT 1"),
    "role_of_others": started({"role": "postgres"}, "SELECT 1"),
    "different_clients": case(
        MANY,
        *by("b", MANY),
        *by("c", MANY),
        MANY,
        *by("b", "RESET ALL", MANY),
        *by("c", "DISCARD ALL", MANY),
        MANY,
        startup={
            "a": {"TimeZone": "Asia/Tokyo"},
            "b": {"TimeZone": "Europe/Paris", "options": "-c work_mem=2MB"},
            "c": {"search_path": "conf_evil", "application_name": "c"},
        },
    ),
}
