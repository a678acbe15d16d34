"""What a reload changes: settings by class, databases by fate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pooler.config import Config, Database, Peer, Settings, UserOptions, diff

OLD = Config(
    path="p",
    databases={"a": Database("a", dbname="a", host="h"), "b": Database("b", dbname="b")},
    userlist={"u": "1", "v": "1"},
)


def test_nothing() -> None:
    changes = diff(OLD, replace(OLD))
    assert changes.empty
    assert (changes.settings, changes.restart_only, changes.databases_changed) == ({}, (), ())


def test_settings_by_class() -> None:
    changes = diff(OLD, replace(OLD, settings=Settings(listen_port=1, query_timeout=1.0, workers=2)))
    assert changes.settings == {"query_timeout": (0.0, 1.0)}
    assert changes.restart_only == ("listen_port", "workers")
    assert not changes.empty


@pytest.mark.parametrize(
    ("field", "value", "fate"),
    [
        ("dbname", "x", "changed"),
        ("host", "x", "changed"),
        ("port", 1, "changed"),
        ("user", "x", "changed"),
        ("connect_query", "x", "changed"),
        ("auth_dbname", "x", "changed"),
        ("auth_query", "x", "changed"),
        ("load_balance_hosts", "disable", "changed"),
        ("pool_size", 1, "kept"),
        ("password", "x", "kept"),
        ("pool_mode", "session", "kept"),
    ],
)
def test_changes_of_a_database(field: str, value: str | int, fate: str) -> None:
    changed: dict[str, object] = {field: value}
    new = replace(OLD, databases={**OLD.databases, "a": replace(OLD.databases["a"], **changed)})  # type: ignore[arg-type]
    changes = diff(OLD, new)
    assert changes.databases_changed == (("a",) if fate == "changed" else ())
    assert (changes.fate("a"), changes.fate("b")) == (fate, "kept")
    assert not changes.empty


def test_added_and_removed() -> None:
    new = replace(OLD, databases={"b": OLD.databases["b"], "c": Database("c", dbname="c")})
    changes = diff(OLD, new)
    assert (changes.databases_added, changes.databases_removed) == (("c",), ("a",))
    assert (changes.fate("a"), changes.fate("b"), changes.fate("c")) == ("removed", "kept", "kept")


def test_databases_made_from_the_auto_entry() -> None:
    old = replace(OLD, auto_database=Database("*", host="h"))
    elsewhere = diff(old, replace(old, auto_database=Database("*", host="i")))
    assert elsewhere.auto_database_changed
    assert (elsewhere.fate("x"), elsewhere.fate("a")) == ("changed", "kept")
    gone = diff(old, replace(old, auto_database=None))
    assert (gone.fate("x"), gone.fate("a")) == ("removed", "kept")


def test_an_entry_that_falls_back_to_the_auto_entry() -> None:
    auto = replace(OLD, auto_database=Database("*", host="h"))
    changes = diff(auto, replace(auto, databases={"b": OLD.databases["b"]}))
    assert changes.databases_removed == ("a",)
    assert changes.fate("a") == "kept"  # the same host, and the same name there


def test_users_secrets_and_peers() -> None:
    new = replace(
        OLD, users={"x": UserOptions("x")}, userlist={"u": "2", "w": "1"}, peers={1: Peer(1, host="h")}
    )
    changes = diff(OLD, new)
    assert changes.users_changed == ("x",)
    assert changes.secrets_changed == ("u", "w")
    assert changes.secrets_removed == ("v",)
    assert changes.peers_changed
