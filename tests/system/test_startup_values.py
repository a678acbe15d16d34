"""What servers make of the values of a startup packet: of one pool it says nothing about another."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler, module_pooler, running_pooler, wait_until_free
from tests.support.wire import LoginRefused, Message, Wire, query

pooler = module_pooler(
    databases={
        "mdy": "dbname=p0 pool_size=1",
        "dmy": "dbname=p0 pool_size=1 datestyle='ISO, DMY'",
        "fresh": "dbname=p0 pool_size=3",
    },
    query_wait_notify=1,
)


@pytest.mark.parametrize("style", ["SQL", "Postgres", "German", "ISO"])
@pytest.mark.parametrize("first", ["dmy", "mdy"])
def test_dates_are_those_of_the_own_database(pooler: Pooler, first: str, style: str) -> None:
    """DateStyle without an order of day and month takes that of the server's default."""
    second = "mdy" if first == "dmy" else "dmy"
    shown = {}
    for database in (first, second):
        wait_until_free(
            pooler, database
        )  # else the client is let in before any server has spelled its values
        with pooler.wire() as wire:
            wire.login(database=database, DateStyle=style)
            ((day,),) = wire.rows("SELECT extract(day FROM '01/02/2026'::date)::int::text")
            shown[database] = wire.parameters["DateStyle"], day
    german = style == "German"  # which sets the order, too
    for database, order, day in (
        ("dmy", "DMY", b"1"),
        ("mdy", "DMY" if german else "MDY", b"1" if german else b"2"),
    ):
        assert shown[database] == (f"{style}, {order}", day)


SPELLED = [
    ("DateStyle", "iso, dmy", "ISO, DMY"),
    ("DateStyle", "German", "German, DMY"),
    ("TimeZone", "utc", "UTC"),
    ("TimeZone", "-3", "<-03>+03"),
    ("client_encoding", "latin1", "LATIN1"),
    ("IntervalStyle", "ISO_8601", "iso_8601"),
    ("application_name", "x" * 70, "x" * 63),
]


def reported(messages: list[Message]) -> dict[str, str]:
    pairs = [got.body.split(b"\0")[:2] for got in messages if got.type == "S"]
    return {name.decode(): value.decode() for name, value in pairs}


@pytest.mark.parametrize(("name", "given", "spelled"), SPELLED)
def test_spelling_is_that_of_postgres(pooler: Pooler, name: str, given: str, spelled: str) -> None:
    """Without a free server a client is let in as it is, and told before its first answer."""
    with pooler.wire() as busy, pooler.wire() as first, pooler.wire() as second:
        busy.login(database="mdy").rows("BEGIN")
        parameters: dict[str, Any] = {name: given}
        first.login(database="mdy", **parameters)
        first.send(query("SELECT 1"))
        first.expect_silence()
        busy.rows("COMMIT")
        told = first.parameters | reported(first.receive_until("Z"))
        assert told[name] == spelled
        assert first.rows(f"SHOW {name}") == [[spelled.encode()]]
        busy.rows("BEGIN")
        second.login(database="mdy", **parameters)  # a worker that has asked knows
        second.send(query("SELECT 1"))
        busy.rows("COMMIT")
        told = second.parameters | reported(second.receive_until("Z"))
        assert told[name] == spelled
        assert second.rows(f"SHOW {name}") == [[spelled.encode()]]


def test_any_setting_without_a_free_server(pooler: Pooler) -> None:
    with pooler.wire() as busy, pooler.wire() as wire:
        busy.login(database="mdy").rows("BEGIN")
        wire.login(database="mdy", options="-c search_path=early -c app.name=x")
        wire.send(query("SHOW search_path"))
        busy.rows("COMMIT")
        assert [got.values for got in wire.receive_until("Z") if got.type == "D"] == [[b"early"]]
        assert wire.rows("SHOW app.name") == [[b"x"]]


def test_refused_without_a_free_server(pooler: Pooler) -> None:
    """PostgreSQL's own refusal comes with the first statement then."""
    with pooler.wire() as busy, pooler.wire() as wire:
        busy.login(database="mdy").rows("BEGIN")
        wire.login(database="mdy", TimeZone="No/Where")
        wire.send(query("SELECT 1"))
        busy.rows("COMMIT")
        assert "No/Where" in wire.expect_error("22023")["M"]
    with pooler.wire() as wire:
        assert wire.login(database="mdy").rows("SELECT 1") == [[b"1"]]


def test_a_server_does_not_stay_with_a_silent_client(pooler: Pooler) -> None:
    """A client that was let in while it waited says nothing: what it gets goes on to the next."""
    with pooler.wire() as busy, pooler.wire() as silent, pooler.wire() as other:
        busy.login(database="mdy").rows("BEGIN")
        silent.login(database="mdy", TimeZone="Asia/Kathmandu")
        other.login(database="mdy")
        other.send(query("SELECT 1"))
        busy.rows("COMMIT")
        assert other.receive_until("Z")[-1].text == "I"


# What servers have by themselves.


@contextlib.contextmanager
def configured(pg: Postgres, name: str, value: str) -> Iterator[None]:
    """PostgreSQL's own configuration has another value for the block."""
    pg.sql(f"ALTER SYSTEM SET {name} = '{value}'")
    pg.sql("SELECT pg_reload_conf()")
    wait_for(lambda: pg.sql(f"SHOW {name}") == [(value,)], 5, "the new configuration")
    try:
        yield
    finally:
        pg.sql(f"ALTER SYSTEM RESET {name}")
        pg.sql("SELECT pg_reload_conf()")
        wait_for(lambda: pg.sql(f"SHOW {name}") != [(value,)], 5, "the old configuration")


class Follower:
    """A client that remembers what it was told."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.told = wire.parameters

    def shows(self, name: str) -> str:
        """What is in force; what was told must be the same."""
        answer = self.wire.query(f"SHOW {name}")
        self.told |= reported(answer)
        (row,) = [got.values for got in answer if got.type == "D"]
        return (row[0] or b"").decode()


def wait_until_follows(client: Follower, name: str, value: str) -> None:
    wait_for(lambda: client.shows(name) == value == client.told[name], 10, "the value of the server")


def test_a_reload_reaches_all_that_have_not_set_it(pooler: Pooler, pg: Postgres) -> None:
    """Old clients within a second or two of traffic, new ones at once; who has set the parameter keeps it."""
    with pooler.wire() as a, pooler.wire() as b, pooler.wire() as c, pooler.wire() as d:
        old = Follower(a.login(database="fresh"))
        startup_value = Follower(b.login(database="fresh", TimeZone="America/Lima"))
        own_value = Follower(c.login(database="fresh"))
        own_value.wire.query("SET TimeZone = 'Europe/Rome'")
        usual = old.shows("TimeZone")
        assert startup_value.shows("TimeZone") == "America/Lima"  # on the same servers, which were told to
        for value in ("Asia/Kolkata", "Asia/Tokyo"):
            with configured(pg, "timezone", value):
                time.sleep(1.1)  # what was known before counts for a second
                new = Follower(d.login(database="fresh") if value == "Asia/Kolkata" else d)
                wait_until_follows(old, "TimeZone", value)
                wait_until_follows(new, "TimeZone", value)
                assert startup_value.shows("TimeZone") == "America/Lima"
                assert own_value.shows("TimeZone") == "Europe/Rome"
        wait_until_follows(old, "TimeZone", usual)


def test_reported_parameters_that_are_not_tracked(pooler: Pooler, pg: Postgres) -> None:
    with pooler.wire() as a, pooler.wire() as b:
        old = Follower(a.login(database="fresh"))
        assert (
            old.told["default_transaction_read_only"] == old.shows("default_transaction_read_only") == "off"
        )
        with configured(pg, "default_transaction_read_only", "on"):
            wait_until_follows(old, "default_transaction_read_only", "on")
            time.sleep(1.1)  # what was known before counts for a second
            new = Follower(b.login(database="fresh"))
            assert new.told["default_transaction_read_only"] == "on"
        wait_until_follows(old, "default_transaction_read_only", "off")


#: A server has been asked last, and has answered, what is its own: by that a change is noticed.
ASKED = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = 'p0' AND state = 'idle' AND query ~ 'db_role_setting s'"
)


@pytest.mark.parametrize("whose", ["ROLE bouncer", "DATABASE p0", "ROLE bouncer IN DATABASE p0"])
def test_settings_made_past_pooler_reach_new_clients(pooler: Pooler, pg: Postgres, whose: str) -> None:
    """Sessions that are there keep what they have, as at PostgreSQL."""
    with pooler.wire() as a, pooler.wire() as b:
        old = Follower(a.login(database="fresh"))
        usual = old.shows("TimeZone")
        wait_for(
            lambda: old.shows("TimeZone") and pg.sql(ASKED), 10, "a question about what roles have been given"
        )
        pg.sql(f"ALTER {whose} SET TimeZone = 'Asia/Kolkata'", dbname="p0")
        try:
            time.sleep(1.1)  # what was known before counts for a second
            new = Follower(b.login(database="fresh"))
            assert new.told["TimeZone"] == new.shows("TimeZone") == "Asia/Kolkata"
            assert old.shows("TimeZone") == usual
        finally:
            pg.sql(f"ALTER {whose} RESET TimeZone", dbname="p0")

        def is_as_before() -> bool:
            with pooler.wire() as wire:
                return wire.login(database="fresh").parameters["TimeZone"] == usual

        wait_for(is_as_before, 5, "new clients to be told so")


@pytest.fixture
def standby(owner: Account, work: Path) -> Iterator[Postgres]:
    """A PostgreSQL that recovers, and would do so for ever: nobody sends it anything."""
    pg = Postgres(owner, make_directory(work / "standby", owner))
    pg.create()
    pg.stop()
    signal_file = pg.cluster.data / "standby.signal"
    signal_file.touch()
    owner.give(signal_file)
    pg.start()
    yield pg
    pg.stop()


def test_promotion_reaches_all(standby: Postgres, owner: Account, work: Path) -> None:
    """Clients that were silent meanwhile, and new ones: drivers look there for one that can be written to."""
    with (
        running_pooler(standby, owner, work, databases={"p0": "pool_size=3"}) as pooler,
        pooler.wire() as a,
        pooler.wire() as b,
    ):
        old = Follower(a.login())
        silent = Follower(b.login())
        assert old.told["in_hot_standby"] == old.shows("in_hot_standby") == "on"
        assert silent.told["in_hot_standby"] == "on"
        old.wire.expect_silence(0.01)
        assert standby.sql("SELECT pg_promote()") == [(True,)]

        def is_told() -> bool:
            with pooler.wire() as wire:
                return wire.login().parameters["in_hot_standby"] == "off"

        wait_for(is_told, 5, "a new client to be told")
        for client in (old, silent):
            wait_until_follows(client, "in_hot_standby", "off")
        old.wire.rows("CREATE TABLE written (n int)")


def test_settings_changed_during_the_first_look(
    start_pooler: StartPooler, running_postgres: Postgres
) -> None:
    """However long it takes: what a role or a database has been given is asked for before."""
    pooler = start_pooler(workers=1, databases={"p0": "pool_size=1"})
    try:
        with running_postgres.connect(dbname="p0") as holder, pooler.wire() as a:
            holder.autocommit = False
            with holder.cursor() as cursor:
                cursor.execute("LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE")
                a.login()
                waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'pg_policy'::regclass"
                wait_for(lambda: running_postgres.sql(waits), 5, "a look in the midst")
                running_postgres.sql("ALTER DATABASE p0 SET TimeZone = 'Asia/Kolkata'")
            holder.rollback()

        def is_told() -> bool:
            with pooler.wire() as wire:
                return bool(wire.login().parameters["TimeZone"] == "Asia/Kolkata")

        wait_for(is_told, 2, "new clients to be told")
    finally:
        running_postgres.sql("ALTER DATABASE p0 RESET TimeZone")


@pytest.mark.parametrize("busy", [False, True], ids=["free", "busy"])
@pytest.mark.parametrize("more", ["", " -c role=startup_other"], ids=["alone", "with a role"])
@pytest.mark.parametrize("who", ["startup_lowly", "postgres", "nobody_at_all"])
def test_session_user_is_that_of_the_login(
    pooler: Pooler, running_postgres: Postgres, who: str, more: str, busy: bool
) -> None:
    """PostgreSQL looks whether a superuser names a role that is there, and that is all that comes of it."""
    for role in ("startup_lowly", "startup_other"):
        running_postgres.sql(f"DROP ROLE IF EXISTS {role}")
        running_postgres.sql(f"CREATE ROLE {role}")
    options = f"-c session_authorization={who}{more}"

    def told(wire: Wire, database: str, user: str = "postgres") -> list[object]:
        try:
            wire.login(user=user, database=database, options=options)
            found: list[object] = [
                wire.rows("SELECT current_user, session_user, current_setting('is_superuser')")
            ]
        except LoginRefused as refused:
            return [refused.error.fields["C"], refused.error.fields["M"]]
        except AssertionError as failed:
            return [str(failed)]
        return [*found, wire.parameters.get("is_superuser"), wire.parameters.get("session_authorization")]

    with contextlib.ExitStack() as stack:
        address = (running_postgres.host, running_postgres.port)
        there = told(stack.enter_context(Wire(socket.create_connection(address, 10))), "p0")
        holders = [
            stack.enter_context(pooler.wire()).login(user="postgres", database="fresh") for _ in range(3)
        ]
        for holder in holders if busy else []:
            holder.query("BEGIN")
        wire = stack.enter_context(pooler.wire())
        if busy and who != "nobody_at_all":
            wire.login(user="postgres", database="fresh", options=options)
            wire.send(query("SELECT current_user, session_user, current_setting('is_superuser')"))
            for holder in holders:
                holder.query("COMMIT")
            answer = wire.receive_until("Z")
            assert [m.values for m in answer if m.type == "D"] == there[0]
            heard = {**wire.parameters, **reported(answer)}
            assert [heard["is_superuser"], heard.get("session_authorization")] == there[1:]
        elif not busy:
            assert told(wire, "fresh") == there
        other = stack.enter_context(pooler.wire()).login(user="postgres", database="fresh")
        for holder in holders if busy else []:
            holder.query("ROLLBACK")
        assert other.rows("SELECT current_user, session_user") == [[b"postgres", b"postgres"]]
