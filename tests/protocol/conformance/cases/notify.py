"""LISTEN, UNLISTEN and NOTIFY: who hears what, in which order, and from whom."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, by, case, simple, wait_for

LISTENING = "SELECT pg_listening_channels() ORDER BY 1"

NOTIFY: dict[str, Case] = {
    "nothing": case(LISTENING, "NOTIFY conf_one, 'unheard'", "SELECT 1", LISTENING),
    "itself": case(
        "LISTEN conf_one",
        "NOTIFY conf_one, 'x'",
        "SELECT 1",
        "UNLISTEN conf_one",
        "NOTIFY conf_one",
        "SELECT 2",
    ),
    "itself_in_transaction": case(
        "LISTEN conf_one", "BEGIN", "NOTIFY conf_one, 'x'", "SELECT 1", "COMMIT", "SELECT 2"
    ),
    "rolled_back": case(
        "LISTEN conf_one", "BEGIN", "NOTIFY conf_one, 'x'", "ROLLBACK", "SELECT 1", "SELECT 2"
    ),
    "listen_rolled_back": case(
        "BEGIN", "LISTEN conf_one", "ROLLBACK", "NOTIFY conf_one", LISTENING, "SELECT 1"
    ),
    "listen_committed": case(
        "BEGIN", "LISTEN conf_one", LISTENING, "COMMIT", LISTENING, "NOTIFY conf_one", "SELECT 1"
    ),
    "listen_and_notify_in_one": case(
        "BEGIN", "LISTEN conf_one", "NOTIFY conf_one, 'x'", "COMMIT", "SELECT 1", notified_late=True
    ),
    "unlisten_rolled_back": case(
        "LISTEN conf_one",
        "BEGIN",
        "UNLISTEN conf_one",
        "ROLLBACK",
        "NOTIFY conf_one, 'x'",
        "SELECT 1",
        LISTENING,
    ),
    "channels": case(
        "LISTEN conf_one",
        "LISTEN conf_two",
        LISTENING,
        "UNLISTEN conf_one",
        LISTENING,
        "UNLISTEN *",
        LISTENING,
    ),
    "twice": case(
        "LISTEN conf_one",
        "LISTEN conf_one",
        "NOTIFY conf_one, 'x'",
        "UNLISTEN conf_one",
        "NOTIFY conf_one",
        LISTENING,
    ),
    "quoted": case(
        'LISTEN "Conf One"',
        "NOTIFY \"Conf One\", 'x'",
        "NOTIFY conf_one",
        "SELECT pg_notify('Conf One', 'y')",
        LISTENING,
    ),
    "folded": case(
        "LISTEN CONF_ONE", "NOTIFY Conf_One, 'x'", "SELECT pg_notify('CONF_ONE', 'unheard')", "SELECT 1"
    ),
    "pg_notify": case("LISTEN conf_one", "SELECT pg_notify('conf_one', 'p' || 1)", "SELECT 1"),
    "duplicates": case(
        "LISTEN conf_one",
        simple("BEGIN; NOTIFY conf_one, 'x'; NOTIFY conf_one, 'x'; NOTIFY conf_one, 'y'; COMMIT"),
        "SELECT 1",
    ),
    "large": case(
        "LISTEN conf_one",
        "SELECT pg_notify('conf_one', repeat('x', 7999))",
        "SELECT pg_notify('conf_one', repeat('x', 8000))",
        "SELECT 1",
    ),
    "empty_channel": case("SELECT pg_notify('', 'x')", "SELECT pg_notify(repeat('x', 64), 'x')", "SELECT 1"),
    "by_function": case(
        "SELECT conf_listen('conf_one')",
        LISTENING,
        "NOTIFY conf_one, 'x'",
        LISTENING,
        "UNLISTEN *",
        LISTENING,
    ),
    "by_do_block": case("DO 'BEGIN LISTEN conf_one; END'", LISTENING, "NOTIFY conf_one, 'x'", "SELECT 1"),
    "by_trigger": case("LISTEN conf_one", "INSERT INTO notifying VALUES ('t')", "SELECT 1"),
    "discard_all": case("LISTEN conf_one", "DISCARD ALL", LISTENING, "NOTIFY conf_one", "SELECT 1"),
    "unlisten_unknown": case("UNLISTEN conf_one", "UNLISTEN *", LISTENING),
    "string": case(
        simple("LISTEN conf_one; NOTIFY conf_one, 'x'"),
        "SELECT 1",
        simple("UNLISTEN *; NOTIFY conf_one"),
        "SELECT 1",
        notified_late=True,
    ),
    "with_error": case("LISTEN conf_one", simple("NOTIFY conf_one, 'lost'; SELECT 1/0"), "SELECT 1"),
    "with_other_state": case(
        "LISTEN conf_one", "SET work_mem = '2MB'", "NOTIFY conf_one, 'x'", "SHOW work_mem", LISTENING
    ),
    "from_another": case(
        "LISTEN conf_one", *by("b", "NOTIFY conf_one, 'b'"), wait_for("A"), "SELECT 1", *by("b", "SELECT 1")
    ),
    "to_two": case(
        "LISTEN conf_one",
        *by("b", "LISTEN conf_one"),
        *by("c", "NOTIFY conf_one, 'c'"),
        wait_for("A"),
        wait_for("A", "b"),
        *by("b", "UNLISTEN conf_one"),
        *by("c", "NOTIFY conf_one, 'again'"),
        wait_for("A"),
        *by("b", "SELECT 'nothing before'"),
    ),
    "in_order": case(
        "LISTEN conf_one",
        "LISTEN conf_two",
        *by("b", "NOTIFY conf_one, '1'", "NOTIFY conf_two, '2'", "NOTIFY conf_one, '3'"),
        wait_for("AAA"),
        *by("b", "SELECT 1"),
        *by("c", "NOTIFY conf_two, '4'"),
        *by("b", "NOTIFY conf_one, '5'"),
        wait_for("AA"),
    ),
    "in_order_of_commit": case(
        "LISTEN conf_one",
        *by("b", "BEGIN", "NOTIFY conf_one, 'b'"),
        *by("c", "NOTIFY conf_one, 'c'"),
        wait_for("A"),
        *by("b", "COMMIT"),
        wait_for("A"),
        servers=3,
    ),
    "many": case(
        "LISTEN conf_one",
        *by("b", "SELECT count(pg_notify('conf_one', n::text)) FROM generate_series(1, 100) AS n"),
        wait_for("A" * 100),
    ),
    "while_in_transaction": case(
        "LISTEN conf_one",
        "BEGIN",
        *by("b", "NOTIFY conf_one, 'later'"),
        "SELECT 1",
        "COMMIT",
        "SELECT 2",
        servers=3,
    ),
    "listening_while_others_work": case(
        "LISTEN conf_one",
        *by("b", "BEGIN", "SELECT 1", "COMMIT", "NOTIFY conf_one, 'x'"),
        wait_for("A"),
        "CREATE TEMP TABLE t (x int)",
        *by("b", "NOTIFY conf_one, 'y'"),
        wait_for("A"),
        "TABLE t",
        servers=3,
    ),
    "pid": case(
        "LISTEN conf_one",
        *by("b", "LISTEN conf_one"),
        "NOTIFY conf_one, 'a'",
        wait_for("A", "b"),
        *by("b", "NOTIFY conf_one, 'b'"),
        wait_for("A"),
    ),
}
