"""The exchanges: what drivers send, in the orders that the protocol allows and in some that it does not."""

from __future__ import annotations

from tests.support.exchange import Script, Step, function_call
from tests.support.wire import FLUSH, SYNC, bind, close, describe, execute, extended, message, parse, query

INT4PL, DIVIDE = 177, 154  # int4pl(int, int), int4div(int, int)

COPY_DONE = message("c")


def copy_data(data: bytes) -> bytes:
    return message("d", data)


def copy_fail(text: str) -> bytes:
    return message("f", text)


SIMPLE: dict[str, Script] = {
    "select": [Step(query("SELECT 1 AS one, NULL AS nothing, 'x' AS text"))],
    "no_rows": [Step(query("SELECT 1 WHERE false"))],
    "several_statements": [Step(query("SELECT 1; SELECT 2; SELECT 3"))],
    "several_with_error": [Step(query("SELECT 1; SELECT 1/0; SELECT 3"))],
    "syntax_error_runs_nothing": [Step(query("SELECT 1; SELEC 2"))],
    "transaction_in_one_string": [Step(query("BEGIN; SELECT 1; COMMIT; SELECT 2"))],
    "transaction_left_open_by_string": [Step(query("SELECT 1; BEGIN; SELECT 2")), Step(query("COMMIT"))],
    "error_inside_transaction_string": [
        Step(query("BEGIN; SELECT 1/0; COMMIT")),
        Step(query("SELECT 1")),
        Step(query("ROLLBACK")),
    ],
    "failed_transaction": [
        Step(query("BEGIN")),
        Step(query("SELECT 1/0")),
        Step(query("SELECT 1")),
        Step(query("COMMIT")),
        Step(query("SELECT 2")),
    ],
    "savepoints": [
        Step(query("BEGIN")),
        Step(query("SAVEPOINT a")),
        Step(query("SELECT 1/0")),
        Step(query("ROLLBACK TO a")),
        Step(query("SELECT 1")),
        Step(query("COMMIT")),
    ],
    "commit_and_chain": [Step(query("BEGIN")), Step(query("COMMIT AND CHAIN")), Step(query("COMMIT"))],
    "empty": [Step(query(""))],
    "only_a_comment": [Step(query("-- nothing"))],
    "semicolons": [Step(query(";;;"))],
    "empty_in_transaction": [Step(query("BEGIN")), Step(query("")), Step(query("ROLLBACK"))],
    "notice": [Step(query("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'h'; END$$"))],
    "warning_without_transaction": [Step(query("COMMIT"))],
    "many_columns": [Step(query("SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1600))))],
    "wide_row": [Step(query("SELECT repeat('x', 300000)"))],
    "many_rows": [Step(query("SELECT n, md5(n::text) FROM generate_series(1, 5000) AS n"))],
    "long_text": [Step(query("SELECT '" + "y" * 200_000 + "'"))],
    "pipelined": [Step(query("SELECT 1") + query("SELECT 1/0") + query("SELECT 3"), "ZZZ")],
    "pipelined_transaction": [
        Step(query("BEGIN") + query("SELECT 1") + query("COMMIT") + query("SELECT 2"), "ZZZZ")
    ],
    "pipelined_1000": [Step(b"".join(query(f"SELECT {n}") for n in range(1000)), "Z" * 1000)],
    "parameter_status": [
        Step(query("SET application_name = 'wire'")),
        Step(query("SET DateStyle = 'SQL, DMY'")),
        Step(query("SHOW DateStyle")),
        Step(query("RESET DateStyle")),
        Step(query("RESET application_name")),
    ],
    "parameter_status_in_transaction": [
        Step(query("BEGIN")),
        Step(query("SET LOCAL TimeZone = 'Asia/Tokyo'")),
        Step(query("SHOW TimeZone")),
        Step(query("ROLLBACK")),
    ],
    "declared_cursor": [
        Step(query("BEGIN; DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 10)")),
        Step(query("FETCH 3 FROM c")),
        Step(query("FETCH ALL FROM c; CLOSE c; COMMIT")),
    ],
    "function_call": [Step(function_call(INT4PL, b"40", b"2"))],
    "function_call_error": [Step(function_call(DIVIDE, b"1", b"0")), Step(function_call(999_999_999))],
    "function_call_in_transaction": [
        Step(query("BEGIN")),
        Step(function_call(INT4PL, b"1", b"2")),
        Step(query("COMMIT")),
    ],
}

EXTENDED: dict[str, Script] = {
    "one_statement": [Step(extended("SELECT $1::text || 'b'", b"a") + SYNC)],
    "sync_alone": [Step(SYNC)],
    "several_syncs": [Step(SYNC * 5, "ZZZZZ")],
    "flush_alone": [Step(FLUSH, "")],
    "flush_after_each": [
        Step(parse("SELECT 1") + FLUSH, "1"),
        Step(bind() + FLUSH, "2"),
        Step(describe() + FLUSH, "T"),
        Step(execute() + FLUSH, "DC"),
        Step(SYNC),
    ],
    "unnamed_behind_the_sync_of_one_that_was_skipped": [
        Step(parse("SELECT 1/0", "b") + SYNC),
        Step(bind((), "b") + parse("SELECT 1") + SYNC + parse("SELECT 2"), "Z"),
        Step(bind() + execute() + SYNC),
    ],
    "flush_at_end_without_sync": [Step(extended("SELECT 1") + FLUSH, "12TDC"), Step(SYNC)],
    "query_instead_of_sync": [Step(extended("SELECT 1") + query("SELECT 2"), "12TDCTDCZ")],
    "describe_statement": [Step(parse("SELECT $1::int, $2::text") + describe("S") + SYNC)],
    "describe_without_result": [Step(parse("BEGIN") + describe("S") + bind() + describe() + SYNC)],
    "several_in_one_sync": [Step(extended("SELECT 1") + extended("SELECT 2") + extended("SELECT 3") + SYNC)],
    "bind_twice": [
        Step(parse("SELECT $1::int") + bind([b"1"]) + execute() + bind([b"2"]) + execute() + SYNC)
    ],
    "execute_twice": [Step(parse("SELECT 1") + bind() + execute() + execute() + SYNC)],
    "null_and_empty_values": [
        Step(parse("SELECT $1::text, $2::text") + bind([None, b""]) + execute() + SYNC)
    ],
    "named": [
        Step(parse("SELECT $1::int", "wire_n", [23]) + describe("S", "wire_n") + FLUSH, "1tT"),
        Step(bind([b"5"], "wire_n", "portal") + describe("P", "portal") + execute("portal") + FLUSH, "2TDC"),
        Step(close("P", "portal") + close("S", "wire_n") + SYNC, "33Z"),
    ],
    "close_of_nothing": [Step(close("S", "wire_never") + close("P", "wire_never") + SYNC)],
    "empty": [Step(extended("") + SYNC)],
    "no_result": [Step(extended("DO ''") + SYNC)],
    "error_in_parse": [Step(extended("SELEC 1") + SYNC)],
    "error_in_bind": [Step(extended("SELECT $1::int", b"seven") + SYNC)],
    "error_in_execute": [Step(extended("SELECT 1/$1::int", b"0") + SYNC)],
    "error_then_skip_to_sync": [
        Step(extended("SELECT 1") + extended("SELECT 1/0") + extended("SELECT 3") + SYNC + SYNC, "ZZ")
    ],
    "error_skips_even_a_query": [
        Step(extended("SELECT 1/0") + query("SELECT 2") + FLUSH, "E"),
        Step(extended("SELECT 3") + SYNC),
    ],
    "error_with_flush": [Step(parse("SELEC") + FLUSH, "E"), Step(bind() + execute() + FLUSH, ""), Step(SYNC)],
    "unknown_statement": [Step(bind(name="wire_never") + execute() + SYNC)],
    "unknown_portal": [Step(execute("wire_never") + SYNC)],
    "wrong_number_of_values": [Step(parse("SELECT $1::int") + bind() + execute() + SYNC)],
    "begin_by_extended": [
        Step(extended("BEGIN") + SYNC),
        Step(extended("SELECT 1/0") + SYNC),
        Step(extended("SELECT 1") + SYNC),
        Step(extended("ROLLBACK") + SYNC),
    ],
    "row_limit": [
        Step(query("BEGIN")),
        Step(parse("SELECT generate_series(1, 5)") + bind(portal="c") + execute("c", 2) + SYNC),
        Step(execute("c", 2) + SYNC),
        Step(execute("c", 2) + SYNC),
        Step(execute("c", 2) + SYNC),
        Step(query("COMMIT")),
    ],
    "row_limit_without_transaction": [
        Step(parse("SELECT generate_series(1, 5)") + bind() + execute("", 2) + FLUSH, "12DDs"),
        Step(execute("", 2) + FLUSH, "DDs"),
        Step(execute("", 0) + SYNC),
    ],
    "portal_is_gone_after_sync": [
        Step(parse("SELECT generate_series(1, 5)") + bind(portal="g") + execute("g", 2) + SYNC),
        Step(execute("g", 2) + SYNC),
    ],
    "two_portals_in_turn": [
        Step(query("BEGIN")),
        Step(parse("SELECT generate_series(1, 3)") + bind(portal="a") + bind(portal="b") + SYNC),
        Step(execute("a", 1) + execute("b", 2) + execute("a", 1) + execute("b", 2) + execute("a", 9) + SYNC),
        Step(query("ROLLBACK")),
    ],
    "pipelined_1000_syncs": [
        Step(b"".join(extended("SELECT $1::int", str(n).encode()) + SYNC for n in range(1000)), "Z" * 1000)
    ],
    "pipelined_1000_one_sync": [
        Step(b"".join(extended("SELECT $1::int", str(n).encode()) for n in range(1000)) + SYNC)
    ],
    "pipelined_with_errors": [
        Step(b"".join(extended(f"SELECT 1/({n} % 3)") + SYNC for n in range(300)), "Z" * 300)
    ],
    "parameter_status": [
        Step(extended("SET application_name = 'ext'") + SYNC),
        Step(extended("RESET application_name") + SYNC),
    ],
    "binary_results": [
        Step(parse("SELECT 1::int, 'x'::text") + message("B", "", "", 0, 0, 1, 1) + execute() + SYNC)
    ],
}

TRUNCATE = Step(query("TRUNCATE wire_copy"))
COUNT = Step(query("SELECT count(*), min(n), max(t) FROM wire_copy"))
ROWS = b"".join(copy_data(b"%d\ttext %d\n" % (n, n)) for n in range(500))
COPY_IN = "COPY wire_copy FROM STDIN"
COPY_OUT = "COPY (SELECT n, md5(n::text) FROM generate_series(1, 2000) AS n) TO STDOUT"

BAD = copy_data(b"not a number\tx\n")
GOOD = copy_data(b"1\ta\n")
#: Whose trigger refuses all before anything is read; whose trigger does when all is there.
REFUSING, LATE = "COPY wire_refusing FROM STDIN", "COPY wire_late FROM STDIN"
NEXT = query("SELECT 'next'")
RUN = bind() + execute()

#: What comes behind a COPY that fails is sent without waiting for it.
FAILING_COPY: dict[str, Script] = {
    "before_a_sync_and_a_query": [Step(query(COPY_IN), "G"), Step(BAD + SYNC + NEXT, "EZZDCZ")],
    "behind_a_sync_and_before_a_query": [
        Step(query(COPY_IN), "G"),
        Step(SYNC + BAD + SYNC + COPY_DONE + NEXT, "EZZDCZ"),
    ],
    "extended_before_a_query": [
        Step(parse(COPY_IN) + RUN + FLUSH, "12G"),
        Step(BAD + SYNC + NEXT, "EZDCZ"),
    ],
    "extended_with_done": [
        Step(extended(COPY_IN) + SYNC, "12nG"),
        Step(BAD + COPY_DONE + SYNC + NEXT, "EZDCZ"),
    ],
    "extended_at_once": [
        Step(extended(COPY_IN) + SYNC + BAD + COPY_DONE + SYNC + extended("SELECT 2") + SYNC, "12nGEZ12TDCZ")
    ],
    "extended_without_a_sync": [  # up to which all is skipped
        Step(extended(COPY_IN) + SYNC + BAD + COPY_DONE + NEXT + extended("SELECT 2") + SYNC, "12nGEZ")
    ],
    "extended_without_a_sync_when_it_is_known": [
        Step(extended(COPY_IN) + SYNC, "12nG"),
        Step(BAD, "E"),
        Step(NEXT + extended("SELECT 2"), ""),
        Step(NEXT + SYNC + NEXT, "ZDCZ"),
    ],
    "in_a_transaction_without_a_sync": [
        Step(query("BEGIN")),
        Step(extended(COPY_IN) + SYNC + BAD + COPY_DONE + NEXT + extended("SELECT 2") + SYNC, "12nGEZ"),
        Step(query("ROLLBACK")),
    ],
    "by_its_first_trigger": [Step(query(REFUSING) + SYNC + GOOD + SYNC + COPY_DONE + NEXT, "GEZZZDCZ")],
    "by_its_first_trigger_extended": [
        Step(extended(REFUSING) + SYNC + GOOD + COPY_DONE + SYNC + NEXT, "12nGEZZDCZ")
    ],
    "by_its_first_trigger_when_it_is_known": [
        Step(extended(REFUSING) + SYNC, "12nGEZ"),
        Step(GOOD + COPY_DONE + SYNC + NEXT, "ZDCZ"),
    ],
    "by_its_first_trigger_before_a_query": [
        Step(extended(REFUSING) + SYNC + NEXT + SYNC + extended("SELECT 2") + SYNC, "12nGEZDCZZ12TDCZ")
    ],
    "by_its_last_trigger": [
        Step(extended(LATE) + SYNC + GOOD + COPY_DONE + SYNC + NEXT, "12nGEZDCZ"),
        Step(query(LATE) + SYNC + GOOD + SYNC + COPY_DONE + NEXT, "GEZDCZ"),
    ],
    "named": [
        Step(parse(COPY_IN, "wire_copies") + SYNC),
        Step(bind(name="wire_copies") + execute() + SYNC + BAD + COPY_DONE + SYNC + NEXT, "2GEZDCZ"),
        Step(parse("EXECUTE wire_copies") + RUN + SYNC + BAD + COPY_DONE + SYNC + NEXT, "12GEZDCZ"),
        Step(query("EXECUTE wire_copies") + SYNC + BAD + COPY_DONE + SYNC + NEXT, "GEZZDCZ"),
        Step(close("S", "wire_copies") + SYNC),
    ],
    "of_a_portal_of_before": [
        Step(query("BEGIN")),
        Step(parse(f"/* */; {COPY_IN}") + bind(portal="later") + parse("SELECT 1") + SYNC, "121Z"),
        Step(execute("later") + SYNC + BAD + COPY_DONE + NEXT + SYNC, "GEZ"),
        Step(query("ROLLBACK")),
    ],
}

COPY: dict[str, Script] = {
    "out": [Step(query(COPY_OUT))],
    "out_extended": [Step(extended(COPY_OUT) + SYNC)],
    "out_with_error": [Step(query("COPY (SELECT 1/(100 - n) FROM generate_series(1, 200) AS n) TO STDOUT"))],
    "out_in_several": [Step(query(f"SELECT 1; {COPY_OUT}; SELECT 2"))],
    "in": [TRUNCATE, Step(query(COPY_IN), "G"), Step(ROWS, ""), Step(COPY_DONE), COUNT],
    "in_at_once": [TRUNCATE, Step(query(COPY_IN) + ROWS + COPY_DONE, "GCZ"), COUNT],
    "in_without_rows": [TRUNCATE, Step(query(COPY_IN), "G"), Step(COPY_DONE), COUNT],
    "in_rows_over_messages": [
        TRUNCATE,
        Step(query(COPY_IN), "G"),
        Step(copy_data(b"1\tan") + copy_data(b"") + copy_data(b"d\n2") + copy_data(b"\tend\n") + COPY_DONE),
        COUNT,
    ],
    "in_with_flush_and_sync_inside": [
        TRUNCATE,
        Step(query(COPY_IN), "G"),
        Step(copy_data(b"1\ta\n") + SYNC + FLUSH + copy_data(b"2\tb\n") + COPY_DONE),
        COUNT,
    ],
    "in_in_transaction": [
        Step(query("BEGIN; TRUNCATE wire_copy")),
        Step(query(COPY_IN), "G"),
        Step(ROWS + COPY_DONE),
        COUNT,
        Step(query("ROLLBACK")),
    ],
    "in_twice_in_one_query": [
        TRUNCATE,
        Step(query(f"{COPY_IN}; {COPY_IN}; SELECT 1"), "G"),
        Step(copy_data(b"1\ta\n") + COPY_DONE, "CG"),
        Step(copy_data(b"2\tb\n") + COPY_DONE),
        COUNT,
    ],
    "in_extended": [
        TRUNCATE,
        Step(extended(COPY_IN) + FLUSH, "12nG"),
        Step(ROWS + COPY_DONE + SYNC),
        COUNT,
    ],
    "in_extended_with_early_sync": [  # what PQsendQueryParams does
        TRUNCATE,
        Step(extended(COPY_IN) + SYNC, "12nG"),
        Step(ROWS + COPY_DONE + SYNC),
        COUNT,
    ],
    "in_extended_at_once": [
        TRUNCATE,
        Step(extended(COPY_IN) + SYNC + ROWS + COPY_DONE + SYNC, "12nGCZ"),
        COUNT,
    ],
    "fail": [TRUNCATE, Step(query(COPY_IN), "G"), Step(ROWS + copy_fail("no more")), COUNT],
    "fail_extended": [
        TRUNCATE,
        Step(extended(COPY_IN) + SYNC, "12nG"),
        Step(copy_data(b"1\ta\n") + copy_fail("no more") + SYNC),
        COUNT,
    ],
    "fail_in_transaction": [
        Step(query("BEGIN")),
        Step(query(COPY_IN), "G"),
        Step(copy_fail("no")),
        Step(query("SELECT 1")),
        Step(query("ROLLBACK")),
    ],
    "error_in_the_middle": [
        TRUNCATE,
        Step(query(COPY_IN), "G"),
        Step(ROWS + copy_data(b"not a number\tx\n") + ROWS + COPY_DONE),
        COUNT,
    ],
    "error_with_late_data_and_done": [
        TRUNCATE,
        Step(query(COPY_IN), "G"),
        Step(copy_data(b"not a number\tx\n")),
        Step(ROWS + COPY_DONE, ""),
        COUNT,
    ],
    "error_with_late_fail": [
        TRUNCATE,
        Step(query(COPY_IN), "G"),
        Step(copy_data(b"not a number\tx\n")),
        Step(copy_fail("late"), ""),
        COUNT,
    ],
    "error_extended": [
        TRUNCATE,
        Step(extended(COPY_IN) + SYNC, "12nG"),
        Step(copy_data(b"not a number\tx\n") + ROWS + COPY_DONE + SYNC),
        COUNT,
    ],
    "error_at_start": [Step(query("COPY wire_nowhere FROM STDIN")), Step(ROWS + COPY_DONE, "")],
    **{f"fails_{name}": script for name, script in FAILING_COPY.items()},
    "stray_copy_messages": [Step(ROWS + COPY_DONE + copy_fail("x"), ""), Step(query("SELECT 1"))],
}
