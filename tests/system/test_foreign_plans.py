"""Plans that a server has made for one client are not for others under whose settings they would differ."""

from __future__ import annotations

import pytest

from tests.support.exchange import Step, pooled
from tests.support.others import run, types
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, Wire, bind, execute, parse

SETUP = """
CREATE TABLE of_tenants (tenant text, v text);
INSERT INTO of_tenants VALUES ('a', 'of a'), ('b', 'of b');
CREATE TABLE noons (at timestamptz);
CREATE FUNCTION tenant() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT current_setting('app.tenant') $$;
CREATE FUNCTION tenant_p() RETURNS text LANGUAGE plpgsql IMMUTABLE
 AS $$ BEGIN RETURN "current_setting"('app.tenant'); END $$;
CREATE FUNCTION tenant_atomic() RETURNS text IMMUTABLE RETURN current_setting('app.tenant', true);
CREATE FUNCTION tenant_of_view() RETURNS text LANGUAGE plpgsql IMMUTABLE
 AS $$ BEGIN RETURN (SELECT t FROM of_session); END $$;
CREATE VIEW of_session AS SELECT current_setting('app.tenant') AS t;
CREATE FUNCTION mine() RETURNS text LANGUAGE plpgsql
 AS $$ BEGIN RETURN (SELECT v FROM of_tenants WHERE tenant = tenant_p()); END $$;
CREATE FUNCTION mine_by_a_text() RETURNS text LANGUAGE plpgsql
 AS $$ DECLARE r text; BEGIN EXECUTE 'SELECT mi' || 'ne()' INTO r; RETURN r; END $$;
CREATE VIEW seen AS SELECT v FROM of_tenants WHERE tenant = tenant_p();
CREATE FUNCTION noon() RETURNS float8 LANGUAGE plpgsql
 AS $$ BEGIN RETURN extract(epoch FROM '2020-06-01 12:00'::timestamptz); END $$;
CREATE FUNCTION first_of_february() RETURNS text LANGUAGE plpgsql
 AS $$ BEGIN RETURN to_char('01/02/2020'::date, 'YYYY-MM-DD'); END $$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql
 AS $$ BEGIN new.at = '2020-06-01 12:00'; RETURN new; END $$;
CREATE TRIGGER stamped BEFORE INSERT ON noons FOR EACH ROW EXECUTE FUNCTION stamp();
"""

TENANT = ("SET app.tenant = 'b'", "SET app.tenant = 'a'")
ZONE = ("SET TimeZone = 'Asia/Tokyo'", "SET TimeZone = 'UTC'")
DATE = ("SET DateStyle = 'ISO, DMY'", "SET DateStyle = 'ISO, MDY'")
LOCAL = "SET LOCAL TimeZone = 'Asia/Tokyo'"

#: What B sets, what A sets, the text, what it says to A.
CASES = {
    "sql": (*TENANT, "SELECT v FROM of_tenants WHERE tenant = tenant()", "of a"),
    "plpgsql": (*TENANT, "SELECT v FROM of_tenants WHERE tenant = tenant_p()", "of a"),
    "atomic": (*TENANT, "SELECT v FROM of_tenants WHERE tenant = tenant_atomic()", "of a"),
    "by_a_view": (*TENANT, "SELECT v FROM of_tenants WHERE tenant = tenant_of_view()", "of a"),
    "in_a_view": (*TENANT, "SELECT v FROM seen", "of a"),
    "in_a_function": (*TENANT, "SELECT mine()", "of a"),
    "by_a_text": (*TENANT, "SELECT mine_by_a_text()", "of a"),
    "literal": (*ZONE, "SELECT noon()", "1591012800"),
    "literal_of_a_transaction": (f"BEGIN; {LOCAL}", ZONE[1], "SELECT noon()", "1591012800"),
    "tenant_of_a_transaction": ("BEGIN; SET LOCAL app.tenant = 'b'", TENANT[1], "SELECT mine()", "of a"),
    "date": (*DATE, "SELECT first_of_february()", "2020-01-02"),
    "trigger": (*ZONE, "INSERT INTO noons VALUES (NULL) RETURNING extract(epoch FROM at)::int", "1591012800"),
}  # fmt: skip


@pytest.fixture(scope="module")
def database(running_postgres: Postgres) -> str:
    running_postgres.sql("CREATE DATABASE plans OWNER bouncer")
    running_postgres.sql(SETUP, user="bouncer", dbname="plans")
    return "plans"


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, database: str, start_pooler: StartPooler) -> Pooler:
    databases = {database: "pool_size=1"}
    pooler = start_pooler(workers=request.param, databases=databases)
    pooler.learn_catalogs(database)
    return pooler


def prepared(wire: Wire, text: str, again: bool = False) -> list[Message]:
    begin = b"" if again else parse(text, "s")
    return run(wire, [Step(begin + bind((), "s") + execute() + SYNC)])


def said(messages: list[Message]) -> list[bytes | None]:
    assert "E" not in types(messages)
    return [message.values[0] for message in messages if message.type == "D"]


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
@pytest.mark.parametrize("name", CASES)
def test_nobody_has_what_others_settings_made_of_a_plan(
    pooler: Pooler, database: str, name: str, protocol: str
) -> None:
    of_b, of_a, text, answer = CASES[name]
    with pooled(pooler, database) as a, pooled(pooler, database) as b:
        a.query(of_a)
        for client in (b, a) if protocol == "prepared" else ():
            run(client, [Step(parse(text, "s") + SYNC)])
        for _ in range(2):
            b.query(of_b)
            assert said(b.query(text) if protocol == "simple" else prepared(b, text, True)) != [
                answer.encode()
            ]
            b.query("COMMIT")
            assert said(a.query(text) if protocol == "simple" else prepared(a, text, True)) == [
                answer.encode()
            ]
        a.close()
        b.close()


def test_unless_something_is_left_in_plans_none_is_made_again(pooler: Pooler, database: str) -> None:
    """Each tenant has a setting of its own, and what reads it says so; their functions are all the same."""

    def applied() -> int:
        return sum(row["settings_applied"] for row in pooler.show("pin_totals", database=database))

    text = "SELECT noon(), current_setting('application_name')"
    with pooled(pooler, database) as a, pooled(pooler, database) as b:
        for client in (a, b, a):
            said(client.query("SELECT 1"))
        before = applied()
        for client in (a, b, a, b):
            said(client.query(text))
        assert applied() == before
        a.close()
        b.close()
