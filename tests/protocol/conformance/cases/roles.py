"""Roles, session authorization, and tenants told apart by a setting: leaking one is a breach."""

from __future__ import annotations

from pooler.dev.postgres import SUPERUSER
from tests.protocol.conformance.case import Case, by, case, simple

WHO = "SELECT current_user, session_user, current_setting('role'), current_setting('is_superuser')"
MINE = "SELECT what FROM tenants ORDER BY what"

ROLES: dict[str, Case] = {
    "set_role": case("SET ROLE conf_one", WHO, WHO, "RESET ROLE", WHO, WHO),
    "set_role_none": case("SET ROLE conf_one", WHO, "SET ROLE NONE", WHO),
    "set_session_role": case("SET SESSION ROLE conf_one", WHO, "SET ROLE conf_two", WHO, "RESET ALL", WHO),
    "set_local_role": case("BEGIN", "SET LOCAL ROLE conf_one", WHO, "COMMIT", WHO),
    "rolled_back": case("BEGIN", "SET ROLE conf_one", WHO, "ROLLBACK", WHO),
    "committed": case("BEGIN", "SET ROLE conf_one", "COMMIT", WHO, WHO),
    "savepoint": case(
        "BEGIN", "SET ROLE conf_one", "SAVEPOINT s", "SET ROLE conf_two", "ROLLBACK TO s", WHO, "COMMIT", WHO
    ),
    "by_set_config": case("SELECT set_config('role', 'conf_one', false)", WHO, WHO),
    "by_function": case("SELECT conf_role('conf_two')", WHO, WHO),
    "refused": case("SET ROLE postgres", WHO, "SET SESSION AUTHORIZATION conf_one", WHO),
    "rights": case(
        "SET ROLE conf_one",
        "CREATE TABLE made (x int)",
        "DROP TABLE things",
        "RESET ROLE",
        "CREATE TABLE made (x int)",
    ),
    "discard": case("SET ROLE conf_one", "DISCARD ALL", WHO),
    "own_authorization": case("SET SESSION AUTHORIZATION bouncer", WHO, "RESET SESSION AUTHORIZATION", WHO),
    "authorization": case(
        "SET SESSION AUTHORIZATION bouncer",
        WHO,
        "DELETE FROM tenants",
        WHO,
        "RESET SESSION AUTHORIZATION",
        WHO,
        user=SUPERUSER,
    ),
    "authorization_and_role": case(
        "SET SESSION AUTHORIZATION bouncer",
        "SET ROLE conf_one",
        WHO,
        "RESET ROLE",
        WHO,
        "SET SESSION AUTHORIZATION DEFAULT",
        WHO,
        user=SUPERUSER,
    ),
    "local_authorization": case(
        "BEGIN", "SET LOCAL SESSION AUTHORIZATION bouncer", WHO, "COMMIT", WHO, user=SUPERUSER
    ),
    "authorization_rolled_back": case(
        "BEGIN", "SET SESSION AUTHORIZATION bouncer", WHO, "ROLLBACK", WHO, user=SUPERUSER
    ),
    "authorization_discarded": case("SET SESSION AUTHORIZATION bouncer", "DISCARD ALL", WHO, user=SUPERUSER),
    "superusers_settings": case(
        "SET session_replication_role = 'replica'",
        "SHOW session_replication_role",
        "SET log_min_messages = 'error'",
        "SHOW log_min_messages",
        "SHOW session_replication_role",
        "RESET session_replication_role",
        "SHOW session_replication_role",
        user=SUPERUSER,
    ),
    "setting_of_superuser_under_role": case(
        "SET log_min_duration_statement = 9999",
        "SET ROLE conf_one",
        "SHOW log_min_duration_statement",
        WHO,
        "RESET ROLE",
        "SHOW log_min_duration_statement",
        user=SUPERUSER,
    ),
}

TENANTS: dict[str, Case] = {
    "set": case("SET app.tenant = 'one'", MINE, MINE, "SET app.tenant = 'two'", MINE, MINE),
    "set_config": case("SELECT set_config('app.tenant', 'two', false)", MINE, MINE, "SHOW app.tenant"),
    "function": case("SELECT conf_set('app.tenant', 'one')", MINE, MINE),
    "do_block": case("DO $$BEGIN SET app.tenant = 'one'; END$$", MINE, MINE),
    "local": case("BEGIN", "SET LOCAL app.tenant = 'one'", MINE, "COMMIT", MINE, "BEGIN", MINE, "COMMIT"),
    "local_by_function": case(
        "BEGIN", "SELECT set_config('app.tenant', 'one', true)", MINE, "COMMIT", MINE, MINE
    ),
    "rolled_back": case(
        "SET app.tenant = 'one'", "BEGIN", "SET app.tenant = 'two'", MINE, "ROLLBACK", MINE, MINE
    ),
    "savepoint": case(
        "BEGIN",
        "SET app.tenant = 'one'",
        "SAVEPOINT s",
        "SET app.tenant = 'two'",
        "ROLLBACK TO s",
        MINE,
        "COMMIT",
        MINE,
    ),
    "none": case(MINE, MINE, "BEGIN", MINE, "COMMIT"),
    "reset": case("SET app.tenant = 'one'", MINE, "RESET app.tenant", MINE, MINE, "SHOW app.tenant"),
    "reset_all": case("SET app.tenant = 'one'", "RESET ALL", MINE, "SHOW app.tenant", MINE),
    "discard_all": case("SET app.tenant = 'one'", "DISCARD ALL", MINE, "SHOW app.tenant"),
    "with_role": case(
        "SET ROLE conf_one", "SET app.tenant = 'one'", MINE, "RESET ROLE", MINE, "SET ROLE conf_two", MINE
    ),
    "several_keys": case(
        "SET app.tenant = 'one'",
        "SET app.who = '42'",
        "SET app.mode = 'x'",
        "SELECT current_setting('app.tenant'), current_setting('app.who'), current_setting('app.mode')",
        MINE,
        "RESET app.who",
        "SELECT current_setting('app.tenant'), current_setting('app.who'), current_setting('app.mode')",
    ),
    "two_clients": case(
        "SET app.tenant = 'one'",
        *by("b", "SET app.tenant = 'two'", MINE),
        MINE,
        *by("c", MINE),
        *by("b", MINE, "RESET app.tenant", MINE),
        MINE,
        *by("c", MINE),
    ),
    "two_clients_in_turn": case(
        "SET app.tenant = 'one'",
        *by("b", "SET app.tenant = 'two'", MINE),
        MINE,
        *by("b", MINE),
        MINE,
        *by("b", MINE),
        MINE,
        *by("b", MINE),
    ),
    "string": case(simple("SET app.tenant = 'one'; SELECT what FROM tenants"), MINE, MINE),
    "odd_values": case(
        "SET app.tenant = 'a''b\\c\"d,e'",
        "SHOW app.tenant",
        "SHOW app.tenant",
        "SET app.tenant = ''",
        MINE,
        "SHOW app.tenant",
    ),
}
