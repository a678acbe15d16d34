"""What is read in the catalogs of a database: it is knowledge, and nothing that is there runs for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg2
import pytest

from pooler.core._core import CATALOG_CLASSES, CatalogGraph
from pooler.worker.catalog_queries import CATALOGS, SUMS
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler

TRAP = """
CREATE SCHEMA IF NOT EXISTS trap;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE TABLE IF NOT EXISTS trap.loot (who text);
GRANT INSERT ON trap.loot TO PUBLIC;
TRUNCATE trap.loot;
CREATE OR REPLACE FUNCTION trap.dblink_get_connections() RETURNS text[] LANGUAGE plpgsql
 AS $$ BEGIN INSERT INTO trap.loot VALUES (current_user); RETURN NULL; END $$
"""


@pytest.fixture
def pooler(start_pooler: StartPooler) -> Pooler:
    return start_pooler(databases={"p0": "pool_size=2"})


@pytest.fixture
def trap(running_postgres: Postgres) -> Iterator[Postgres]:
    """A function that calls itself as one of dblink does, before a pooler looks at the catalogs."""
    running_postgres.sql(TRAP, dbname="p0")
    yield running_postgres
    running_postgres.sql("DROP SCHEMA trap CASCADE", dbname="p0")


def test_nothing_outside_pg_catalog_is_called(trap: Postgres, pooler: Pooler) -> None:
    with pooler.wire().login() as wire:
        for _ in range(3):  # whatever is read of the catalogs comes behind one of them
            wire.query("SELECT 1")
            wire.query("DO $$ BEGIN NULL; END $$")
            wire.query("SELECT trap.made_nowhere()")
    assert trap.sql("SELECT who FROM trap.loot", dbname="p0") == []


OTHERS = "SELECT coalesce(current_setting('catalogs.mark', true), '')"


def asks(pooler: Pooler) -> int:
    return sum(int(row["session_asks"]) for row in pooler.show("pin_totals"))


def test_known_soon_and_then_not_asked(pooler: Pooler) -> None:
    pooler.learn_catalogs()
    before = asks(pooler)
    with pooler.wire().login() as wire:
        for _ in range(20):
            wire.query("SELECT count(*) FROM pg_class")
    assert asks(pooler) == before


def test_all_names_are_known(running_postgres: Postgres, pooler: Pooler) -> None:
    """However many pieces they come in."""
    running_postgres.sql(
        "CREATE SCHEMA many; DO $$ BEGIN FOR n IN 1..5000 LOOP EXECUTE"
        " format('CREATE FUNCTION many.f%s() RETURNS int LANGUAGE sql AS $f$ SELECT %s $f$', n, n);"
        " END LOOP; END $$",
        dbname="p0",
    )
    try:
        pooler.learn_catalogs()
        (row,) = pooler.show("catalogs", database="p0")
        names = running_postgres.sql(
            "SELECT (SELECT count(DISTINCT proname) FROM pg_proc),"
            " (SELECT count(DISTINCT relname) FROM pg_class WHERE oid < 16384 AND relkind IN ('r', 'v'))",
            dbname="p0",
        )
        assert row["functions"] == names[0][0]
        assert row["relations"] >= names[0][1]
    finally:
        running_postgres.sql("DROP SCHEMA many CASCADE", dbname="p0")


def test_first_statement_of_all_is_asked_for(running_postgres: Postgres, pooler: Pooler) -> None:
    """Nothing is known when it comes: its session is looked at all the same."""
    with pooler.wire().login() as wire, pooler.wire().login() as other:
        wire.query(
            "SELECT set_config('catalogs.' || 'mark', 'left', false), current_setting('catalogs.mark')"
        )
        for _ in range(4):
            assert other.rows(OTHERS) in ([[b""]], [[None]])


FAR = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER myself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname 'p0');
CREATE USER MAPPING FOR bouncer SERVER myself OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE far (oid oid) SERVER myself OPTIONS (schema_name 'pg_catalog', table_name 'pg_class');
GRANT SELECT ON far TO bouncer
"""


@pytest.mark.parametrize(
    ("trusted", "text"),
    [
        ("", "SELECT count(*) FROM far"),
        ("", "DO $$ BEGIN EXECUTE 'TABLE f' || 'ar'; END $$"),
        ("postgres_fdw", "SELECT count(*) FROM far"),
    ],
)
def test_connections_of_postgres_fdw(
    running_postgres: Postgres, start_pooler: StartPooler, trusted: str, text: str
) -> None:
    """They are one client's, unless the site trusts."""
    place = FAR.format(host=running_postgres.socket_dir, port=running_postgres.port)
    try:
        running_postgres.sql(place, dbname="p0")
    except psycopg2.errors.Error:
        pytest.skip("this PostgreSQL has no contrib modules")
    try:
        size = 1 if trusted else 3  # the same server for both, or one of its own
        pooler = start_pooler(databases={"p0": f"pool_size={size}"}, session_trusted_extensions=trusted)
        pooler.learn_catalogs()
        with pooler.wire().login() as wire:
            wire.query(text)
            wire.rows("SELECT 1")
            pinned = [row["reason"].split(", ")[-1] for row in pooler.show("pins")]
            assert pinned in ([["load"], ["setting"]] if not trusted else [[]])
    finally:
        running_postgres.sql("DROP EXTENSION postgres_fdw CASCADE", dbname="p0")


def test_waits_for_nothing(running_postgres: Postgres, pooler: Pooler) -> None:
    """The catalogs are locked for a while: nothing of them can be read, and clients do not notice."""
    with running_postgres.connect(dbname="p0") as holder:
        holder.autocommit = False
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE")
            with pooler.wire(timeout_s=5).login() as wire:
                for _ in range(10):
                    wire.query("SELECT 1")
                assert not pooler.knows_catalogs()
        holder.rollback()


@pytest.mark.parametrize("session_state", ["auto", "error"])
def test_kept_until_they_are_read(
    start_pooler: StartPooler, running_postgres: Postgres, session_state: str
) -> None:
    """What a view may have set, nobody knows yet; that is no reason to refuse its client.
    They are read on its server: there is no other. The database is new: where something sets settings of
    computed names, the pin stays.
    """
    running_postgres.sql("CREATE DATABASE unread")
    try:
        pooler = start_pooler(databases={"unread": "pool_size=1"}, session_state=session_state)
        with pooler.wire().login(database="unread") as wire:
            wire.rows("SELECT 1 FROM pg_stat_archiver")
            wait_for(lambda: pooler.show("pin_totals", database="unread")[0]["catalogs_unread"], 30, "a pin")
            wait_for(lambda: not pooler.show("pins"), 30, "the end of the pin")
            assert pooler.knows_catalogs("unread")
            assert wire.rows("SELECT 1") == [[b"1"]]
        pooler.stop()
    finally:
        running_postgres.sql("DROP DATABASE unread WITH (FORCE)")


#: How a harmful function is reached: what makes it, and what runs it.
WAYS = {
    "body": ("CREATE FUNCTION way() RETURNS void LANGUAGE sql AS 'SELECT mark()'", "function", "way"),
    "quoted": ('CREATE FUNCTION way() RETURNS void LANGUAGE sql AS $$ SELECT "mark"() $$', "function", "way"),
    "escaped name": (
        r"""CREATE FUNCTION way() RETURNS void LANGUAGE sql AS $$ SELECT U&"m\0061rk"() $$""",
        "function",
        "way",
    ),
    "dynamic": (
        "CREATE FUNCTION way() RETURNS void LANGUAGE plpgsql"
        " AS $$ BEGIN EXECUTE 'SELECT ma' || 'rk()'; END $$",
        "function",
        "way",
    ),
    "atomic": ("CREATE FUNCTION way() RETURNS void BEGIN ATOMIC SELECT mark(); END", "function", "way"),
    "argument": (
        "CREATE FUNCTION way(a int DEFAULT length(mark())) RETURNS void LANGUAGE sql AS 'SELECT'",
        "function",
        "way",
    ),
    "view": ("CREATE VIEW way AS SELECT mark()", "relation", "way"),
    "default": ("CREATE TABLE way (a int, b text DEFAULT mark())", "relation", "way"),
    "check": ("CREATE TABLE way (a int CHECK (length(mark()) > 0))", "relation", "way"),
    "domain": (
        "CREATE DOMAIN dom AS int CHECK (length(mark()) > 0); CREATE TABLE way (a dom)",
        "relation",
        "way",
    ),
    "index": ("CREATE TABLE way (a int); CREATE INDEX ON way (still(a))", "relation", "way"),
    "predicate": (
        "CREATE TABLE way (a int); CREATE INDEX ON way (a) WHERE still(a) > 0",
        "relation",
        "way",
    ),
    "statistics": (
        "CREATE TABLE way (a int); CREATE STATISTICS way_s ON (still(a)), a FROM way",
        "relation",
        "way",
    ),
    "trigger condition": (
        "CREATE TABLE way (a int); CREATE FUNCTION calm() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END';"
        " CREATE TRIGGER t BEFORE INSERT ON way FOR EACH ROW WHEN (still(new.a) > 0) EXECUTE FUNCTION calm()",
        "relation",
        "way",
    ),
    "partition key": (
        "CREATE TABLE way (a int) PARTITION BY RANGE (still(a));"
        " CREATE TABLE way1 PARTITION OF way FOR VALUES FROM (0) TO (9)",
        "relation",
        "way",
    ),
    "operator": (
        "CREATE OPERATOR ### (FUNCTION = still, RIGHTARG = int)",
        "operator",
        "###",
    ),
    "cast": (
        "CREATE TYPE pair AS (a int); CREATE FUNCTION way(pair) RETURNS int LANGUAGE sql"
        " AS 'SELECT length(mark())';"
        " CREATE CAST (pair AS int) WITH FUNCTION way(pair)",
        "type",
        "int4",
    ),
}


@pytest.fixture
def marker(running_postgres: Postgres) -> Iterator[Postgres]:
    """A function that leaves something in its session; `still` says that it does not."""
    mark = "set_config('catalogs.mark', 'left', false)"
    running_postgres.sql(
        "DROP SCHEMA IF EXISTS marked CASCADE; CREATE SCHEMA marked; SET search_path = marked;"
        f" CREATE FUNCTION mark() RETURNS text LANGUAGE sql AS $$ SELECT {mark} $$;"
        " CREATE FUNCTION still(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
        " AS $$ BEGIN PERFORM marked.mark(); RETURN 1; END $$;"
        " GRANT ALL ON SCHEMA marked TO PUBLIC; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA marked TO PUBLIC"
    )
    yield running_postgres
    running_postgres.sql("DROP SCHEMA marked CASCADE")


def effects_in(marker: Postgres, kind: str, name: str) -> set[str]:
    """What is known of a name, by all that is asked of the catalogs."""
    graph = CatalogGraph()
    with marker.connect() as connection, connection.cursor() as cursor:
        for number in range(CATALOG_CLASSES):
            key, select, _ = CATALOGS[len(SUMS) + 3 * number : len(SUMS) + 3 * number + 3]
            where = f"{key} OPERATOR(pg_catalog.>) '0'::pg_catalog.oid"
            cursor.execute(select.replace("$W", where).replace("$T", f"ORDER BY {key}"))
            for row in cursor.fetchall():
                graph.take(number, [None if field is None else field.encode() for field in row])
    found: set[str] = graph.effects(kind, name)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_a_function(marker: Postgres, way: str) -> None:
    make, kind, name = WAYS[way]
    marker.sql(f"SET search_path = marked; {make}")
    assert effects_in(marker, kind, name) & {"settings", "unknown"}


@pytest.mark.parametrize("name", ["calm_table", "calm_view", "calm_function", "pg_class", "count", "int4"])
def test_harmless(marker: Postgres, name: str) -> None:
    """Beside something harmful."""
    marker.sql(
        "SET search_path = marked;"
        " CREATE TABLE calm_table (id serial PRIMARY KEY, a int REFERENCES calm_table,"
        " b timestamptz DEFAULT now());"
        " CREATE VIEW calm_view AS SELECT id, upper('x') FROM calm_table;"
        " CREATE FUNCTION calm_function() RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int;"
        " BEGIN SELECT count(*) INTO n FROM marked.calm_view; RETURN n + 1; END $$"
    )
    kinds = {"pg_class": "relation", "calm_table": "relation", "calm_view": "relation", "int4": "type"}
    assert effects_in(marker, kinds.get(name, "function"), name) == set()


@pytest.mark.parametrize(
    ("extension", "kind", "name", "effects"),
    [
        ("pg_trgm", "function", "similarity", set()),
        ("citext", "function", "citextin", set()),
        ("citext", "type", "citext", set()),
        ("postgres_fdw", "relation", "far", {"loaded"}),
    ],
)
def test_extensions_in_c(marker: Postgres, extension: str, kind: str, name: str, effects: set[str]) -> None:
    try:
        marker.sql(f"CREATE EXTENSION {extension} SCHEMA marked")
    except psycopg2.errors.Error:
        pytest.skip("this PostgreSQL has no contrib modules")
    if extension == "postgres_fdw":
        marker.sql(
            "CREATE SERVER far_away FOREIGN DATA WRAPPER postgres_fdw;"
            " CREATE FOREIGN TABLE marked.far (a int) SERVER far_away"
        )
    assert effects_in(marker, kind, name) == effects


@pytest.mark.parametrize("size", [59_000, 61_000, 2_000_000])
def test_long_bodies_are_not_read(marker: Postgres, size: int) -> None:
    """They are asked for whenever they are called."""
    body = f"/* {'x' * size} */ SELECT 1"
    marker.sql(f"CREATE FUNCTION marked.lengthy() RETURNS int LANGUAGE sql AS $$ {body} $$")
    assert effects_in(marker, "function", "lengthy") == (set() if size < 60_000 else {"unknown"})


def test_names_that_are_not_there_are_unknown(marker: Postgres) -> None:
    assert "unknown" in effects_in(marker, "function", "made_nowhere")


#: Each class of objects, by its number, that is read anew where its sum has changed: what changes one of it.
SUMMED = {
    4: "CREATE OR REPLACE FUNCTION mark() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    5: "CREATE TABLE way (a int)",
    6: "CREATE TYPE way AS (a int)",
    7: "CREATE OPERATOR ### (FUNCTION = still, RIGHTARG = int)",
    8: "CREATE TYPE pair AS (a int); CREATE FUNCTION way(pair) RETURNS int LANGUAGE sql AS 'SELECT 1';"
    " CREATE CAST (pair AS int) WITH FUNCTION way(pair)",
    9: "CREATE VIEW way AS SELECT 1; CREATE OR REPLACE VIEW way AS SELECT 2",
    10: "CREATE TABLE way (a int DEFAULT 1); ALTER TABLE way ALTER a SET DEFAULT 2",
    11: "CREATE TABLE way (a int); CREATE POLICY p ON way; ALTER POLICY p ON way USING (true)",
    12: "CREATE TABLE way (a int CHECK (a > 0))",
    13: "CREATE TABLE way (a int); CREATE INDEX ON way ((a + 1))",
    14: "CREATE OPERATOR CLASS way FOR TYPE int USING btree AS FUNCTION 1 btint4cmp(int, int)",
    15: "CREATE TABLE way (a int); CREATE STATISTICS way_s ON (a + 1), a FROM way",
    16: "CREATE TABLE way (a int); CREATE TRIGGER t AFTER INSERT ON way EXECUTE FUNCTION calm()",
    17: "CREATE TABLE way (a int) PARTITION BY LIST (a)",
    18: "CREATE EVENT TRIGGER marked_events ON ddl_command_end EXECUTE FUNCTION calm_event()",
    19: "CREATE TABLE way (a int); CREATE TABLE below () INHERITS (way)",
}


def sums_in(marker: Postgres) -> dict[int, str]:
    """What a look asks first, by number of the class."""
    rows = [row for text in SUMS for row in marker.sql(text.replace("%", "%%"))]
    sums: dict[int, str] = {}
    for kind, number, value in rows:  # a class may be of more than one catalog
        if kind == "c":
            sums[int(number)] = sums.get(int(number), "") + value
    return sums


@pytest.mark.parametrize("number", SUMMED)
def test_sums_tell_of_a_change(marker: Postgres, number: int) -> None:
    assert set(SUMMED) == set(sums_in(marker))
    marker.sql(
        "SET search_path = marked; CREATE FUNCTION calm() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'; CREATE FUNCTION calm_event() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN END'"
    )
    try:
        steps = SUMMED[number].split("; ")
        marker.sql("; ".join(["SET search_path = marked", *steps[:-1]]))
        before = sums_in(marker)
        marker.sql(f"SET search_path = marked; {steps[-1]}")
        assert sums_in(marker)[number] != before[number]
    finally:
        marker.sql("DROP EVENT TRIGGER IF EXISTS marked_events")


#: What is calm when pooler looks first: what makes it, what somebody does to it past pooler, what runs it.
#: `{}` is the name of the way, as in the names of the settings and functions that only it has.
PAST = {
    "function": (
        "CREATE FUNCTION run_{}() RETURNS text LANGUAGE sql AS $$ SELECT 'calm' $$",
        "CREATE OR REPLACE FUNCTION run_{}() RETURNS text LANGUAGE sql"
        " AS $$ SELECT set_config('past.{}', 'left', false) $$",
        "SELECT past.run_{}()",
    ),
    "view": (
        "CREATE VIEW run_{} AS SELECT 'calm'::text AS t",
        "CREATE OR REPLACE VIEW run_{} AS SELECT mark_{}() AS t",
        "TABLE past.run_{}",
    ),
    "default": (
        "CREATE TABLE run_{} (a int, b text)",
        "ALTER TABLE run_{} ALTER b SET DEFAULT mark_{}()",
        "INSERT INTO past.run_{} VALUES (1)",
    ),
    "check": (
        "CREATE TABLE run_{} (a int)",
        "ALTER TABLE run_{} ADD CHECK (mark_{}() <> '')",
        "INSERT INTO past.run_{} VALUES (1)",
    ),
    "trigger": (
        "CREATE TABLE run_{} (a int)",
        "CREATE TRIGGER t BEFORE INSERT ON run_{} FOR EACH ROW EXECUTE FUNCTION fired_{}()",
        "INSERT INTO past.run_{} VALUES (1)",
    ),
    "rule": (
        "CREATE TABLE run_{} (a int)",
        "CREATE RULE r AS ON INSERT TO run_{} DO ALSO SELECT mark_{}()",
        "INSERT INTO past.run_{} VALUES (1)",
    ),
    "policy": (
        "CREATE TABLE run_{} (a int); INSERT INTO run_{} VALUES (1);"
        " ALTER TABLE run_{} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY p ON run_{} USING (mark_{}() = 'left')",
        "SELECT a FROM past.run_{}",
    ),
    "index": (
        "CREATE TABLE run_{} (a int)",
        "CREATE INDEX ON run_{} (still_{}(a))",
        "INSERT INTO past.run_{} VALUES (1)",
    ),
}

#: What a way may call: functions that leave something, told of by nothing that is calm.
MARKS = """
CREATE FUNCTION mark_{}() RETURNS text LANGUAGE sql AS $$ SELECT set_config('past.{}', 'left', false) $$;
CREATE FUNCTION still_{}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM past.mark_{}(); RETURN 1; END $$;
CREATE FUNCTION fired_{}() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM past.mark_{}(); RETURN NEW; END $$;
"""


@pytest.fixture
def past(running_postgres: Postgres) -> Iterator[Postgres]:
    """All of it, calm."""
    running_postgres.sql("CREATE SCHEMA past", dbname="p0", user="bouncer")
    for way, (make, _, _) in PAST.items():
        text = f"SET search_path = past; {MARKS} {make}".replace("{}", way)
        running_postgres.sql(text, dbname="p0", user="bouncer")
    yield running_postgres
    running_postgres.sql("DROP SCHEMA past CASCADE", dbname="p0", user="bouncer")


def test_changes_past_pooler_are_noticed(past: Postgres, start_pooler: StartPooler) -> None:
    """By one look for all of them, which goes by count and sum of xmin of each catalog."""
    pooler = start_pooler(workers=1, databases={"p0": "pool_size=1"})
    pooler.learn_catalogs()
    with pooler.wire().login() as wire, pooler.wire().login() as other:
        before = asks(pooler)
        for way, (_, _, run) in PAST.items():
            wire.query(run.replace("{}", way))
        assert asks(pooler) == before, "something calm is asked for: the rest says nothing"
        for way, (_, change, _) in PAST.items():
            past.sql(f"SET search_path = past; {change}".replace("{}", way), dbname="p0", user="bouncer")

        def is_seen() -> bool:
            other.query("SELECT past.run_function()")  # where nothing runs nobody looks
            return asks(pooler) > before

        wait_for(is_seen, 10, "a look behind the change")
        other.query("RESET ALL")
        left = {}
        for way, (_, _, run) in PAST.items():
            setting = f"SELECT nullif(current_setting('past.{way}', true), '')"
            wire.query(run.replace("{}", way))
            left[way] = (other.rows(setting), wire.rows(setting))  # who says the name has it looked after
        assert left == dict.fromkeys(PAST, ([[None]], [[b"left"]]))
        wire.close()


#: A database where every plan is compiled, if PostgreSQL can, and each statement and compilation is logged.
COMPILING = {"jit": "on", "jit_above_cost": "0", "log_min_messages": "debug1", "log_statement": "all"}


def compiled(log: str) -> list[str]:
    """The statements whose plans were compiled."""
    running: dict[str, str] = {}
    found = []
    for pid, statement in re.findall(r"\[(\d+)\] \S+ (?:LOG:  statement: (.*)|DEBUG:  time to inline)", log):
        if statement:
            running[pid] = statement
        else:
            found.append(running.get(pid, ""))
    return found


def test_no_plan_of_a_look_is_compiled(running_postgres: Postgres, start_pooler: StartPooler) -> None:
    """To compile one takes longer than all of a look; scripts/debian has a PostgreSQL that can."""
    look = "READ ONLY,NOT DEFERRABLE"
    for name, value in COMPILING.items():
        running_postgres.sql(f"ALTER DATABASE p0 SET {name} = '{value}'")
    try:
        pooler = start_pooler(databases={"p0": "pool_size=2"})
        running_postgres.new_log()
        pooler.learn_catalogs()
        pooler.sql("SELECT count(*) FROM pg_class")
        log = running_postgres.new_log()
        assert look in log
        assert not [statement for statement in compiled(log) if look in statement]
        ((can_compile,),) = running_postgres.sql("SELECT pg_jit_available()")
        assert can_compile == ("SELECT count(*) FROM pg_class" in compiled(log))
    finally:
        for name in COMPILING:
            running_postgres.sql(f"ALTER DATABASE p0 RESET {name}")
