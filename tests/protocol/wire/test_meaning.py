"""What prepared statements mean: literals as at their Parse, names as PostgreSQL looks them up.

A client is led over all servers of its pool, so that its statement has to be prepared on each, under
settings that are not those of its Parse; the bytes are PostgreSQL's. Others, who say the same text, never
get anything of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from tests.support.exchange import Step, assert_same, direct, pooled
from tests.support.others import Others, run, types
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import FLUSH, SYNC, Message, Wire, bind, close, describe, execute, parse, query

SERVERS = 3
USE = [Step(bind((), "m") + execute() + SYNC)]

#: What is in force at the Parse, the text, what is in force later.
KEPT = {
    "TimeZone": ("UTC", "SELECT extract(epoch FROM '2020-06-01 12:00'::timestamptz)", "Asia/Tokyo"),
    "DateStyle": ("ISO, MDY", "SELECT extract(month FROM '01/02/2020'::date)", "ISO, DMY"),
    "IntervalStyle": ("postgres", "SELECT extract(epoch FROM '-1 1:00:00'::interval)", "sql_standard"),
    "standard_conforming_strings": ("on", r"SELECT length('a\\b')", "off"),
    "backslash_quote": ("on", r"SELECT length(E'a\'b')", "off"),
    "client_encoding": ("UTF8", "SELECT length('ä')", "LATIN1"),
    "xmloption": ("content", "SELECT '<a/><b/>'", "document"),
    "array_nulls": ("on", "SELECT '{NULL}'::text[] IS DISTINCT FROM ARRAY[NULL]::text[]", "off"),
    "transform_null_equals": ("off", "SELECT (NULL = NULL) IS NULL", "on"),
    "default_text_search_config": ("simple", "SELECT to_tsvector('the cats')", "english"),
    "lc_monetary": ("C", "SELECT '1.5'::money::numeric", "C"),
}


#: A table, and what has PostgreSQL read and plan anew what it has prepared about it.
READ_AGAIN = (
    "DROP TABLE IF EXISTS read_again",
    "CREATE TABLE read_again AS SELECT generate_series(1, 1000) AS n",
    "CREATE INDEX read_again_n ON read_again (n)",
    "ANALYZE read_again",
)
INVALIDATE = "ALTER TABLE read_again SET (fillfactor = {})"


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, running_postgres: Postgres, start_pooler: StartPooler) -> Pooler:
    for statement in READ_AGAIN:
        running_postgres.sql(statement, user="bouncer", dbname="p0")
    databases = {"tx": f"dbname=p0 pool_size={SERVERS}", "one": "dbname=p0 pool_size=1"}
    return start_pooler(workers=request.param, databases=databases)


@pytest.fixture
def others(pooler: Pooler) -> Iterator[Others]:
    with Others(pooler, "tx", SERVERS) as some:
        yield some


def prepare(text: str) -> list[Step]:
    return [Step(parse(text, "m") + SYNC)]


def on_each(others: Others, wire: Wire) -> list[Message]:
    """The statement `m` on every server."""
    return others.on_each(lambda: run(wire, USE))


@pytest.mark.parametrize("how", ["query", "extended", "startup"])
@pytest.mark.parametrize("name", KEPT)
def test_literals_keep_their_meaning(
    running_postgres: Postgres, pooler: Pooler, others: Others, name: str, how: str
) -> None:
    before, text, after = KEPT[name]
    setting = f"SET {name} = '{after}'"
    change = query(setting) if how != "extended" else parse(setting) + bind() + execute() + SYNC
    options = {"options": f"-c {name}={before.replace(' ', '')}"} if how == "startup" else {}
    with pooler.wire() as wire, pooled(pooler, "tx") as other:
        wire.login(database="tx", **options)
        with direct(running_postgres) as plain:
            for client in (wire, plain):
                run(client, [Step(query(f"SET {name} = '{before}'")), *prepare(text), Step(change)])
            expected = run(plain, USE)
            assert "E" not in types(expected)
            assert_same(expected * SERVERS, on_each(others, wire))
        with direct(running_postgres) as plain:
            expected = run(plain, [*prepare(text), *USE])
        for client in (other, *others.wires):
            assert_same(expected, run(client, [*prepare(text), *USE]))
            assert_same(expected[-len(run(client, USE)) :], run(client, USE))
            run(client, [Step(close("S", "m") + SYNC)])
        run(other, prepare(text))
        assert_same(expected[2:] * SERVERS, on_each(others, other))
        other.close()
        wire.close()


TOKYO = "SET TimeZone = 'Asia/Tokyo'"
LOCAL = "SET LOCAL TimeZone = 'Asia/Tokyo'"
TEXT = KEPT["TimeZone"][1]

#: Ways of a Parse that is behind something that is not answered yet, or passes with its transaction.
UNSETTLED = {
    "one_write": [Step(query(TOKYO) + parse(TEXT, "m") + SYNC, "ZZ")],
    "one_pipeline": [Step(parse(TOKYO) + bind() + execute() + parse(TEXT, "m") + SYNC)],
    "local": [Step(query("BEGIN")), Step(query(LOCAL)), *prepare(TEXT), Step(query("COMMIT"))],
    "local_pipelined": [Step(query(f"BEGIN; {LOCAL}") + parse(TEXT, "m") + SYNC + query("COMMIT"), "ZZZ")],
    "local_by_function": [
        Step(query("BEGIN")),
        Step(query("SELECT set_config('TimeZone', 'Asia/Tokyo', true)")),
        *prepare(TEXT),
        Step(query("COMMIT")),
    ],
    "undone": [Step(query("BEGIN")), Step(query(TOKYO)), *prepare(TEXT), Step(query("ROLLBACK"))],
    "second_of_a_pipeline": [
        Step(query(f"BEGIN; {LOCAL}")),
        Step(parse("SELECT 1", "one") + parse(TEXT, "m") + SYNC),
        Step(query("COMMIT")),
    ],
    "described": [
        Step(parse(TOKYO) + bind() + execute() + parse(TEXT, "m") + SYNC),
        Step(describe("S", "m") + SYNC),
    ],
    "reset_behind": [Step(query(TOKYO)), *prepare(TEXT), Step(query("RESET TimeZone"))],
}


@pytest.mark.parametrize("name", UNSETTLED)
def test_parse_behind_what_may_change_its_meaning(
    running_postgres: Postgres, pooler: Pooler, others: Others, name: str
) -> None:
    script = [Step(query("SET TimeZone = 'UTC'")), *UNSETTLED[name]]
    with pooled(pooler, "tx") as wire, direct(running_postgres) as plain:
        run(wire, script)
        run(plain, script)
        expected = run(plain, USE)
        for _ in range(SERVERS):
            got = others.on_each(lambda: run(wire, USE))
            for answer in (got[at : at + len(expected)] for at in range(0, len(got), len(expected))):
                if types(answer).startswith("E"):  # drivers parse again then
                    assert name in ("one_pipeline", "described")
                    assert answer[0].fields["M"] == "cached plan must not change result type"
                    break
                assert_same(expected, answer)
        wire.close()
    with pooled(pooler, "tx") as other, direct(running_postgres) as plain:
        run(other, prepare(TEXT))
        expected = run(plain, [*prepare(TEXT), *USE])[2:]
        assert_same(expected * SERVERS, on_each(others, other))
        other.close()


def test_refused_twice_before_an_answer(pooler: Pooler, others: Others) -> None:
    """Each use of a statement that cannot be parsed again is refused in the same words, however often."""
    with pooled(pooler, "tx") as wire:
        run(wire, UNSETTLED["one_pipeline"])
        twice = [Step(USE[0].data + query("EXECUTE m") + USE[0].data, until="ZZZ")]
        got = others.on_each(lambda: run(wire, twice))
        errors = [message.fields["M"] for message in got if message.type == "E"]
        assert len(errors) > SERVERS
        assert set(errors) == {"cached plan must not change result type"}
        wire.close()


def test_statement_of_unknown_meaning_keeps_its_server(pooler: Pooler, others: Others) -> None:
    with pooled(pooler, "tx") as wire:
        run(wire, UNSETTLED["one_pipeline"])
        server = wire.rows("SELECT pg_backend_pid()")
        for _ in range(5):
            assert "E" not in types(run(wire, USE))
            assert wire.rows("SELECT pg_backend_pid()") == server
        wire.close()


@pytest.mark.parametrize("use", ["describe", "execute", "portal_in_transaction"])
def test_every_way_to_use_it(running_postgres: Postgres, pooler: Pooler, others: Others, use: str) -> None:
    ways = {
        "describe": [Step(describe("S", "m") + bind((), "m") + execute() + SYNC)],
        "execute": [Step(query("EXECUTE m"))],
        "portal_in_transaction": [
            Step(parse("BEGIN") + bind() + execute() + bind((), "m", "p") + execute("p", 1) + SYNC),
            Step(query("SHOW TimeZone")),
            Step(query("COMMIT; SHOW TimeZone")),
        ],
    }
    script = [Step(query("SET TimeZone = 'UTC'")), *prepare(TEXT), Step(query(TOKYO))]
    pooler.learn_catalogs("tx")  # before, an EXECUTE may set anything, and nothing is parsed for it
    with pooled(pooler, "tx") as wire, direct(running_postgres) as plain:
        run(wire, script)
        run(plain, script)
        assert_same(run(plain, ways[use]) * SERVERS, others.on_each(lambda: run(wire, ways[use])))
        wire.close()


def test_unnamed_statement_keeps_its_meaning(
    running_postgres: Postgres, pooler: Pooler, others: Others
) -> None:
    script = [
        Step(query("SET TimeZone = 'UTC'")),
        Step(parse(TOKYO, "tokyo") + SYNC),
        Step(parse(TEXT) + SYNC),
        Step(bind((), "tokyo") + execute() + SYNC),
    ]
    use = [Step(bind() + execute() + SYNC)]
    with pooled(pooler, "tx") as wire, direct(running_postgres) as plain:
        run(wire, script)
        run(plain, script)
        assert_same(run(plain, use) * SERVERS, others.on_each(lambda: run(wire, use)))
        wire.close()


#: Ways to a temporary table.
TEMPORARY = {
    "CREATE TEMP": "CREATE TEMP TABLE hid AS SELECT 'mine' AS n",
    "SELECT INTO": "SELECT 'mine' AS n INTO TEMP hid",
    "function": "SELECT make_hid()",
    "DO": "DO $$ BEGIN CREATE TEMP TABLE hid AS SELECT 'mine' AS n; END $$",
    "dynamic SQL": "DO $$ BEGIN EXECUTE 'CREATE TE' || 'MP TABLE hid AS SELECT ''mine'' AS n'; END $$",
    "search_path": "SET search_path = pg_temp, public; CREATE TABLE hid AS SELECT 'mine' AS n;"
    " RESET search_path",
    "view": "CREATE TEMP VIEW hid AS SELECT 'mine' AS n",
}


@pytest.mark.parametrize("way", TEMPORARY)
def test_temporary_table_hides_for_its_client(
    pooler: Pooler, others: Others, running_postgres: Postgres, way: str
) -> None:
    make = (
        "DROP TABLE IF EXISTS hid; CREATE TABLE hid AS SELECT 'all' AS n;"
        " CREATE OR REPLACE FUNCTION make_hid() RETURNS void LANGUAGE plpgsql"
        " AS $$ BEGIN EXECUTE 'CREATE TEMP TABLE hid AS SELECT ''mine'' AS n'; END $$"
    )
    running_postgres.sql(make, user="bouncer", dbname="p0")
    text = "SELECT n FROM hid"
    temporary = [Step(query("CREATE TEMP TABLE passing AS SELECT 1; DROP TABLE passing"))]
    others.everywhere(temporary, prepare(text), USE)
    with pooled(pooler, "tx") as wire, pooled(pooler, "tx") as other:
        run(wire, [Step(query(TEMPORARY[way])), *prepare(text)])
        for _ in range(3):
            assert [m.values for m in run(wire, USE) if m.type == "D"] == [[b"mine"]]
        run(wire, [Step(query("DROP VIEW pg_temp.hid" if way == "view" else "DROP TABLE pg_temp.hid"))])
        run(other, prepare(text))
        for wires in (other, wire):
            got = on_each(others, wires)
            assert [m.values for m in got if m.type == "D"] == [[b"all"]] * SERVERS
        wire.close()
        other.close()


def test_temporary_table_of_a_transaction(pooler: Pooler, others: Others, running_postgres: Postgres) -> None:
    make = "DROP TABLE IF EXISTS hid; CREATE TABLE hid AS SELECT 'all' AS n"
    running_postgres.sql(make, user="bouncer", dbname="p0")
    text = "SELECT n FROM hid"
    others.everywhere([], prepare(text), USE)
    with pooled(pooler, "tx") as wire:
        made = "BEGIN; CREATE TEMP TABLE hid ON COMMIT DROP AS SELECT 'mine' AS n"
        wire.query(made)
        wire.send(parse(text, "s") + SYNC)
        wire.receive_until()
        for end, seen in ((None, b"mine"), ("COMMIT", b"all")):
            if end:
                wire.query(end)
            wire.send(bind((), "s") + execute() + SYNC)
            assert [m.values for m in wire.receive_until() if m.type == "D"] == [[seen]]
        wire.close()


def test_parse_after_a_change_past_pooler(pooler: Pooler, others: Others, running_postgres: Postgres) -> None:
    """A table that hides another appears where pooler cannot see it: who parses now reads it everywhere."""

    def past(text: str) -> None:
        running_postgres.sql(text, user="bouncer", dbname="p0")

    past("DROP SCHEMA IF EXISTS early CASCADE; CREATE SCHEMA early; DROP TABLE IF EXISTS shadowed")
    past("CREATE TABLE shadowed AS SELECT 'old' AS n")
    text, path = "SELECT n FROM shadowed", [Step(query("SET search_path = early, public"))]
    others.everywhere(path, prepare(text), USE)
    past("CREATE TABLE early.shadowed AS SELECT 'new' AS n")
    with pooled(pooler, "tx") as wire:
        run(wire, [*path, *prepare(text)])
        for _ in range(2):
            assert [m.values for m in on_each(others, wire) if m.type == "D"] == [[b"new"]] * SERVERS
        wire.close()
    past("DROP SCHEMA early CASCADE; DROP TABLE shadowed")


def test_statements_are_shared_and_cost_nothing_once_they_are_there(pooler: Pooler, others: Others) -> None:
    def parses() -> int:
        return sum(row["total_server_parse_count"] for row in pooler.show("stats", database="tx"))

    with pooled(pooler, "tx") as wire, pooled(pooler, "tx") as other:
        for client in (wire, other):
            run(client, prepare("SELECT 'shared'"))
        for client in (other, wire, other):
            on_each(others, client)
        before = parses()
        for client in (wire, other):
            on_each(others, client)
        assert parses() == before
        wire.close()
        other.close()


@pytest.fixture
def invalidate(running_postgres: Postgres, pooler: Pooler) -> Callable[[], None]:
    """Past pooler, of which it is known that nothing in the catalogs sets anything."""
    factors = cycle((90, 80))
    pooler.learn_catalogs("one")

    def now() -> None:
        running_postgres.sql(INVALIDATE.format(next(factors)), user="bouncer", dbname="p0")

    return now


def about_the_table(text: str) -> str:
    return f"{text}, (SELECT count(*) FROM read_again)"


def rows(messages: list[Message]) -> list[list[bytes | None]]:
    return [message.values for message in messages if message.type == "D"]


#: What B does before it uses its statement again, and behind that.
OTHERWISE = {
    "for_the_session": ("SET {}", "SELECT 1"),
    "for_a_transaction": ("BEGIN; SET LOCAL {}", "COMMIT"),
    "by_a_function": ("BEGIN; SELECT set_config('{}', '{}', true)", "COMMIT"),
    "undone": ("BEGIN; SET {}", "ROLLBACK"),
}


@pytest.mark.parametrize("how", OTHERWISE)
@pytest.mark.parametrize("name", KEPT)
def test_what_others_set_is_not_in_force_when_a_statement_is_read_again(
    running_postgres: Postgres, pooler: Pooler, invalidate: Callable[[], None], name: str, how: str
) -> None:
    """A and B share a statement; B sets something, and PostgreSQL reads the text again when B uses it."""
    before, text, after = KEPT[name]
    begin, end = OTHERWISE[how]
    arguments = (name, after) if how == "by_a_function" else (f"{name} = '{after}'",)
    with pooled(pooler, "one") as a, pooled(pooler, "one") as b, direct(running_postgres) as plain:
        for client in (a, b, plain):
            run(client, [Step(query(f"SET {name} = '{before}'")), *prepare(about_the_table(text))])
        first = rows(run(a, USE))
        assert rows(run(b, USE)) == first
        for client in (b, plain):
            run(client, [Step(query(begin.format(*arguments)))])
        if (
            how == "for_the_session"
        ):  # a transaction that has locked the table does not hear of what comes then
            assert rows(run(b, USE)) == rows(run(plain, USE)), "as long as nothing has invalidated it"
        invalidate()
        assert "E" not in types(run(b, USE))
        run(b, [Step(query(end.format(name)))])
        assert rows(run(a, USE)) == first
        assert rows(run(b, USE))
        assert rows(run(a, USE)) == first
        a.close()
        b.close()


def test_a_set_in_the_same_pipeline_is_not_in_force_for_others(
    pooler: Pooler, invalidate: Callable[[], None]
) -> None:
    with pooled(pooler, "one") as a, pooled(pooler, "one") as b:
        for client in (a, b):
            run(client, [Step(query("SET TimeZone = 'UTC'")), *prepare(about_the_table(TEXT))])
        first = rows(run(a, USE))
        run(b, USE)
        invalidate()
        run(b, [Step(parse(LOCAL) + bind() + execute() + bind((), "m") + execute() + SYNC)])
        assert rows(run(a, USE)) == first
        invalidate()
        run(b, [Step(query(f"{TOKYO}; EXECUTE m"))])
        assert rows(run(a, USE)) == first
        a.close()
        b.close()


#: What B sets, and a text that PostgreSQL plans otherwise then.
PLANNED = {
    "scans": (
        "enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off",
        "WHERE n = 5",
    ),
    "costs": ("random_page_cost = 10000; SET cpu_operator_cost = 0", "WHERE n = 5"),
    "sorts": ("enable_sort = off; SET enable_seqscan = off", "ORDER BY n"),
}


@pytest.mark.parametrize("begin", ["SET ", "BEGIN; SET LOCAL "])
@pytest.mark.parametrize("name", PLANNED)
def test_nobody_gets_the_plans_of_others_settings(
    running_postgres: Postgres, pooler: Pooler, invalidate: Callable[[], None], name: str, begin: str
) -> None:
    settings, tail = PLANNED[name]
    text = f"SELECT n FROM read_again {tail}"
    explain = [Step(query("EXPLAIN (COSTS off) EXECUTE m"))]
    change = [Step(query(begin + settings.replace("SET ", begin.split("; ")[-1])))]
    with pooled(pooler, "one") as a, pooled(pooler, "one") as b, direct(running_postgres) as plain:
        expected = rows(run(plain, [*prepare(text), *explain]))
        for client in (a, b):
            run(client, prepare(text))
        run(b, change)
        run(b, USE)
        run(b, [Step(query("COMMIT"))])
        run(a, USE)
        assert rows(run(a, explain)) == expected
        a.close()
        b.close()


def test_who_has_set_nothing_that_matters_shares(pooler: Pooler) -> None:
    def parses() -> int:
        return sum(row["total_server_parse_count"] for row in pooler.show("stats", database="one"))

    harmless = "SET application_name = '{0}'; SET statement_timeout = '5{0}s'; SET app.tenant = '{0}'"
    with pooled(pooler, "one") as a, pooled(pooler, "one") as b:
        for n, client in enumerate((a, b)):
            run(client, [*prepare("SELECT 'shared by all'"), Step(query(harmless.format(n)))])
        run(a, USE)
        before = parses()
        for client in (b, a, b):
            run(client, USE)
            run(client, [Step(query("BEGIN")), *USE, *USE, Step(query("COMMIT"))])
        assert parses() == before
        a.close()
        b.close()


#: What runs in no transaction block, and what has it done again.
ALONE = ("VACUUM pg_catalog.pg_am", "COMMIT PREPARED 'nobody'", "CREATE DATABASE template1", "SELECT 1")


@pytest.mark.parametrize("use", ["named", "described", "unnamed"])
@pytest.mark.parametrize("text", ALONE)
def test_what_runs_alone_is_not_parsed_in_its_transaction(
    running_postgres: Postgres, pooler: Pooler, others: Others, text: str, use: str
) -> None:
    """It is parsed under the settings of before, on every server, and run outside of any transaction."""
    name = "" if use == "unnamed" else "m"
    described = describe("S", name) if use == "described" else b""
    script = [Step(described + bind((), name) + execute() + SYNC)]
    set_it = [Step(parse(TOKYO, "tokyo") + SYNC), Step(parse(text, name) + SYNC)]
    set_it += [Step(bind((), "tokyo") + execute() + SYNC)]
    with pooled(pooler, "tx") as wire, direct(running_postgres) as plain:
        run(wire, set_it)
        run(plain, set_it)
        answers = others.each(lambda: run(wire, script))
        expected = run(plain, script)
        for answer in answers:
            assert_same(expected, answer)
        wire.close()


@pytest.mark.parametrize("use", ["named", "described", "unnamed"])
@pytest.mark.parametrize("behind", [b"", bind((), "one") + execute() + SYNC], ids=["alone", "another"])
def test_error_of_a_parse_in_a_transaction_of_its_own(
    running_postgres: Postgres, pooler: Pooler, others: Others, use: str, behind: bytes
) -> None:
    """It is the answer to what uses the statement, and nothing behind that suffers."""
    name = "" if use == "unnamed" else "m"
    described = describe("S", name) if use == "described" else b""
    prepare = [Step(parse(TOKYO, "tokyo") + parse("SELECT 'one'", "one") + SYNC)]
    prepare += [Step(parse("SELECT n FROM passing", name) + SYNC), Step(bind((), "tokyo") + execute() + SYNC)]
    make = "CREATE TABLE passing AS SELECT 1 AS n"
    running_postgres.sql(make, user="bouncer", dbname="p0")
    with pooled(pooler, "tx") as wire:
        run(wire, prepare)
        running_postgres.sql("DROP TABLE passing", user="bouncer", dbname="p0")
        step = Step(described + bind((), name) + execute() + SYNC + behind, "ZZ" if behind else "Z")
        for answer in others.each(lambda: run(wire, [step])):
            assert types(answer) == ("EZ2DCZ" if behind else "EZ")
            assert answer[0].fields["C"] == "42P01"
        wire.close()


@pytest.mark.parametrize("first", ["pipeline", "query"])
@pytest.mark.parametrize("text", ["ROLLBACK", "COMMIT", "END;"])
def test_end_of_a_transaction_behind_an_error_on_its_way(
    running_postgres: Postgres, pooler: Pooler, text: str, first: str
) -> None:
    """It is parsed again, for it was prepared under other settings; that needs none of them."""
    fails = query("SELECT 1/0") if first == "query" else parse("SELECT 1/0") + bind() + execute() + SYNC
    script = [
        Step(query("SET TimeZone = 'UTC'")),
        Step(parse(text, "end") + SYNC),
        Step(query(TOKYO)),
        Step(query("BEGIN")),
        Step(fails + bind((), "end") + execute() + SYNC, "ZZ"),
        Step(query("SELECT 1")),
    ]
    with pooled(pooler, "one") as wire, direct(running_postgres) as plain:
        assert_same(run(plain, script), run(wire, script))
        wire.close()


#: What sets something for the transaction under way, and is answered before a Parse behind it is sent.
ANSWERED = {
    "local": ("BEGIN", "SET LOCAL {0} = '{1}'"),
    "session": ("BEGIN", "SET {0} = '{1}'"),
    "set_config": ("BEGIN", "SELECT set_config('{0}', '{1}', true)"),
    "pipeline": ("", "SET LOCAL {0} = '{1}'"),
    "session_pipeline": ("", "SET {0} = '{1}'"),
}


@pytest.mark.parametrize("how", ANSWERED)
@pytest.mark.parametrize("name", ["array_nulls", "TimeZone"])
def test_what_was_in_force_in_a_transaction_is_not_guessed(
    pooler: Pooler, others: Others, name: str, how: str
) -> None:
    """Elsewhere the statement means the same, or is refused: no server tells of array_nulls."""
    before, text, after = KEPT[name]
    begin, change = ANSWERED[how]
    pooler.learn_catalogs("tx")
    with pooled(pooler, "tx") as wire:
        wire.query(f"SET {name} = '{before}'")
        wire.query(begin)
        run(wire, [Step(parse(change.format(name, after)) + bind() + execute() + FLUSH, "C")])
        first = rows(run(wire, [Step(parse(text, "m") + bind((), "m") + execute() + SYNC)]))
        wire.query("ROLLBACK")
        wire.query(f"SET {name} = '{before}'")
        for other in others.wires:
            other.send(query("BEGIN"))
        for other in others.wires[1:]:
            other.receive_until()
        for other in others.wires:
            if other is others.wires[0]:
                other.receive_until()
            other.query("COMMIT")
            answer = run(wire, USE)
            assert rows(answer) == first or [m.fields["C"] for m in answer if m.type == "E"] == ["0A000"]
            other.query("BEGIN")
        wire.close()


@pytest.mark.parametrize("use", ["named", "described", "query"])
def test_settings_that_are_refused_meanwhile_are_one_error(
    running_postgres: Postgres, pooler: Pooler, others: Others, use: str
) -> None:
    """What a value names is gone; what the client sends behind the error is answered."""
    make = "CREATE ACCESS METHOD passing TYPE TABLE HANDLER heap_tableam_handler"
    running_postgres.sql(make, dbname="p0")
    with pooled(pooler, "tx") as wire:
        run(wire, [Step(query("SET default_table_access_method = passing")), *prepare("SELECT 1")])
        run(wire, [Step(query("SET default_table_access_method = heap"))])
        running_postgres.sql("DROP ACCESS METHOD passing", dbname="p0")
        steps = {
            "named": USE[0].data,
            "described": describe("S", "m") + USE[0].data,
            "query": query("EXECUTE m"),
        }
        step = Step(steps[use] + query("SELECT 2"), "ZZ")
        for answer in others.each(lambda: run(wire, [step])):
            assert types(answer) == "EZTDCZ"
            assert answer[0].fields["C"] == "22023"
        wire.close()
