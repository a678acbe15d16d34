"""Effective values, look-up of databases, SET, and the way over the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pooler.config import Config, Database, Peer, Settings, UserOptions, config_rows
from pooler.config.hba import HbaRule, Names
from pooler.config.ident import Identity, IdentMap
from pooler.errors import ConfigError

CONFIG = Config(
    path="p.ini",
    settings=Settings(default_pool_size=20, query_wait_timeout=120.0, max_db_connections=7),
    databases={
        "shop": Database("shop", dbname="shop", pool_size=5, pool_mode="statement", query_wait_timeout=9.0)
    },
    users={"batch": UserOptions("batch", pool_size=0, pool_mode="session", query_timeout=3.0)},
)
SHOP = CONFIG.databases["shop"]


def test_global_values() -> None:
    limits = CONFIG.pool_limits(Database("x"), "anybody")
    assert (limits.pool_mode, limits.pool_size, limits.min_pool_size) == ("session", 20, 0)
    assert (limits.query_wait_timeout, limits.max_db_connections, limits.reserve_pool_timeout) == (
        120.0,
        7,
        5.0,
    )
    assert limits.server_lifetime == 3600.0


def test_database_counts_more_than_global() -> None:
    limits = CONFIG.pool_limits(SHOP, "anybody")
    assert (limits.pool_mode, limits.pool_size, limits.query_wait_timeout) == ("statement", 5, 9.0)


def test_user_counts_more_than_database() -> None:
    limits = CONFIG.pool_limits(SHOP, "batch")
    assert (limits.pool_mode, limits.pool_size, limits.query_timeout) == ("session", 0, 3.0)
    assert limits.query_wait_timeout == 9.0


def test_every_limit_can_be_overridden_where_pgbouncer_says_so() -> None:
    database = Database(
        "d",
        min_pool_size=1,
        reserve_pool_size=2,
        max_db_connections=3,
        max_db_client_connections=4,
        server_lifetime=5.0,
    )
    user = UserOptions(
        "u", max_user_connections=6, max_user_client_connections=7, idle_transaction_timeout=8.0,
        transaction_timeout=9.0, client_idle_timeout=10.0, reserve_pool_size=11,
    )  # fmt: skip
    limits = replace(CONFIG, users={"u": user}).pool_limits(database, "u")
    assert (limits.min_pool_size, limits.max_db_connections, limits.max_db_client_connections) == (1, 3, 4)
    assert (limits.server_lifetime, limits.max_user_connections, limits.max_user_client_connections) == (
        5.0,
        6,
        7,
    )
    assert (limits.idle_transaction_timeout, limits.transaction_timeout, limits.client_idle_timeout) == (
        8,
        9,
        10,
    )
    assert limits.reserve_pool_size == 11


def test_find_database() -> None:
    assert CONFIG.find_database("shop") is SHOP
    assert CONFIG.find_database("other") is None


def test_auto_database_takes_the_name_asked_for() -> None:
    config = replace(CONFIG, auto_database=Database("*", host="db1", pool_size=3))
    found = config.find_database("other")
    assert found == Database("other", dbname="other", host="db1", pool_size=3)
    assert config.find_database("shop") is SHOP


def test_auto_database_with_a_dbname() -> None:
    config = replace(CONFIG, auto_database=Database("*", dbname="real"))
    assert config.find_database("other") == Database("other", dbname="real")


@pytest.mark.parametrize("name", ["pgbouncer", "pooler", "", "x" * 64, "é" * 32])
def test_what_the_auto_database_does_not_stand_for(name: str) -> None:
    assert replace(CONFIG, auto_database=Database("*")).find_database(name) is None


def test_longest_name_of_an_auto_database() -> None:
    assert replace(CONFIG, auto_database=Database("*")).find_database("x" * 63) is not None


def test_hosts_and_startup_parameters() -> None:
    assert Database("d").hosts == ()
    assert Database("d", host="a, /run/pg,@b").hosts == ("a", "/run/pg", "@b")
    database = Database("d", timezone="UTC", client_encoding="UTF8", application_name="")
    assert database.startup_parameters == {
        "client_encoding": "UTF8",
        "timezone": "UTC",
        "application_name": "",
    }


def test_passwords_are_not_in_repr() -> None:
    config = replace(
        CONFIG,
        settings=Settings(auth_ldap_options="ldapbindpasswd=hunter2"),
        databases={"d": Database("d", password="hunter2")},
        userlist={"u": "hunter2"},
    )
    assert "hunter2" not in repr(config)


def test_set() -> None:
    changed = CONFIG.with_overrides({"query_timeout": "2.5", "admin_users": "a,b"})
    assert (changed.settings.query_timeout, changed.settings.admin_users) == (2.5, ("a", "b"))
    assert changed.databases is CONFIG.databases
    assert changed.problems == ()
    assert CONFIG.settings.query_timeout == 0.0


def test_set_of_what_needs_a_restart_is_ignored_with_a_warning() -> None:
    changed = CONFIG.with_overrides({"listen_port": "1"})
    assert changed.settings.listen_port == 6432
    assert [(p.text, p.severity) for p in changed.problems] == [
        ("listen_port needs a restart, not changed", "warning")
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nonsense", "1"),
        ("max_client_conn", "many"),
        ("listen_port", "x"),
        ("auth_type", "kerberos"),
        ("client_tls_sslmode", "sometimes"),
        ("auth_dbname", "pgbouncer"),
    ],
)
def test_failed_set(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CONFIG.with_overrides({"query_timeout": "1", name: text})
    assert any(name in problem.text for problem in caught.value.problems)


def test_set_warns_only_about_what_it_changes() -> None:
    strange = replace(CONFIG, settings=replace(CONFIG.settings, auth_type="ldap"))
    assert strange.with_overrides({"query_timeout": "1"}).problems == ()
    (warned,) = strange.with_overrides({"auth_type": "ldap"}).problems
    assert warned.text.startswith("auth_ldap_options: ")


EVERYBODY = Names(frozenset({"all"}), frozenset())
RULES = (
    HbaRule(1, "local", EVERYBODY, EVERYBODY, "", "", "peer", IdentMap("m", (Identity("/^(.*)$", "\\1"),))),
    HbaRule(2, "host", EVERYBODY, Names(frozenset(), frozenset({"\udcff"})), "::", "::", "ldap", None, "a=b"),
)


def test_wire() -> None:
    config = replace(
        CONFIG,
        path="\udcff.ini",
        settings=Settings(
            admin_users=("a", "\udcfe"), workers=2, auth_file="u", log_stats=False, query_timeout=0.5
        ),
        databases={"d\udcff": Database("d\udcff", host="h", password="p", server_lifetime=1.0)},
        auto_database=Database("*", pool_mode="session"),
        peers={1: Peer(1, host="h", pool_size=3)},
        userlist={"u\udcff": "s"},
        hba=RULES,
    )
    wire = config.to_wire()
    assert Config.from_wire(wire) == config
    assert _plain(wire)


def _plain(value: object) -> bool:
    """Only what every serializer knows, and text only as keys."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and key.isascii() and _plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, (int, float, bytes))


def test_wire_by_msgpack() -> None:
    msgpack = pytest.importorskip("msgpack")
    assert Config.from_wire(msgpack.unpackb(msgpack.packb(CONFIG.to_wire()))) == CONFIG


def test_config_rows() -> None:
    assert ("default_pool_size", "20", "20", "yes") in config_rows(CONFIG)
