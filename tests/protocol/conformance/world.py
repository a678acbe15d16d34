"""The objects that cases and neighbours use, and the pools in front of them."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pooler.dev.postgres import SUPERUSER
from tests.protocol.conformance.case import Case, Parameters, Scene
from tests.protocol.conformance.neighbours import Gang
from tests.protocol.conformance.run import run
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import Wire, startup


@dataclass(frozen=True)
class Size:
    """What a pooler is started with."""

    workers: int
    servers: int

    def __str__(self) -> str:
        return f"{self.workers}-workers-{self.servers}-servers"


SIZES = [Size(1, 1), Size(1, 3), Size(3, 1), Size(3, 3)]

DATABASE = "p0"
POOL = "tx"
#: How long a client under test waits for a message.
PATIENCE_S = float(os.environ.get("CONFORMANCE_PATIENCE_S", "10"))

#: Made once, by the superuser; most things belong to bouncer, whom the clients are.
OBJECTS = """
DROP SCHEMA IF EXISTS conf_evil CASCADE;
CREATE SCHEMA conf_evil AUTHORIZATION bouncer;
DO $$BEGIN CREATE ROLE conf_one; CREATE ROLE conf_two; CREATE ROLE conf_evil;
EXCEPTION WHEN duplicate_object THEN END$$;
GRANT conf_one, conf_two, conf_evil TO bouncer;
GRANT USAGE ON SCHEMA conf_evil TO PUBLIC;

DROP TABLE IF EXISTS tenants;
CREATE TABLE tenants (tenant text, what text);
INSERT INTO tenants VALUES ('one', 'of one'), ('two', 'of two'), ('evil', 'of evil');
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON tenants USING (tenant = current_setting('app.tenant', true));
GRANT SELECT ON tenants TO PUBLIC;

SET ROLE bouncer;
CREATE TABLE conf_evil.things (id int, name text);
INSERT INTO conf_evil.things VALUES (666, 'evil');
CREATE SEQUENCE conf_evil.conf_seq START 666;
CREATE TABLE conf_evil.serial (id bigserial, name text);

DROP SEQUENCE IF EXISTS conf_seq, conf_other;
DROP TABLE IF EXISTS wire_copy;
CREATE TABLE wire_copy (n int, t text);
CREATE SEQUENCE conf_seq START 7000000000;
CREATE SEQUENCE conf_other START 7500000000;
GRANT ALL ON SEQUENCE conf_seq, conf_other TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA conf_evil TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA conf_evil TO PUBLIC;

CREATE OR REPLACE FUNCTION conf_set(name text, value text) RETURNS text LANGUAGE sql
    AS 'SELECT set_config(name, value, false)';
CREATE OR REPLACE FUNCTION conf_set_plpgsql(name text, value text) RETURNS text LANGUAGE plpgsql
    AS 'BEGIN RETURN set_config(name, value, false); END';
CREATE OR REPLACE FUNCTION conf_maybe(megabytes int) RETURNS void LANGUAGE plpgsql AS
    'BEGIN IF megabytes > 3 THEN PERFORM set_config(''work_mem'', megabytes || ''MB'', false); END IF; END';
CREATE OR REPLACE FUNCTION conf_trigger() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM set_config(''work_mem'', NEW.setting, false); RETURN NEW; END';
CREATE OR REPLACE FUNCTION conf_notify() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_notify(''conf_one'', NEW.payload); RETURN NEW; END';
CREATE OR REPLACE PROCEDURE conf_steps() LANGUAGE plpgsql AS $$BEGIN
    INSERT INTO serial (name) VALUES ('x'); PERFORM set_config('work_mem', '5MB', false); COMMIT;
    PERFORM set_config('work_mem', '6MB', false); ROLLBACK; END$$;
CREATE OR REPLACE FUNCTION conf_role(role text) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN EXECUTE format(''SET ROLE %I'', role); END';
CREATE OR REPLACE FUNCTION conf_lock(key bigint) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_advisory_lock(key); END';
CREATE OR REPLACE FUNCTION conf_try(key bigint) RETURNS bool LANGUAGE plpgsql
    AS 'BEGIN RETURN pg_try_advisory_lock(key); END';
CREATE OR REPLACE FUNCTION conf_unlock(key bigint) RETURNS bool LANGUAGE plpgsql
    AS 'BEGIN RETURN pg_advisory_unlock(key); END';
CREATE OR REPLACE FUNCTION conf_temp(name text) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN EXECUTE format(''CREATE TEMP TABLE %I AS SELECT 1 AS made'', name); END';
CREATE OR REPLACE FUNCTION conf_next() RETURNS bigint LANGUAGE plpgsql
    AS 'BEGIN RETURN nextval(''conf_seq''); END';
CREATE OR REPLACE FUNCTION conf_listen(channel text) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN EXECUTE format(''LISTEN %I'', channel); END';
CREATE OR REPLACE FUNCTION conf_prepare() RETURNS void LANGUAGE plpgsql
    AS 'BEGIN EXECUTE ''PREPARE inside AS SELECT 42''; END';
CREATE OR REPLACE FUNCTION conf_fixed() RETURNS text LANGUAGE sql
    SET search_path = conf_evil SET TimeZone = 'UTC'
    AS 'SELECT current_setting(''search_path'') || current_setting(''TimeZone'')';
RESET ROLE;
"""

#: Run before every case, in both worlds.
FRESH = """
DROP TABLE IF EXISTS public.things, public.serial, public.triggering, public.notifying, public.made CASCADE;
DROP SEQUENCE IF EXISTS public.made_seq;
SET ROLE bouncer;
CREATE TABLE public.things (id int PRIMARY KEY, name text);
INSERT INTO public.things VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE public.serial (id bigserial, name text);
ALTER SEQUENCE serial_id_seq RESTART 7200000000 START 7200000000;
CREATE TABLE triggering (setting text);
CREATE TRIGGER setting BEFORE INSERT ON triggering FOR EACH ROW EXECUTE FUNCTION conf_trigger();
CREATE TABLE notifying (payload text);
CREATE TRIGGER notify AFTER INSERT ON notifying FOR EACH ROW EXECUTE FUNCTION conf_notify();
GRANT ALL ON public.things, public.serial TO PUBLIC;
GRANT ALL ON SEQUENCE serial_id_seq TO PUBLIC;
RESET ROLE;
"""


class Direct:
    """PostgreSQL itself; the judge. Nobody else is there, unless asked for."""

    def __init__(self, pg: Postgres) -> None:
        self.pg = pg
        self.clerk = self.login(SUPERUSER, {})
        _sql(self.clerk, OBJECTS)

    def login(self, user: str, parameters: Parameters) -> Wire:
        return _login(self.connect(), user, DATABASE, parameters)

    def connect(self) -> Wire:
        return Wire(socket.create_connection((self.pg.host, self.pg.port), PATIENCE_S), PATIENCE_S)

    def run(self, scenes: list[Scene], case: Case, gang: Gang | None = None) -> list[str]:
        _sql(self.clerk, FRESH)
        return run(scenes, case, self.login, self.is_unlocked, gang)

    def is_unlocked(self, key: int) -> bool:
        """Waits until nobody holds the advisory lock, for a while."""
        deadline = time.monotonic() + PATIENCE_S
        while self.clerk.rows(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = {key}"):
            if time.monotonic() > deadline:
                return False
        return True

    def gang(self, user: str, servers: int = 3) -> Gang:
        """Neighbours who have a server each: what they do must not harm anybody."""
        return Gang(servers, self.connect, startup(user, DATABASE), lambda departed: 0)


class Pooled:
    """A pool of pooler with neighbours for each of its users."""

    def __init__(self, pooler: Pooler, direct: Direct, servers: int) -> None:
        self.pooler = pooler
        self.servers = servers
        self._direct = direct
        self._console = pooler.wire().login(SUPERUSER, "pooler")
        self._gangs: dict[tuple[str, bool], Gang] = {}

    def login(self, user: str, parameters: Parameters) -> Wire:
        return _login(self.connect(), user, POOL, parameters)

    def connect(self) -> Wire:
        return self.pooler.wire(timeout_s=PATIENCE_S)

    def run(self, scenes: list[Scene], case: Case, quiet: bool = False) -> list[str]:
        _sql(self._direct.clerk, FRESH)
        return run(scenes, case, self.login, self._direct.is_unlocked, self.gang(case.user, quiet))

    def gang(self, user: str, quiet: bool = False) -> Gang:
        if (user, quiet) not in self._gangs:
            self._gangs[user, quiet] = Gang(
                self.servers,
                self.connect,
                startup(user, POOL),
                lambda departed: self._waiting(user, departed),
                quiet,
            )
        return self._gangs[user, quiet]

    def _waiting(self, user: str, departed: set[int]) -> int:
        """Clients that wait while others have all servers and keep them; none is being made or cleaned."""
        answer = self._console.query("SHOW CLIENTS")
        names = _columns(answer[0].body)
        values = [[(value or b"").decode() for value in m.values] for m in answer if m.type == "D"]
        rows = [dict(zip(names, row, strict=True)) for row in values]
        rows = [row for row in rows if (row["database"], row["user"]) == (POOL, user)]
        holding = [row for row in rows if row["link"] and int(row["port"]) not in departed]
        return sum(row["state"] == "waiting" for row in rows) if len(holding) >= self.servers else 0

    def close(self) -> None:
        for gang in self._gangs.values():
            gang.close()
        self._console.close()


#: Pools by their size and settings; each is started when it is asked for first.
Pools = Callable[..., Pooled]


@contextlib.contextmanager
def pooled_world(pooler: Pooler, direct: Direct, servers: int) -> Iterator[Pooled]:
    """The pool, with neighbours who leave at the end."""
    world = Pooled(pooler, direct, servers)
    try:
        yield world
    finally:
        world.close()


def _login(wire: Wire, user: str, database: str, parameters: Parameters) -> Wire:
    try:
        return wire.login(user, database, **parameters)
    except BaseException:
        wire.socket.close()
        raise


def _columns(description: bytes) -> list[str]:
    """The names in a RowDescription."""
    names, position = [], 2
    while position < len(description):
        end = description.index(b"\0", position)
        names.append(description[position:end].decode())
        position = end + 19
    return names


def _sql(wire: Wire, text: str) -> None:
    errors = [message.fields for message in wire.query(text) if message.type == "E"]
    assert not errors, errors
