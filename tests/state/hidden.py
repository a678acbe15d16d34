"""Kinds of session state that no text betrays: settings made by functions, triggers, views and policies."""

from __future__ import annotations

from tests.state.kind import Call, Kind, custom, guc_name
from tests.support.exchange import function_call
from tests.support.wire import message, query

SET_CONFIG = 2078  # oid of pg_catalog.set_config()


CALLED = [
    custom("SQL function", "SELECT in_sql()"),
    custom("plpgsql function", "SELECT in_plpgsql()"),
    custom("nested functions", "SELECT nested3('secret')"),
    custom("EXECUTE in a function", "SELECT in_execute()"),
    custom("name as argument", "SELECT keep('name_as_argument_{n}', 'secret')"),
    custom("name built", "SELECT keep('name' || chr(95) || 'built_{n}', 'secret')"),
    custom("name twice", "SELECT keep('other_{n}', '1'), keep('name_twice_{n}', 'secret')"),
    custom("function in FROM", "SELECT * FROM keep('function_in_from_{n}', 'secret')"),
    custom("function with parameters", Call("SELECT keep($1, $2)", ("function_with_parameters", "secret"))),
    custom("security definer", "SELECT definer()"),
    custom("function said to be immutable", "SELECT said_immutable()"),
    custom("set-returning function", "SELECT * FROM of_set(3)"),
    custom("overloaded function", "SELECT overloaded(1)", "SELECT overloaded('a'::text)"),
    custom("operator", "SELECT 1 <=@=> 2"),
    custom("aggregate", "SELECT keeping(n) FROM generate_series(1, 3) AS n"),
    custom("cast", "SELECT ROW(1)::boxed::int"),
    custom("domain", "SELECT 1::checked"),
    custom("procedure", "CALL in_procedure('procedure')"),
    custom("procedure that fails", "CALL commits_and_fails('procedure_that_fails')", fails=True, block=False),
    custom("FunctionCall", function_call(SET_CONFIG, guc_name("FunctionCall").encode(), b"secret", b"f")),
    Kind("function sets work_mem", ("SELECT of_work_mem()",), "SHOW work_mem"),
    Kind("function sets role", ("SELECT of_role()",), "SELECT current_user"),
]

WRITTEN = [
    custom("trigger", "INSERT INTO with_trigger VALUES (1)"),
    custom("statement trigger", "DELETE FROM with_trigger WHERE n = 0"),
    custom("deferred trigger", "INSERT INTO with_deferred VALUES (1)", block=False),
    custom(
        "cascade",
        *(
            "DELETE FROM parent",
            "INSERT INTO parent VALUES (1)",
            "INSERT INTO child VALUES (1)",
            "DELETE FROM parent",
        ),
    ),
    custom("COPY with trigger", query("COPY with_copy FROM STDIN") + message("d", b"1\n") + message("c")),
    custom("instead of", "INSERT INTO with_instead VALUES (1)"),
    custom("column default", "INSERT INTO with_default (n) VALUES (1)"),
    custom("check constraint", "INSERT INTO with_check VALUES (1)"),
    custom("rule", "INSERT INTO with_rule VALUES (1)"),
    custom("view", "SELECT * FROM with_function"),
    custom("view of view", "TABLE view_of_view"),
    custom("row policy", "SELECT n FROM with_policy"),
]

REPLACE = "CREATE OR REPLACE FUNCTION replaced() RETURNS text LANGUAGE sql AS"

#: The same text was harmless before, and often: what is remembered of a text is not what it does now.
CLEAN_AT_FIRST = [
    custom(
        "function clean at first",
        *(Call("SELECT by_argument($1::bool) AS c{n}", (value,)) for value in ["f"] * 5 + ["t"]),
    ),
    custom(
        "function by data",
        *("DELETE FROM switch", *["SELECT by_data() AS c{n}"] * 5, "INSERT INTO switch VALUES (true)"),
        *("SELECT by_data() AS c{n}", "DELETE FROM switch"),
    ),
    custom(
        "function replaced",
        *(f"{REPLACE} $$ SELECT 'clean' $$",),
        *["SELECT replaced() AS c{n}"] * 5,
        f"{REPLACE} $$ SELECT keep('function_replaced', 'x') $$",
        "SELECT replaced() AS c{n}",
    ),
    custom(
        "function by search_path",
        *("SET search_path = public", *["SELECT by_path() AS c{n}"] * 5, "SET search_path = hidden, public"),
        *("SELECT by_path() AS c{n}", "SET search_path = public"),
    ),
    custom(
        "trigger made later",
        *("DROP TRIGGER IF EXISTS t ON later", *["INSERT INTO later VALUES ({n})"] * 5),
        "CREATE TRIGGER t AFTER INSERT ON later EXECUTE FUNCTION by_trigger('trigger_made_later')",
        "INSERT INTO later VALUES ({n})",
    ),
    custom(
        "DO clean at first",
        "DELETE FROM switch",
        *["DO $$ BEGIN PERFORM keep('do_clean_at_first', 'x'), {n} FROM switch; END $$"] * 5,
        "INSERT INTO switch VALUES (true)",
        "DO $$ BEGIN PERFORM keep('do_clean_at_first', 'x'), {n} FROM switch; END $$",
    ),
]

HIDDEN = [*CALLED, *WRITTEN, *CLEAN_AT_FIRST]
