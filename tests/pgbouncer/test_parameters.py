"""Settings of a session that follow their client, and what a client is told at its login."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.pgbouncer.subjects import POOLERS, made_of_each, on_all, on_each, own, told
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer
from tests.support.wire import Wire, startup

BOUNCER = {
    "databases": {
        "p0": "pool_size=1",
        "set": "dbname=p1 timezone=Asia/Tokyo datestyle=German client_encoding=LATIN1 application_name=fix",
        "ready": "dbname=p2 connect_query='SET work_mem=''5MB'''",
        "twin": "dbname=p3 pool_size=1",
    },
    "ignore_startup_parameters": "extra_float_digits, search_path",
}


@dataclass(frozen=True)
class Tracked:
    """A parameter, two values for two clients of one server, as SHOW prints them."""

    name: str
    one: str
    two: str
    shown: tuple[str, str] = ("", "")
    since: str = "1.18"

    @property
    def expected(self) -> tuple[str, str]:
        return self.shown if self.shown[0] else (self.one, self.two)


TRACKED = [
    Tracked("TimeZone", "Asia/Tokyo", "America/Lima"),
    Tracked("DateStyle", "German, DMY", "ISO, YMD"),
    Tracked("client_encoding", "LATIN1", "SQL_ASCII"),
    Tracked("application_name", "app one", "it's two"),
    Tracked("standard_conforming_strings", "on", "off"),
    Tracked("IntervalStyle", "iso_8601", "sql_standard", since="1.20"),
    Tracked("datestyle", "ISO", "sql", ("ISO, MDY", "SQL, MDY")),
]


def shown(wire: Wire, name: str) -> str:
    ((value,),) = wire.rows(f"SHOW {name}")
    assert value is not None
    return value.decode()


@on_all(TRACKED)
def test_startup_values_follow(subject: Bouncer, case: Tracked) -> None:
    with (
        subject.wire().login(**{case.name: case.one}) as one,
        subject.wire().login(**{case.name: case.two}) as two,
    ):
        for _ in range(2):
            assert (shown(one, case.name), shown(two, case.name)) == case.expected
        one.close()
        two.close()


@on_all(TRACKED)
def test_set_follows(subject: Bouncer, case: Tracked) -> None:
    with pooled(subject) as one, pooled(subject) as two:
        one.query(f"SET {case.name} = '{case.one}'")
        two.query("SET {} = '{}'".format(case.name, case.two.replace("'", "''")))
        for _ in range(2):
            assert (shown(one, case.name), shown(two, case.name)) == case.expected
        one.close()
        two.close()


@on_each()
def test_told_at_login(subject: Bouncer) -> None:
    """What PostgreSQL reports, with the client's own values."""
    with pooled(subject, "twin") as wire:
        wire.query("SELECT 1")
        wire.close()
    with subject.wire().login(database="twin", TimeZone="Asia/Tokyo", application_name="me") as wire:
        parameters = wire.parameters
        assert parameters["TimeZone"] == "Asia/Tokyo"
        assert parameters["application_name"] == "me"
        assert parameters["server_version"] == subject.pg.sql("SHOW server_version")[0][0]
        assert {"server_encoding", "client_encoding", "DateStyle", "integer_datetimes"} <= set(parameters)
        wire.close()


@on_each()
def test_values_of_the_entry(subject: Bouncer) -> None:
    """client_encoding, datestyle, timezone and application_name of [databases] are the servers' own."""
    with pooled(subject, "set") as wire:
        names = ("TimeZone", "DateStyle", "client_encoding", "application_name")
        assert [shown(wire, name) for name in names] == ["Asia/Tokyo", "German, DMY", "LATIN1", "fix"]
        wire.close()


@on_each()
def test_connect_query(subject: Bouncer) -> None:
    with pooled(subject, "ready") as wire:
        assert shown(wire, "work_mem") == "5MB"
        wire.close()


@on_each()
def test_ignored_startup_parameters(subject: Bouncer) -> None:
    with subject.wire().login(search_path="nowhere", extra_float_digits="3") as wire:
        assert shown(wire, "search_path") == '"$user", public'
        wire.close()


@dataclass(frozen=True)
class Options:
    """The startup parameter `options`, and what TimeZone is then."""

    name: str
    zone: str = "Asia/Tokyo"
    since: str = "1.20"


OPTIONS = [
    Options("-c TimeZone=Asia/Tokyo"),
    Options("-cTimeZone=Asia/Tokyo"),
    Options("--TimeZone=Asia/Tokyo", since="1.23"),
    Options("  -c   TimeZone=Asia/Tokyo"),
    Options("-c application_name=a\\ b -c TimeZone=Asia/Tokyo"),
    Options("-c TimeZone=UTC -c TimeZone=Asia/Tokyo"),
]


@on_all(OPTIONS)
def test_options(subject: Bouncer, case: Options) -> None:
    with subject.wire().login(options=case.name) as wire:
        assert shown(wire, "TimeZone") == case.zone
        wire.close()


@on_all([Options("  -c   TimeZone=Asia/Tokyo  ")], subjects=POOLERS)
def test_blanks_behind_options(subject: Bouncer, case: Options) -> None:
    """PostgreSQL takes them; PgBouncer asks for one more option behind them."""
    with subject.wire().login(options=case.name) as wire:
        assert shown(wire, "TimeZone") == case.zone
        wire.close()


@made_of_each()
def test_application_name_add_host(start: Callable[..., Bouncer]) -> None:
    bouncer = start(application_name_add_host=1)
    with bouncer.wire().login(application_name="me") as wire:
        port = wire.socket.getsockname()[1]
        assert shown(wire, "application_name") == f"me - 127.0.0.1:{port}"
        wire.close()
    with pooled(bouncer) as wire:
        assert shown(wire, "application_name").startswith("app - 127.0.0.1:")
        wire.close()


@made_of_each(since="1.26")
def test_login_notify_message(start: Callable[..., Bouncer]) -> None:
    bouncer = start(login_notify_message="maintenance at noon")
    with bouncer.wire() as wire:
        wire.send(startup())
        answers = wire.receive_until("Z")
        assert [told(message) for message in answers if message.type == "N"] == [
            "N NOTICE 00000 maintenance at noon"
        ]
        wire.close()


@made_of_each(since="1.20")
def test_track_extra_parameters(start: Callable[..., Bouncer]) -> None:
    """Also those that are named; names in any case."""
    bouncer = start(track_extra_parameters="intervalstyle", databases={"p0": "pool_size=1"})
    with bouncer.wire().login(IntervalStyle="iso_8601") as one, pooled(bouncer) as two:
        for _ in range(2):
            assert (shown(one, "IntervalStyle"), shown(two, "IntervalStyle")) == ("iso_8601", "postgres")
        one.close()
        two.close()


@made_of_each()
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_reset_query(start: Callable[..., Bouncer], mode: str) -> None:
    """In session pooling between clients; in transaction pooling with server_reset_query_always."""
    settings = own(start, session_state="off")
    bouncer = start(
        databases={"p0": "pool_size=1"}, pool_mode=mode, server_reset_query="SET work_mem='9MB'",
        server_reset_query_always=1, **settings,
    )  # fmt: skip
    with pooled(bouncer) as wire:
        wire.query("SELECT 1")
        wire.close()
    with pooled(bouncer) as wire:
        assert shown(wire, "work_mem") == "9MB"
        wire.close()
