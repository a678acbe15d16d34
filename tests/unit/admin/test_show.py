"""Rows of the SHOW commands that are not about connections."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pooler.admin.model import CommandError
from pooler.config import Database
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench


def test_pools(bench: Bench) -> None:
    bench.tables.pool_rows = [
        fakes.pool(1, "multi", "forced", pool_mode="session"),
        fakes.pool(0, "app", "bob", cl_active=5, cl_idle=3, cl_waiting=1, sv_active=2, maxwait_us=3_000_007),
        fakes.pool(2, "app", "alice", paused=True, mean_wait_us=12, pool_size=4, reserve_pool_size=1),
    ]
    bench.tables.database_rows = [fakes.database("pgbouncer", client_count=1)]
    rows = bench.rows("SHOW POOLS EXTENDED")
    assert [(row["database"], row["user"]) for row in rows] == [
        ("app", "alice"), ("app", "bob"), ("multi", "forced"), ("pgbouncer", "pgbouncer"),
    ]  # fmt: skip
    alice, bob, multi, console = rows
    assert (alice["paused"], alice["mean_wait_us"], alice["pool_size"], alice["reserve_pool_size"]) == (
        1,
        12,
        4,
        1,
    )
    assert (bob["cl_active"], bob["cl_waiting"], bob["maxwait"], bob["maxwait_us"]) == (5, 1, 3, 7)
    assert (bob["pool_mode"], bob["load_balance_hosts"]) == ("transaction", None)
    assert (multi["pool_mode"], multi["load_balance_hosts"]) == ("session", "round-robin")
    assert (console["cl_active"], console["pool_mode"], console["sv_login"]) == (1, "statement", 0)


def test_console_sessions_are_taken_from_the_database_row_if_there_is_one(bench: Bench) -> None:
    bench.tables.database_rows = [fakes.database("pgbouncer", client_count=5)]
    (row,) = bench.rows("SHOW POOLS EXTENDED")
    assert row["cl_active"] == 5
    (console,) = (row for row in bench.rows("SHOW DATABASES") if row["name"] == "pgbouncer")
    assert console["current_client_connections"] == 5


def test_databases(bench: Bench) -> None:
    bench.tables.database_rows = [
        fakes.database("app", paused=True, server_count=3, client_count=8),
        fakes.database("gone", client_count=1),
        fakes.database(""),
    ]
    assert bench.run("SHOW DATABASES").rows == [
        ("app", "10.0.0.1", 5433, "app_prod", None, 4, 0, 0, 3600, None, None, 0, 3, 0, 8, 1, 0),
        ("multi", "a,b", 5432, "multi", "forced", 7, 0, 0, 3600, "session", "round-robin", 0, 0, 0, 0, 0, 0),
        (
            "pgbouncer",
            None,
            6432,
            "pgbouncer",
            "pgbouncer",
            2,
            0,
            0,
            3600,
            "statement",
            None,
            0,
            0,
            0,
            0,
            0,
            0,
        ),
    ]


def test_automatic_databases_are_listed_while_they_exist(bench: Bench) -> None:
    bench.config = fakes.configuration(databases={}, auto_database=Database(name="*", host="pg"))
    assert [row["name"] for row in bench.rows("SHOW DATABASES")] == ["pgbouncer"]
    bench.tables.database_rows = [fakes.database("*"), fakes.database("seen", disabled=True)]
    rows = bench.rows("SHOW DATABASES")
    assert [(row["name"], row["database"], row["disabled"]) for row in rows] == [
        ("pgbouncer", "pgbouncer", 0), ("seen", "seen", 1),
    ]  # fmt: skip


def test_users(bench: Bench) -> None:
    bench.tables.user_rows = [{"name": "alice", "server_count": 2, "client_count": 3}, {"name": ""}]
    bench.config = fakes.configuration(
        settings=replace(bench.config.settings, max_user_connections=50, max_user_client_connections=60)
    )
    assert bench.run("SHOW USERS").rows == [
        ("alice", "", "", None, 50, 2, 60, 3),
        ("bob", "        3", "", "statement", 9, 0, 60, 0),
        ("pgbouncer", "", "", None, 50, 0, 60, 0),
    ]


def test_peers(bench: Bench) -> None:
    assert bench.run("SHOW PEERS").rows == [(1, "/tmp", 6433, 5), (2, "other", 6432, 7)]
    assert bench.run("SHOW PEER_POOLS").rows == [(2, 4, 4, 4, 1)]


def test_lists_agree_with_the_other_commands(bench: Bench) -> None:
    bench.tables.pool_rows = [fakes.pool(0, "app", "bob")]
    items = {row["list"]: row["items"] for row in bench.rows("SHOW LISTS")}
    assert " ".join(items) == (
        "databases users peers pools peer_pools free_clients used_clients login_clients free_servers"
        " used_servers dns_names dns_zones dns_queries dns_pending"
    )
    for name in ("databases", "users", "peers", "pools", "peer_pools"):
        assert items[name] == len(bench.rows(f"SHOW {name}")), name
    assert (items["free_clients"], items["used_clients"], items["login_clients"]) == (97, 3, 1)
    assert (items["free_servers"], items["used_servers"], items["dns_names"]) == (18, 2, 0)


def test_stats_are_summed_by_database(bench: Bench) -> None:
    bench.console.sampler.tick(1000.0, {})
    bench.console.sampler.tick(1060.0, {0: fakes.counters("app", "alice", query_count=40)})
    bench.now = 1100.0
    bench.tables.pool_stats = {
        2: fakes.counters("zoo", "alice", bytes_sent=7),
        0: fakes.counters(
            "app", "alice", query_count=100, xact_count=10, query_time=1000, bytes_received=900
        ),
        1: fakes.counters("app", "bob", query_count=100, client_login_count=2),
    }
    app, console, zoo = bench.rows("SHOW STATS")
    assert (app["database"], console["database"], zoo["database"]) == ("app", "pgbouncer", "zoo")
    assert (app["total_query_count"], app["total_received"], app["total_client_login_count"]) == (200, 900, 2)
    assert (app["avg_query_count"], app["avg_query_time"], app["avg_recv"]) == (2, 5, 9)
    assert zoo["total_sent"] == 7
    assert set(console.values()) == {"pgbouncer", 0}
    assert bench.rows("SHOW STATS_TOTALS")[0]["query_count"] == 200
    assert bench.rows("SHOW STATS_AVERAGES")[0]["query_count"] == 2


def test_totals_are_24_rows_with_their_own_names(bench: Bench) -> None:
    bench.tables.pool_stats = {
        0: fakes.counters("app", "alice", bytes_received=3, bytes_sent=4, client_parse_count=5),
        1: fakes.counters("zoo", "alice", bytes_received=30),
    }
    rows = {row["name"]: row["value"] for row in bench.rows("SHOW TOTALS")}
    assert len(rows) == 24
    assert (rows["total_client_bytes"], rows["total_server_bytes"]) == (33, 4)
    assert (rows["total_ps_client_parse_count"], rows["avg_ps_bind_count"]) == (5, 0)
    names = list(rows)
    assert (names[0], names[12]) == ("total_server_assignment_count", "avg_server_assignment_count")


def test_config_has_every_setting_in_order(bench: Bench) -> None:
    rows = {row["key"]: row for row in bench.rows("SHOW CONFIG")}
    assert rows["default_pool_size"]["value"] == "7"
    assert rows["default_pool_size"]["default"] == "20"
    assert rows["default_pool_size"]["changeable"] == "yes"
    assert rows["listen_port"]["changeable"] == "no"
    assert list(rows) == sorted(rows)


def test_state(bench: Bench) -> None:
    assert bench.run("SHOW STATE").rows == [("active", "yes"), ("paused", "no"), ("suspended", "no")]


def test_version_is_what_tools_look_for(bench: Bench) -> None:
    assert bench.run("SHOW VERSION").rows == [("PgBouncer 1.25.2",)]


def test_memory(bench: Bench) -> None:
    assert bench.run("SHOW MEM").rows == [("client_rows", 256, 3, 97, 25600)]


def test_dns(bench: Bench) -> None:
    assert bench.run("SHOW DNS_HOSTS").rows == []
    assert bench.run("SHOW DNS_ZONES").rows == []
    bench.tables.host_rows = [
        {"name": "b.Example.org", "ttl_s": 9.9, "addresses": ["10.0.0.1", "::1"], "asking": True},
        {"name": "a", "ttl_s": 0.0, "addresses": [], "asking": False},
    ]
    bench.tables.zone_rows = [{"name": "example.org", "serial": 7, "asking": False}]
    assert bench.run("SHOW DNS_HOSTS").rows == [("a", 0, ""), ("b.Example.org", 9, "10.0.0.1,::1")]
    assert bench.run("SHOW DNS_ZONES").rows == [("example.org", 7, 1)]
    items = {row["list"]: row["items"] for row in bench.rows("SHOW LISTS")}
    assert [items[f"dns_{what}"] for what in ("names", "zones", "queries", "pending")] == [2, 1, 1, 0]


def test_fds_gives_nothing_away(bench: Bench) -> None:
    bench.tables.client_rows = [fakes.client(1)]
    result = bench.run("SHOW FDS")
    assert result.rows == ()
    assert len(result.notices) == 1
    with pytest.raises(CommandError, match=r"^admin access needed$"):
        bench.run("SHOW FDS", "stats")


def test_help_is_a_notice_and_names_every_command(bench: Bench) -> None:
    result = bench.run("SHOW HELP")
    assert (result.tag, result.columns, result.rows) == ("SHOW", None, ())
    (notice,) = result.notices
    assert notice.text == "Console usage"
    lines = (notice.detail or "").split("\n\t")
    assert lines[0] == ""
    assert "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS" in lines
    for line in ("SET key = arg", "PAUSE [<db>]", "KILL_CLIENT <client_id>", "SHUTDOWN WAIT_FOR_CLIENTS"):
        assert line in lines
    assert "TIMEZONE" not in (notice.detail or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "UTF-8"),
        ("default_transaction_isolation", "read committed"),
        ("standard_conforming_strings", "on"),
        ("datestyle", "ISO"),
        ("timezone", "GMT"),
        ("extra_float_digits", "2"),
    ],
)
def test_pretended_settings(bench: Bench, name: str, value: str) -> None:
    assert bench.rows(f"SHOW {name.upper()}") == [{name: value}]
