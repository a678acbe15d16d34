"""Settings that PostgreSQL reports follow their client over shared servers."""

from __future__ import annotations

import socket
from typing import Any

import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.crowd import at_once, refusal
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler, module_pooler
from tests.support.wire import SYNC, Wire, bind, execute, parse, startup

#: Two values of each; what is shown is what was set.
TRACKED = {
    "client_encoding": ("LATIN1", "UTF8"),
    "DateStyle": ("SQL, DMY", "ISO, MDY"),
    "TimeZone": ("Asia/Tokyo", "Europe/Lisbon"),
    "application_name": ("one", 'it\'s "another" \\ name'),
    "standard_conforming_strings": ("off", "on"),
    "IntervalStyle": ("iso_8601", "sql_standard"),
}


#: What only sessions of superusers may begin with (core/login/parameters.c).
OF_SUPERUSERS = (
    "jit_debugging_support",
    "jit_profiling_support",
    "log_connections",
    "log_disconnections",
)


pooler = module_pooler(
    databases={
        "p0": "pool_size=1",
        "few": "dbname=p0 pool_size=2",
        "off": "dbname=p0 pool_size=1 session_state=off",
        "preset": "dbname=p0 pool_size=1 timezone=Asia/Tokyo application_name=preset",
    },
    ignore_startup_parameters="extra_float_digits",
)


def shown(wire: Wire, name: str) -> str:
    (row,) = wire.rows(f"SHOW {name}")
    assert row[0] is not None
    return row[0].decode()


def backend(wire: Wire) -> bytes | None:
    return wire.rows("SELECT pg_backend_pid()")[0][0]


@pytest.mark.parametrize("name", TRACKED)
def test_set_follows_its_client(pooler: Pooler, name: str) -> None:
    values = TRACKED[name]
    with pooled(pooler) as first, pooled(pooler) as second:
        for wire, value in zip((first, second), values, strict=True):
            answer = wire.query(f"SET {name} = '{value.replace(chr(39), chr(39) * 2)}'")
            assert answer[-1].type == "Z"
            assert "E" not in [m.type for m in answer]
        for _ in range(3):
            assert (shown(first, name), shown(second, name)) == values
        assert backend(first) == backend(second)
        first.close()
        second.close()
    with pooled(pooler) as fresh:
        assert shown(fresh, name) == fresh.parameters[name], "a new client has what it was told"
        fresh.close()


@pytest.mark.parametrize("name", TRACKED)
def test_startup_parameter(pooler: Pooler, name: str) -> None:
    with pooled(pooler) as plain, pooler.wire().login(**{name: TRACKED[name][0]}) as wire:
        default = shown(plain, name)
        for _ in range(2):
            assert shown(wire, name) == TRACKED[name][0]
            assert shown(plain, name) == default
        plain.close()
        wire.close()


def test_parameters_by_extended_protocol(pooler: Pooler) -> None:
    with pooled(pooler) as other, pooler.wire().login(TimeZone="Asia/Tokyo") as wire:
        for _ in range(3):
            other.query("SELECT 1")
            wire.send(parse("SELECT current_setting('TimeZone')"), bind(), execute(), SYNC)
            assert wire.expect("12DCZ")[2].values == [b"Asia/Tokyo"]
        other.close()
        wire.close()


def test_rolled_back_set_is_forgotten(pooler: Pooler) -> None:
    with pooled(pooler) as wire, pooled(pooler) as other:
        before = shown(wire, "TimeZone")
        wire.query("BEGIN")
        wire.query("SET TimeZone = 'Asia/Tokyo'")
        wire.query("ROLLBACK")
        assert shown(wire, "TimeZone") == before == shown(other, "TimeZone")
        wire.close()
        other.close()


def test_many_clients_with_their_own_settings(pooler: Pooler) -> None:
    """In the crowd of both workers nobody ever sees another one's."""

    def work(number: int) -> None:
        name, zone = f"client {number}", f"Etc/GMT+{number}"
        with pooler.wire().login(database="few", application_name=name, TimeZone=zone) as wire:
            for _ in range(25):
                text = (
                    "SELECT current_setting('application_name'), current_setting('TimeZone'), pg_sleep(0.001)"
                )
                assert wire.rows(text)[0][:2] == [name.encode(), zone.encode()]
            wire.close()

    at_once(10, work)


def test_text_is_converted_for_its_client(pooler: Pooler) -> None:
    with pooler.wire().login(client_encoding="LATIN1") as latin, pooled(pooler) as unicode:
        for _ in range(2):
            assert latin.rows("SELECT chr(228)") == [[b"\xe4"]]
            assert unicode.rows("SELECT chr(228)") == [[b"\xc3\xa4"]]
        latin.close()
        unicode.close()


def test_application_name_in_postgres_and_on_the_console(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.wire().login(application_name="who am I") as wire:
        wire.query("BEGIN")
        found = running_postgres.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'who am I'")
        assert len(found) == 1
        assert pooler.show("clients", database="p0")[0]["application_name"] == "who am I"
        wire.query("COMMIT")
        wire.close()


def test_presets_of_a_database(pooler: Pooler) -> None:
    with pooled(pooler, "preset") as wire:
        assert shown(wire, "TimeZone") == "Asia/Tokyo" == wire.parameters["TimeZone"]
        assert shown(wire, "application_name") == "preset"
        wire.close()


@pytest.mark.parametrize("name", ["TimeZone", "DateStyle", "client_encoding"])
def test_invalid_value(pooler: Pooler, name: str) -> None:
    """The login fails in PostgreSQL's own words; others are not disturbed."""
    with pooler.wire() as wire, pooled(pooler) as other:
        with pooler.expect_log("closing because: invalid value for parameter"):
            wire.send(startup(**dict[str, Any]({name: "no such value"})))
            error = wire.expect_error("22023")
        assert error["S"] == "FATAL"
        assert error["M"] == f'invalid value for parameter "{name}": "no such value"'
        wire.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]
        other.close()


@pytest.mark.parametrize("value", ["UTC'; SELECT pg_sleep(9); --", "UTC\\", 'a"b', "$$", "x" * 300])
def test_values_are_data(pooler: Pooler, value: str) -> None:
    with pooler.wire().login(application_name=value) as wire:
        assert shown(wire, "application_name") == value[:63]
        wire.close()
    with pooled(pooler) as wire:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


# At startup.


def startup_error(pooler: Pooler, **parameters: Any) -> str:
    with pooler.wire() as wire:
        wire.send(startup(**parameters))
        error = wire.expect_error("08P01")
        wire.expect_closed()
    return error["M"]


def test_unsupported_startup_parameter(pooler: Pooler) -> None:
    """Without session state other settings cannot follow their client."""
    assert startup_error(pooler, database="off", work_mem="1MB") == "unsupported startup parameter: work_mem"
    with pooler.wire().login(extra_float_digits="3") as wire:
        assert shown(wire, "extra_float_digits") == "1", "ignored"
        wire.close()


@pytest.mark.parametrize(
    "options",
    [
        "-c TimeZone=Asia/Tokyo",
        "-cTimeZone=Asia/Tokyo",
        "--TimeZone=Asia/Tokyo",
        "-c application_name=a\\ b -c TimeZone=Asia/Tokyo",
        "-c extra_float_digits=3 -c TimeZone=Asia/Tokyo",
    ],
)
def test_options(pooler: Pooler, options: str) -> None:
    with pooler.wire().login(options=options) as wire:
        assert shown(wire, "TimeZone") == "Asia/Tokyo" == wire.parameters["TimeZone"]
        if "application_name" in options:
            assert shown(wire, "application_name") == "a b"
        wire.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("-c work_mem=1MB", "unsupported startup parameter in options: work_mem"),
        (
            "-d 3",
            "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
        ),
    ],
)
def test_unsupported_options(pooler: Pooler, options: str, text: str) -> None:
    assert startup_error(pooler, database="off", options=options) == text


def test_options_by_a_driver(pooler: Pooler) -> None:
    assert pooler.sql("SHOW TimeZone", options="-c TimeZone=Asia/Tokyo") == [("Asia/Tokyo",)]
    assert pooler.sql("SHOW work_mem", options="-c work_mem=1MB") == [("1MB",)]
    assert "unsupported startup parameter in options: work_mem" in refusal(
        pooler.dsn(dbname="off", options="-c work_mem=1MB")
    )


def test_any_setting_at_startup(pooler: Pooler) -> None:
    """As with PostgreSQL itself: what it refuses, it refuses at the login."""
    with pooler.wire().login(work_mem="3MB", options="-c app.tenant=7 -c statement_timeout=5s") as wire:
        with pooled(pooler) as other:
            assert shown(other, "work_mem") == "4MB"
            other.close()
        assert [shown(wire, name) for name in ("work_mem", "app.tenant", "statement_timeout")] == [
            "3MB",
            "7",
            "5s",
        ]
        wire.query("SET work_mem = '1MB'")
        wire.query("RESET ALL")
        assert [shown(wire, name) for name in ("work_mem", "app.tenant")] == ["3MB", "7"]
        wire.close()
    for name, value, code in (
        ("work_mem", "much", "22023"),
        ("no_such_setting", "1", "42704"),
        ("port", "5", "55P02"),
    ):
        with pooler.wire() as wire:
            wire.send(startup(**dict[str, Any]({name: value})))
            assert wire.expect_error(code)["S"] == "FATAL"
            wire.expect_closed()


@pytest.mark.parametrize("name", OF_SUPERUSERS)
@pytest.mark.parametrize("way", ["parameter", "options"])
def test_a_setting_with_which_only_sessions_of_superusers_begin(
    running_postgres: Postgres, pooler: Pooler, name: str, way: str
) -> None:
    given = {name: "on"} if way == "parameter" else {"options": f"-c {name.title()}=on"}
    refusals = []
    for port in (running_postgres.port, pooler.port):
        with Wire(socket.create_connection(("127.0.0.1", port), 10)) as wire:
            wire.send(startup(**dict[str, Any](given)))
            fields = wire.receive_until("E")[-1].fields
            refusals.append((fields["S"], fields["C"], fields["M"].lower()))
    assert refusals[0] == refusals[1]
    with pooler.wire() as wire:
        wire.send(startup(SUPERUSER, **dict[str, Any](given)))
        wire.expect_error("55P02")


# What the pooler adds.


def greeting(pooler: Pooler) -> list[str]:
    """The notices of a login."""
    with pooler.wire() as wire:
        wire.send(startup())
        return [m.fields["M"] for m in wire.receive_until("Z") if m.type == "N"]


def test_login_notify_message(pooler: Pooler) -> None:
    pooler.configure(login_notify_message="welcome to the pool")
    assert greeting(pooler) == ["welcome to the pool"]
    pooler.configure(login_notify_message=None)
    assert greeting(pooler) == []


def test_application_name_add_host(pooler: Pooler) -> None:
    pooler.configure(application_name_add_host=1)
    with pooler.wire().login(application_name="mine") as wire, pooler.wire().login() as nameless:
        port = wire.socket.getsockname()[1]
        assert shown(wire, "application_name") == f"mine - 127.0.0.1:{port}"
        assert shown(nameless, "application_name").startswith("app - 127.0.0.1:")
        wire.close()
        nameless.close()
    pooler.configure(application_name_add_host=None)


def test_track_extra_parameters(make_tracking: Pooler) -> None:
    with pooled(make_tracking) as first, pooled(make_tracking) as second:
        first.query("SET default_transaction_read_only = on")
        assert shown(second, "default_transaction_read_only") == "off"
        assert shown(first, "default_transaction_read_only") == "on"
        first.close()
        second.close()


@pytest.fixture(scope="module")
def make_tracking(start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=2,
        databases={"p0": "pool_size=1"},
        track_extra_parameters="IntervalStyle, default_transaction_read_only",
    )


def test_settings_of_postgres_itself_reach_new_clients(running_postgres: Postgres, pooler: Pooler) -> None:
    """What ALTER DATABASE changed counts for clients that come after a reconnect."""
    running_postgres.sql("ALTER DATABASE p1 SET TimeZone = 'Asia/Tokyo'")
    pooler.databases["later"] = "dbname=p1"
    pooler.configure()
    try:
        with pooled(pooler, "later") as wire:
            assert shown(wire, "TimeZone") == "Asia/Tokyo" == wire.parameters["TimeZone"]
            wire.close()
    finally:
        running_postgres.sql("ALTER DATABASE p1 RESET TimeZone")
        del pooler.databases["later"]
        pooler.configure()
    wait_for(lambda: not pooler.show("clients", database="later"), 5, "nobody left")
    with pytest.raises(psycopg2.OperationalError, match="no such database"):
        pooler.sql("SELECT 1", dbname="later")
