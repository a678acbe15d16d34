"""The databases of the leak tests: functions, triggers, views and the like, each of which hides some state.

There are two. In the full one an operator, a cast, a domain and an event trigger do so, too: nearly every
statement may call them without a word that tells of it, so a pooler that knows of them asks after each. The
plain one has none of these: there it is put to the test what a pooler makes of the texts.

Every hiding place has a custom setting of its own name, `guc_name(place)`, so that nothing learned from one
helps with another.
"""

from __future__ import annotations

from pooler.dev.postgres import SUPERUSER
from tests.state.objects import SLOT
from tests.state.positions import FUNCTIONS
from tests.support.postgres import Postgres

FULL = "leaks"
PLAIN = "leaks_plain"
DATABASES = (FULL, PLAIN)

#: By the superuser.
ROLES = """
CREATE ROLE leaks_role;
GRANT leaks_role TO bouncer;
"""

#: By the superuser, in the full database.
EVENTS = """
CREATE FUNCTION by_event() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config('leaks.event_trigger', 'x', false); END $$;
CREATE EVENT TRIGGER e ON ddl_command_start WHEN TAG IN ('CREATE COLLATION') EXECUTE FUNCTION by_event();
"""

#: By the owner of the database.
SCHEMA = """
CREATE SCHEMA hidden;
CREATE TABLE written (n int);
CREATE TABLE opened (n int);
CREATE TABLE counted (id serial, other int GENERATED ALWAYS AS IDENTITY, n int);
CREATE SEQUENCE numbers;
SELECT setseed(0.25);
CREATE TABLE seeded AS SELECT random() AS x FROM generate_series(1, 200);
GRANT ALL ON SCHEMA public TO leaks_role;

CREATE FUNCTION keep(name text, value text) RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.' || name, value, false) $$;
CREATE FUNCTION in_sql() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.sql_function', 'secret', false) $$;
CREATE FUNCTION in_plpgsql() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config('leaks.plpgsql_function', 'secret', false); END $$;
CREATE FUNCTION nested1(text) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RETURN keep('nested_functions', $1); END $$;
CREATE FUNCTION nested2(text) RETURNS text LANGUAGE sql AS $$ SELECT nested1($1) $$;
CREATE FUNCTION nested3(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN nested2($1); END $$;
CREATE FUNCTION in_execute() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN EXECUTE format('SET %I.%I = %L', 'leaks', 'execute_in_a_function', 'secret'); END $$;
CREATE FUNCTION of_work_mem() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '5678kB'; END $$;
CREATE FUNCTION of_role() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE leaks_role; END $$;
CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT keep('security_definer', 'x') $$;
CREATE FUNCTION said_immutable() RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN keep('function_said_to_be_immutable', 'x'); END $$;
CREATE FUNCTION of_set(n int) RETURNS SETOF int LANGUAGE plpgsql
    AS $$ BEGIN PERFORM keep('set_returning_function', 'x');
          RETURN QUERY SELECT generate_series(1, n); END $$;
CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION overloaded(text) RETURNS text LANGUAGE sql AS $$ SELECT keep('overloaded_function', 'x') $$;

-- Clean today, dirty tomorrow.
CREATE FUNCTION by_argument(bool) RETURNS text LANGUAGE sql
    AS $$ SELECT CASE WHEN $1 THEN keep('function_clean_at_first', 'x') END $$;
CREATE TABLE switch (is_on bool);
CREATE FUNCTION by_data() RETURNS text LANGUAGE sql
    AS $$ SELECT keep('function_by_data', 'x') FROM switch WHERE is_on LIMIT 1 $$;
CREATE FUNCTION replaced() RETURNS text LANGUAGE sql AS $$ SELECT 'clean' $$;
CREATE FUNCTION by_path() RETURNS text LANGUAGE sql AS $$ SELECT 'clean' $$;
CREATE FUNCTION hidden.by_path() RETURNS text LANGUAGE sql
    AS $$ SELECT public.keep('function_by_search_path', 'x') $$;
CREATE TABLE later (n int);

CREATE TABLE with_trigger (n int);
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM keep(TG_ARGV[0], 'x'); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION by_trigger('trigger');
CREATE TRIGGER d AFTER DELETE ON with_trigger
    FOR EACH STATEMENT EXECUTE FUNCTION by_trigger('statement_trigger');
CREATE TABLE with_deferred (n int);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON with_deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION by_trigger('deferred_trigger');
CREATE TABLE parent (n int PRIMARY KEY);
CREATE TABLE child (n int REFERENCES parent ON DELETE CASCADE);
CREATE TRIGGER t BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION by_trigger('cascade');
CREATE TABLE with_copy (n int);
CREATE TRIGGER t BEFORE INSERT ON with_copy FOR EACH ROW EXECUTE FUNCTION by_trigger('copy_with_trigger');
CREATE VIEW with_function AS SELECT keep('view', 'x');
CREATE VIEW view_of_view AS SELECT w.* FROM (SELECT keep('view_of_view', 'x')) AS w;
CREATE VIEW with_instead AS SELECT 1 AS n;
CREATE TRIGGER t INSTEAD OF INSERT ON with_instead FOR EACH ROW EXECUTE FUNCTION by_trigger('instead_of');
CREATE TABLE with_default (n int, t text DEFAULT keep('column_default', 'x'));
CREATE TABLE with_check (n int CHECK (keep('check_constraint', n::text) <> ''));
CREATE TABLE with_rule (n int);
CREATE RULE r AS ON INSERT TO with_rule DO ALSO SELECT keep('rule', NEW.n::text);
CREATE TABLE with_policy (n int);
INSERT INTO with_policy VALUES (1);
ALTER TABLE with_policy ENABLE ROW LEVEL SECURITY;
ALTER TABLE with_policy FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON with_policy USING (keep('row_policy', 'x') = 'x');
CREATE FUNCTION for_aggregate(text, int) RETURNS text LANGUAGE sql AS $$ SELECT keep('aggregate', 'x') $$;
CREATE AGGREGATE keeping(int) (SFUNC = for_aggregate, STYPE = text);
CREATE TYPE boxed AS (n int);

CREATE PROCEDURE in_procedure(name text) LANGUAGE plpgsql AS $$ BEGIN PERFORM keep(name, 'x'); END $$;
CREATE PROCEDURE commits_and_fails(name text) LANGUAGE plpgsql
    AS $$ BEGIN PERFORM keep(name, 'x'); COMMIT; RAISE EXCEPTION 'no'; END $$;

CREATE FUNCTION locks(bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock($1); END $$;
CREATE VIEW locking AS SELECT pg_try_advisory_lock(78) AS got;
CREATE TABLE with_lock (n int);
CREATE FUNCTION locks_row() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_advisory_lock(NEW.n); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON with_lock FOR EACH ROW EXECUTE FUNCTION locks_row();
CREATE FUNCTION runs(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$;
CREATE FUNCTION unspells(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE reverse($1); END $$;
CREATE FUNCTION temps() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN CREATE TEMP TABLE left_behind (n int); END $$;
CREATE FUNCTION listens() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'LISTEN leaks'; END $$;
CREATE FUNCTION seeds() RETURNS void LANGUAGE sql AS $$ SELECT setseed(0.25) $$;
CREATE FUNCTION takes() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('numbers') $$;
"""

#: By the owner of the database: for the kinds of devious.py.
MORE = f"""
CREATE FUNCTION schlüssel() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.function_with_an_umlaut_in_latin_1', 'x', false) $$;
CREATE FUNCTION {("long_name_" * 7)[:63]}() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.function_with_a_long_name', 'x', false) $$;
CREATE FUNCTION "Key for ""leaks""\"() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.function_with_a_quoted_name', 'x', false) $$;
CREATE FUNCTION in_escapes() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.function_in_escapes', 'x', false) $$;
CREATE FUNCTION as_attribute(opened) RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('leaks.function_without_parentheses', 'x', false) $$;
CREATE FUNCTION at_bind() RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN set_config('leaks.function_at_bind', 'x', false); END $$;
CREATE FUNCTION comments() RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN -- a comment
    SET leaks.comment_in_a_function = 'x'; END $$;
CREATE TABLE written_to (n int);
CREATE TRIGGER t BEFORE INSERT ON written_to FOR EACH ROW EXECUTE FUNCTION by_trigger('function_that_writes');
CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS $$ INSERT INTO written_to VALUES (1) $$;
CREATE VIEW read_from AS SELECT set_config('leaks.function_that_reads', 'x', false);
CREATE FUNCTION reads() RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RETURN (SELECT r FROM read_from AS r); END $$;
CREATE TABLE with_writing_trigger (n int);
CREATE TABLE written_by_trigger (n int);
CREATE TRIGGER t BEFORE INSERT ON written_by_trigger
    FOR EACH ROW EXECUTE FUNCTION by_trigger('trigger_that_writes');
CREATE FUNCTION writing() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO written_by_trigger VALUES (NEW.n); RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON with_writing_trigger FOR EACH ROW EXECUTE FUNCTION writing();
CREATE FUNCTION for_index(int) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN set_config('leaks.index', 'x', false); END $$;
CREATE TABLE with_index (n int);
CREATE INDEX ON with_index (for_index(n));
CREATE FUNCTION for_generated(int) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN set_config('leaks.generated_column', 'x', false); END $$;
CREATE TABLE with_generated (n int, g text GENERATED ALWAYS AS (for_generated(n)) STORED);
CREATE TABLE partitioned (n int) PARTITION BY LIST (n);
CREATE TABLE partition PARTITION OF partitioned DEFAULT;
CREATE TRIGGER t AFTER INSERT ON partitioned FOR EACH ROW EXECUTE FUNCTION by_trigger('partition');
CREATE VIEW with_privilege AS SELECT set_config('leaks.privilege_and_view', 'x', false);
GRANT SELECT ON with_privilege TO leaks_role;
CREATE TABLE named AS SELECT 'leaks.names_in_a_table' AS name, 'secret' AS value;
CREATE TABLE named_too AS SELECT 'leaks.names_of_two' AS name;
CREATE TABLE merged (n int);
CREATE TRIGGER t BEFORE INSERT ON merged FOR EACH ROW EXECUTE FUNCTION by_trigger('merge');
CREATE TABLE truncated (n int);
CREATE TRIGGER t BEFORE TRUNCATE ON truncated FOR EACH STATEMENT EXECUTE FUNCTION by_trigger('truncate');
CREATE FUNCTION for_exclusion(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM set_config('leaks.exclusion_constraint', 'x', false); RETURN $1; END $$;
CREATE TABLE with_exclusion (n int, EXCLUDE USING btree ((for_exclusion(n)) WITH =));
CREATE FUNCTION difference(float8, float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM set_config('leaks.range_type', 'x', false); RETURN $1 - $2; END $$;
CREATE TYPE leaks_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = difference);
CREATE TABLE ranges AS SELECT leaks_range(n, n + 1) AS r FROM generate_series(1, 500) AS n;
CREATE TABLE with_range (r leaks_range);
CREATE INDEX ON with_range USING gist (r);
CREATE FUNCTION for_locking_index(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM pg_advisory_lock(98); RETURN $1; END $$;
CREATE TABLE with_locking_index (n int);
CREATE INDEX ON with_locking_index (for_locking_index(n));
INSERT INTO with_locking_index VALUES (1), (2);
CREATE TABLE moved (n int);
CREATE TRIGGER t BEFORE INSERT ON moved FOR EACH ROW EXECUTE FUNCTION by_trigger('table_renamed');
"""


#: By the owner of the full database: what is called without a word that tells of it.
WORDLESS = """
CREATE DOMAIN checked AS int CHECK (keep('domain', VALUE::text) <> '');
CREATE FUNCTION for_operator(int, int) RETURNS text LANGUAGE sql AS $$ SELECT keep('operator', 'x') $$;
CREATE OPERATOR <=@=> (LEFTARG = int, RIGHTARG = int, FUNCTION = for_operator);
CREATE FUNCTION for_cast(boxed) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN PERFORM keep('cast', 'x'); RETURN 1; END $$;
CREATE CAST (boxed AS int) WITH FUNCTION for_cast(boxed);
"""

#: By the superuser, in each: an operator class is nobody else's to make.
CLASSES = """
CREATE FUNCTION compared(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM set_config('leaks.operator_class', 'x', false); RETURN btint4cmp($1, $2); END $$;
CREATE OPERATOR CLASS comparing FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compared(int, int);
CREATE TABLE with_class (n int);
INSERT INTO with_class VALUES (1);
CREATE INDEX ON with_class (n comparing);
GRANT ALL ON with_class TO bouncer;
"""


def create(pg: Postgres) -> None:
    """Makes the databases, their role and what is in them."""
    pg.sql(ROLES)
    for database in DATABASES:
        pg.sql(f"CREATE DATABASE {database} OWNER bouncer")
        pg.sql(SCHEMA + MORE + FUNCTIONS, dbname=database, user="bouncer")
        pg.sql(CLASSES, dbname=database)
    pg.sql(f"SELECT pg_create_physical_replication_slot('{SLOT}', true)")
    pg.sql(EVENTS, dbname=FULL)
    pg.sql(WORDLESS, dbname=FULL, user="bouncer")
    for database in DATABASES:  # behind an owner strict may close all servers, instead of resetting them
        pg.sql(f"ALTER DATABASE {database} OWNER TO {SUPERUSER}")
        pg.sql("GRANT ALL ON SCHEMA public TO bouncer", dbname=database)


def drop(pg: Postgres) -> None:
    """Removes all of it."""
    for database in DATABASES:
        pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        pg.sql(f"DROP DATABASE {database} WITH (FORCE)", user=SUPERUSER)
    pg.sql(f"SELECT pg_drop_replication_slot('{SLOT}')")
    pg.sql("DROP ROLE leaks_role")
