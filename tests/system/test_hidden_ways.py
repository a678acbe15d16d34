"""What runs though no text names it: defaults, attributes of composite types, operator classes, and others.

What it leaves in a session is met by nobody else. In a database of its own, whose catalogs are known: while
they are not, everything is asked for, and nothing of this could be seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pooler.admin.show_catalogs import UNNAMED
from tests.support.exchange import function_call, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, Wire, bind, execute, message, parse, query

DATABASE = "hidden"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
RUN = execute() + SYNC
SETSEED = 1599  # oid of pg_catalog.setseed()

TABLES = """
CREATE TABLE made (id serial, n int);
CREATE TABLE with_default (n int PRIMARY KEY, id serial);
INSERT INTO with_default VALUES (1);
CREATE TABLE with_trigger (n int);
INSERT INTO with_trigger VALUES (1);
CREATE FUNCTION in_plpgsql() RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO made (n) VALUES (1); END';
CREATE FUNCTION in_sql() RETURNS void LANGUAGE sql AS 'INSERT INTO made (n) VALUES (1)';
CREATE FUNCTION parsed() RETURNS int LANGUAGE sql
    BEGIN ATOMIC INSERT INTO made (n) VALUES (1) RETURNING n; END;
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN INSERT INTO made (n) VALUES (1); RETURN new; END';
CREATE TRIGGER t BEFORE UPDATE ON with_trigger FOR EACH ROW EXECUTE FUNCTION by_trigger();
CREATE VIEW with_rule AS SELECT n FROM with_trigger;
CREATE RULE r AS ON UPDATE TO with_rule DO INSTEAD INSERT INTO made (n) VALUES (1);
CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN INSERT INTO made (n) VALUES (1); COMMIT; END';

CREATE FUNCTION locks(int) RETURNS bool LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_advisory_lock(4711); RETURN true; END';
CREATE DOMAIN checked AS int CHECK (locks(VALUE));
CREATE TYPE pair AS (a checked);
CREATE TYPE deep AS (c pair);
CREATE TABLE as_row (a checked);
CREATE TABLE of_pair (c pair);
CREATE TABLE of_pairs (c pair[]);
CREATE DOMAIN domain_of_pair AS pair;
INSERT INTO of_pair VALUES (NULL);
CREATE FUNCTION in_a_variable(text) RETURNS pair LANGUAGE plpgsql
    AS 'DECLARE c pair; BEGIN c := $1; RETURN c; END';

CREATE TYPE sorted AS (a int);
CREATE FUNCTION compare(sorted, sorted) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN PERFORM pg_advisory_lock(4711); RETURN 0; END';
CREATE FUNCTION yes(sorted, sorted) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE TABLE of_sorted (c sorted);
INSERT INTO of_sorted VALUES (ROW(1)), (ROW(2));
CREATE OPERATOR <# (LEFTARG = sorted, RIGHTARG = sorted, FUNCTION = yes);
CREATE OPERATOR <=# (LEFTARG = sorted, RIGHTARG = sorted, FUNCTION = yes);
CREATE OPERATOR =# (LEFTARG = sorted, RIGHTARG = sorted, FUNCTION = yes);
CREATE OPERATOR >=# (LEFTARG = sorted, RIGHTARG = sorted, FUNCTION = yes);
CREATE OPERATOR ># (LEFTARG = sorted, RIGHTARG = sorted, FUNCTION = yes);
CREATE OPERATOR CLASS sorted_ops DEFAULT FOR TYPE sorted USING btree AS
    OPERATOR 1 <#, OPERATOR 2 <=#, OPERATOR 3 =#, OPERATOR 4 >=#, OPERATOR 5 >#,
    FUNCTION 1 compare(sorted, sorted);
CREATE FUNCTION key_of(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN PERFORM pg_advisory_lock(4711); RETURN $1; END';
CREATE FUNCTION compare_numbers(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS 'BEGIN PERFORM pg_advisory_lock(4711); RETURN $1 - $2; END';
CREATE FUNCTION hash_long(int, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 1::bigint';
CREATE FUNCTION less(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 < $2';
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 = $2; END';
CREATE OPERATOR <## (LEFTARG = int, RIGHTARG = int, FUNCTION = less);
CREATE OPERATOR =## (LEFTARG = int, RIGHTARG = int, FUNCTION = same, HASHES, MERGES, COMMUTATOR = =##);
CREATE OPERATOR CLASS odd_ops FOR TYPE int USING btree AS
    OPERATOR 1 <##, OPERATOR 3 =##, FUNCTION 1 compare_numbers(int, int);
CREATE OPERATOR CLASS odd_hash FOR TYPE int USING hash AS
    OPERATOR 1 =##, FUNCTION 1 key_of(int), FUNCTION 2 hash_long(int, bigint);
CREATE TABLE numbers (n int);
INSERT INTO numbers VALUES (2), (1), (3);
CREATE VIEW in_odd_order AS SELECT n FROM numbers ORDER BY n USING <##;
CREATE TABLE by_range (n int) PARTITION BY RANGE (key_of(n));
CREATE TABLE middle PARTITION OF by_range FOR VALUES FROM (0) TO (100) PARTITION BY LIST (n);
CREATE TABLE leaf PARTITION OF middle DEFAULT;
CREATE TABLE by_hash (n int) PARTITION BY HASH (n odd_hash);
CREATE TABLE hash_leaf PARTITION OF by_hash FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TYPE changed AS (x int);
CREATE TABLE later (n int);
CREATE DOMAIN bare AS int;
CREATE FUNCTION makes_a_table() RETURNS void LANGUAGE sql SET search_path = pg_temp
    AS 'SELECT 1 AS a INTO kept; SELECT';

CREATE TABLE parted (n int) PARTITION BY RANGE (n odd_ops);
CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE part2 PARTITION OF parted FOR VALUES FROM (10) TO (20);

CREATE SCHEMA locking;
CREATE VIEW locking.view AS SELECT pg_advisory_lock(4711)::text AS x;
GRANT ALL ON SCHEMA locking TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA locking TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
"""

DRAWS = {
    "plpgsql function": "SELECT in_plpgsql()",
    "sql function": "SELECT in_sql()",
    "sql function with a parsed body": "SELECT parsed()",
    "trigger of an UPDATE": "UPDATE with_trigger SET n = 1",
    "rule of an UPDATE": "UPDATE with_rule SET n = 1",
    "UPDATE SET DEFAULT": "UPDATE with_default SET id = DEFAULT",
    "MERGE": "MERGE INTO with_default USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET id = DEFAULT",
    "procedure": "CALL commits()",
}

LOCKING = {
    "literal": "SELECT '(1)'::pair",
    "typed literal": "SELECT pair '(1)'",
    "row": "SELECT CAST(ROW(1) AS pair)",
    "array": "SELECT '{(1)}'::pair[]",
    "nested": """SELECT '("(1)")'::deep""",
    "domain over it": "SELECT '(1)'::domain_of_pair",
    "row type of a table": "SELECT '(1)'::as_row",
    "json_populate_record": """SELECT json_populate_record(NULL::pair, '{"a":1}')""",
    "jsonb_populate_recordset": """SELECT * FROM jsonb_populate_recordset(NULL::as_row, '[{"a":1}]')""",
    "json_to_record": """SELECT * FROM json_to_record('{"x":{"a":1}}') AS t(x pair)""",
    "INSERT": "INSERT INTO of_pair VALUES ('(1)')",
    "INSERT of an array": "INSERT INTO of_pairs VALUES ('{(1)}')",
    "UPDATE of an attribute": "UPDATE of_pair SET c.a = 1",
    "variable": "SELECT in_a_variable('(1)')",
    "ORDER BY": "SELECT c FROM of_sorted ORDER BY c",
    "DISTINCT": "SELECT DISTINCT c FROM of_sorted",
    "GROUP BY": "SELECT c FROM of_sorted GROUP BY c",
    "UNION": "SELECT c FROM of_sorted UNION SELECT c FROM of_sorted",
    "GREATEST": "SELECT greatest(c, c) FROM of_sorted",
    "window": "SELECT rank() OVER (ORDER BY c) FROM of_sorted",
    "arrays": "SELECT ARRAY[c] < ARRAY[c] FROM of_sorted",
    "partition": "INSERT INTO leaf VALUES (1)",
    "partition by hash": "INSERT INTO hash_leaf VALUES (1)",
    "ORDER BY USING": "SELECT n FROM numbers ORDER BY n USING <##",
    "ORDER BY USING in a view": "SELECT * FROM in_odd_order",
    "hash join": "BEGIN; SET LOCAL enable_mergejoin = off; SET LOCAL enable_nestloop = off;"
    " SELECT FROM numbers a JOIN numbers b ON a.n =## b.n; COMMIT",
    "merge join": "BEGIN; SET LOCAL enable_hashjoin = off; SET LOCAL enable_nestloop = off;"
    " SELECT FROM numbers a JOIN numbers b ON a.n =## b.n; COMMIT",
    "list that is hashed": "SELECT FROM numbers WHERE n =## ANY ('{1,2,3,4,5,6,7,8,9,10,11}'::int[])",
    "partition key": "INSERT INTO parted VALUES (1)",
}

#: What changes no row of the object that a text names.
ALTERED = {
    "attribute": ("ALTER TYPE changed ALTER ATTRIBUTE x TYPE checked", "SELECT '(1)'::changed"),
    "column": (
        "ALTER TABLE later ALTER n TYPE bare; ALTER DOMAIN bare ADD CHECK (locks(VALUE))",
        "INSERT INTO later VALUES (1)",
    ),
}

#: Functions that run what is one of their arguments, and what they run takes a lock.
XML = {
    "query_to_xml": "'SELECT pg_advisory_lock(4711)::text AS x', true, false, ''",
    "query_to_xml_and_xmlschema": "'SELECT pg_advisory_lock(4711)::text AS x', true, false, ''",
    "cursor_to_xml": "'c', 1, true, false, ''",
    "table_to_xml": "'locking.view', true, false, ''",
    "table_to_xml_and_xmlschema": "'locking.view', true, false, ''",
    "schema_to_xml": "'locking', true, false, ''",
    "schema_to_xml_and_xmlschema": "'locking', true, false, ''",
    "database_to_xml": "true, false, ''",
    "database_to_xml_and_xmlschema": "true, false, ''",
}


@pytest.fixture(scope="module")
def database(running_postgres: Postgres) -> Iterator[Postgres]:
    running_postgres.sql(f"CREATE DATABASE {DATABASE}")
    running_postgres.sql(TABLES, dbname=DATABASE)
    yield running_postgres
    running_postgres.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def pooler(database: Postgres, start_pooler: StartPooler) -> Iterator[Pooler]:
    pooler = start_pooler(databases={DATABASE: "pool_size=1"})
    pooler.learn_catalogs(DATABASE)
    assert not pooler.show("catalogs", database=DATABASE)[0]["asked"]  # else each way would be asked for
    with pooled(pooler, DATABASE) as wire:
        wire.query(
            "SELECT lastval()"
        )  # there is nothing of the first moments, in which everything was asked for
    yield pooler
    pooler.stop()


def errors(answer: list[Message]) -> list[dict[str, str]]:
    return [message.fields for message in answer if message.type == "E"]


def rows(wire: Wire, text: str) -> list[list[bytes | None]]:
    return [message.values for message in wire.query(text) if message.type == "D"]


@pytest.mark.parametrize("way", DRAWS)
def test_what_draws_from_a_sequence(pooler: Pooler, way: str) -> None:
    with pooled(pooler, DATABASE) as maker, pooled(pooler, DATABASE) as other:
        assert not errors(maker.query(DRAWS[way]))
        assert rows(other, "SELECT lastval()") == []


@pytest.mark.parametrize("way", LOCKING)
def test_what_takes_a_lock(pooler: Pooler, way: str) -> None:
    with pooled(pooler, DATABASE) as maker:
        assert not errors(maker.query(LOCKING[way]))
    with pooled(pooler, DATABASE) as other:
        assert rows(other, LOCKS) == [[b"0"]]


@pytest.mark.parametrize("way", ALTERED)
def test_types_that_are_altered_past_pooler(pooler: Pooler, database: Postgres, way: str) -> None:
    change, text = ALTERED[way]
    database.sql(change, dbname=DATABASE)
    pooler.learn_anew(DATABASE)
    with pooled(pooler, DATABASE) as maker:
        assert not errors(maker.query(text))
    with pooled(pooler, DATABASE) as other:
        assert rows(other, LOCKS) == [[b"0"]]


@pytest.mark.parametrize("function", XML)
def test_what_makes_xml_of_a_query(pooler: Pooler, function: str) -> None:
    """Where PostgreSQL has no libxml some fail, behind the lock or before it."""
    with pooled(pooler, DATABASE) as maker:
        maker.query("BEGIN")
        if function == "cursor_to_xml":
            maker.query("DECLARE c CURSOR FOR SELECT pg_advisory_lock(4711)::text AS x")
        messages = errors(maker.query(f"SELECT {function}({XML[function]})"))
        assert all("libxml" in message["D"] for message in messages)
        maker.query("COMMIT")
        taken = rows(maker, LOCKS)
        assert taken != [[b"0"]] or messages
    with pooled(pooler, DATABASE) as other:
        assert rows(other, LOCKS) == [[b"0"]]


def test_a_table_that_a_function_makes(pooler: Pooler) -> None:
    with pooled(pooler, DATABASE) as maker:
        assert not errors(maker.query("SELECT makes_a_table()"))
    with pooled(pooler, DATABASE) as other:
        assert rows(other, "SELECT to_regclass('pg_temp.kept')") == [[None]]


#: What changes how the next text is read, and a text in which a call stands only then.
READINGS = {
    "strings without escapes": (
        b"SET standard_conforming_strings = on",
        rb"SELECT '\', pg_advisory_lock(4711), ''",
    ),
    "strings with escapes": (
        b"SET standard_conforming_strings = off",
        rb"SELECT '\'', pg_advisory_lock(4711) --'",
    ),
    "characters with backslashes": (
        b"SET client_encoding = 'SJIS'",
        b"SELECT E'\x83\x5c', pg_advisory_lock(4711), ''",
    ),
}


@pytest.mark.parametrize("way", READINGS)
def test_texts_behind_what_changes_how_they_are_read(pooler: Pooler, way: str) -> None:
    """Two queries in one write: the second is looked at before the first is answered."""
    change, text = READINGS[way]
    with pooled(pooler, DATABASE) as maker:
        maker.query("SET standard_conforming_strings = " + ("off" if b"= on" in change else "on"))
        maker.send(message("Q", change + b"\0") + message("Q", text + b"\0"))
        assert not errors(maker.receive_until())
        assert not errors(maker.receive_until())
        assert rows(maker, LOCKS) == [[b"1"]]
    with pooled(pooler, DATABASE) as other:
        assert rows(other, LOCKS) == [[b"0"]]


@pytest.mark.parametrize("name", ["", "s"])
@pytest.mark.parametrize("type_name", ["checked", "pair"])
def test_types_of_parameters(pooler: Pooler, database: Postgres, type_name: str, name: str) -> None:
    """By their oids, which a driver has looked up before."""
    ((oid,),) = database.sql("SELECT oid::int FROM pg_type WHERE typname = %s", (type_name,), dbname=DATABASE)
    value = b"1" if type_name == "checked" else b"(1)"
    with pooled(pooler, DATABASE) as maker:
        maker.send(parse("SELECT $1", name, [oid]) + bind([value], name) + RUN)
        assert not errors(maker.receive_until())
    with pooled(pooler, DATABASE) as other:
        assert rows(other, LOCKS) == [[b"0"]]


CALL = message("F", b"\x00\x00\x06\x3e\x00\x00\x00\x00\x00\x00")  # random()


def test_a_function_call_behind_a_parse_begins_no_transaction(pooler: Pooler) -> None:
    with pooled(pooler, DATABASE) as other, pooled(pooler, DATABASE) as wire:
        other.query("DO $$ BEGIN NULL; END $$")
        wire.send(parse("SELECT 1", "s") + CALL)
        assert wire.receive_until()[-1].body == b"I"


def test_a_query_behind_an_execute_fails_nobody_else(pooler: Pooler) -> None:
    """PostgreSQL answers it, and fails with what comes next."""
    with pooled(pooler, DATABASE) as odd, pooled(pooler, DATABASE) as other:
        for _ in range(3):
            odd.send(parse("SELECT 42") + bind() + execute() + query("SELECT 'x'") + SYNC)
            odd.receive_until()
            odd.receive_until()
            assert not errors(other.query("SELECT 1"))


@pytest.mark.parametrize("name", ["setseed", "pg_backup_start", "dblink_connect"])
def test_a_function_with_a_name_of_ours_pins_nobody(pooler: Pooler, name: str) -> None:
    """A role that may make one could keep all others from their servers."""
    make = (
        f"CREATE SCHEMA mine; CREATE FUNCTION mine.{name}(int, int, int) RETURNS int LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_advisory_lock(1); RETURN 1; END'"
    )
    with pooler.wire().login(user="postgres", database=DATABASE) as owner:
        assert not errors(owner.query(make))
        try:
            pooler.learn_catalogs(DATABASE)
            with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
                for wire in (first, second, first):
                    assert rows(wire, "SELECT 1") == [[b"1"]]
                assert not pooler.show("pins", database=DATABASE, user="bouncer")
        finally:
            owner.query("DROP SCHEMA mine CASCADE")


def test_show_tells_why_everything_is_asked_for(pooler: Pooler) -> None:
    make = (
        "CREATE FUNCTION leaves(sorted, int) RETURNS bool LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_advisory_lock(1); RETURN true; END';"
        "CREATE OPERATOR = (LEFTARG = sorted, RIGHTARG = int, FUNCTION = leaves)"
    )
    with pooler.wire().login(user="postgres", database=DATABASE) as owner:

        def tells(why: str) -> bool:
            owner.query("SELECT 1")
            (row,) = pooler.show("catalogs", database=DATABASE)
            return bool(row["asked"] == why)

        wait_for(lambda: tells(""), 30, "that nothing is asked for")
        try:
            assert not errors(owner.query(make))
            wait_for(lambda: tells(UNNAMED), 30, "the reason")
        finally:
            owner.query("DROP FUNCTION leaves CASCADE")


#: The name of a setting that stands in bodies of functions only.
TENANT = f"tenant.{'x' * 55}"
SETS_TENANT = f"""
CREATE FUNCTION becomes(text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('{TENANT}', $1, false) $$;
CREATE FUNCTION is_now() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('{TENANT}', true) $$
"""


@pytest.mark.parametrize("shape", ["n{}.x", f"n{{}}.{'x' * 54}"], ids=["short", "long"])
def test_a_setting_beside_many_names(
    running_postgres: Postgres, start_pooler: StartPooler, shape: str
) -> None:
    """There is space for so many only: a setting whose name found none is nobody else's either."""

    def others(first: int) -> str:
        numbers = range(first, first + 600)
        return "; ".join(
            f"CREATE FUNCTION many{i}() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM"
            f" set_config('{shape.format(i)}', 'x', false); RETURN '{shape.format(i + 5000)}'; END $$"
            for i in numbers
        )

    name = f"many_names_{len(shape)}"
    running_postgres.sql(f"CREATE DATABASE {name}")
    for text in (others(1000), SETS_TENANT, others(2000)):
        running_postgres.sql(text, dbname=name)
    pooler = start_pooler(workers=1, databases={name: "pool_size=1"})
    pooler.learn_catalogs(name)
    with pooled(pooler, name) as maker, pooled(pooler, name) as other:
        for _ in range(3):
            assert rows(maker, "SELECT becomes('mine')") == [[b"mine"]]
            assert rows(other, "SELECT is_now()") in ([[b""]], [[None]])
    pooler.stop()
    running_postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_seed_by_function_call(pooler: Pooler, database: Postgres) -> None:
    """Its number says nothing of what it leaves to whoever waits for the server."""
    with database.connect(dbname=DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.25)")
        cursor.execute("SELECT random()")
        seeded = cursor.fetchall()[0][0]
    with pooled(pooler, DATABASE) as maker, pooled(pooler, DATABASE) as other:
        maker.send(function_call(SETSEED, b"0.25"))
        maker.expect("VZ")
        other.send(query("SELECT random()"))
        time.sleep(2)  # who is silent for so long gives up what others could not see
        maker.close()
        answer = other.receive_until("Z")
        assert [message.values for message in answer if message.type == "D"] != [[str(seeded).encode()]]
