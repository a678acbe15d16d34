"""What the configuration says of logins, as the core has it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.config import Config, Database, Settings, UserOptions
from pooler.config.hba import HbaRule, Names
from pooler.config.ident import IdentMap
from pooler.config.tls import TlsSetup, TlsSide
from pooler.core import LoginPolicy, TlsContext, _core
from pooler.protocol import messages
from pooler.worker.login_policy import login_policy

KEY = (11, 12)


def policy_of(config: Config, tls: TlsContext | None = None) -> LoginPolicy:
    return login_policy(config, tls, KEY)


def made(**parts: Any) -> LoginPolicy:
    given_settings = {name: parts.pop(name) for name in list(parts) if name in Settings.__dataclass_fields__}
    return policy_of(Config("p.ini", Settings(**given_settings), **parts))


def test_settings() -> None:
    found = _core.login_settings(
        made(
            auth_type="scram-sha-256",
            auth_user="asker",
            log_connections=False,
            log_disconnections=True,
            log_pooler_errors=False,
            verbose=2,
            application_name_add_host=True,
            scram_iterations=1234,
            max_unauthenticated=5,
            max_silent_per_address=6,
            client_login_timeout=1.5,
            listen_port=7777,
            ignore_startup_parameters=("Extra_Float_Digits", "options"),
            login_notify_message="wëlcome",
        )
    )
    assert found == {
        "auth_type": "scram-sha-256", "auth_user": True, "tls_required": False, "log_connections": False,
        "log_disconnections": True, "log_pooler_errors": False, "verbose": True, "add_host": True,
        "has_automatic": False, "scram_iterations": 1234, "max_unauthenticated": 5,
        "max_silent_per_address": 6, "login_timeout_us": 1_500_000, "listen_port": 7777,
        "own_uid": os.getuid(), "ignored": {b"extra_float_digits", b"options"}, "tls": False,
        "notice": messages.notice("wëlcome"), "rules": 0, "serial": 0,
    }  # fmt: skip


def test_settings_that_nobody_has_set() -> None:
    found = _core.login_settings(made())
    assert (found["auth_type"], found["auth_user"], found["notice"]) == ("md5", False, b"")
    assert found["login_timeout_us"] == 60_000_000
    assert _core.login_settings(made(client_login_timeout=0.0))["login_timeout_us"] == 0


@pytest.mark.parametrize(
    "word", ["any", "trust", "plain", "md5", "cert", "hba", "ldap", "pam", "scram-sha-256"]
)
def test_auth_types(word: str) -> None:
    assert _core.login_settings(made(auth_type=word))["auth_type"] == word


def test_an_auth_type_that_cannot_be() -> None:
    assert _core.login_settings(LoginPolicy(KEY, auth_type="kerberos"))["auth_type"] == "unknown"


@pytest.mark.parametrize(("mode", "required"), [("disable", False), ("prefer", False), ("require", True),
                                                ("verify-full", True)])  # fmt: skip
def test_tls_required(mode: str, required: bool) -> None:
    found = _core.login_settings(made(tls=TlsSetup(client=TlsSide(mode=mode))))
    assert found["tls_required"] == required


def test_tls_is_kept() -> None:
    """With a reference of its own: the context may go before, and may be replaced."""
    context = TlsContext(server=False)
    policy = policy_of(Config("p.ini"), context)
    del context
    assert _core.login_settings(policy)["tls"]
    policy.set_tls(TlsContext(server=False))
    assert _core.login_settings(policy)["tls"]
    policy.set_tls(None)
    assert not _core.login_settings(policy)["tls"]


def test_secrets() -> None:
    md5 = "md5" + "0" * 32
    policy = made(
        userlist={"a": "clear", "b": "\u00aasoft\u00adhyphen", "c": md5, "d": "", "\udcff": "\udcfe"}
    )
    assert _core.login_secret(policy, b"a") == (b"clear", b"clear")
    assert _core.login_secret(policy, b"b") == ("\u00aasoft\u00adhyphen".encode(), b"asofthyphen")
    found = _core.login_secret(policy, b"c")
    assert found is not None
    assert found[0] == md5.encode()
    assert _core.login_secret(policy, b"d") == (b"", b"")
    assert _core.login_secret(policy, b"\xff") == (b"\xfe", b"\xfe")
    assert _core.login_secret(policy, b"e") is None


def test_the_later_entry_counts() -> None:
    policy = LoginPolicy(KEY)
    policy.add_secret("a", b"one", b"one")
    policy.add_secret("a", b"two", b"two")
    assert _core.login_secret(policy, b"a") == (b"two", b"two")
    for user in (None, "x"):
        policy.add_database("d", user=user, auth_user=False, follows=False)
    assert _core.login_find(policy, b"d") == (b"x", False, False)
    policy.add_user("x", follows=False)
    policy.add_user("x", follows=True)
    assert _core.login_follows(policy, b"d", b"u")


def test_a_name_with_a_nul_is_not_its_beginning() -> None:
    policy = LoginPolicy(KEY)
    policy.add_secret("a\0b", b"one", b"one")
    policy.add_database("d\0e", user=None, auth_user=False, follows=False)
    policy.add_user("a\0b", follows=False)
    assert _core.login_secret(policy, b"a") is None
    assert _core.login_find(policy, b"d") is None


@pytest.mark.parametrize("user", ["u" * 128, "a\0b"])
def test_a_forced_user_that_is_none(user: str) -> None:
    policy = LoginPolicy(KEY)
    with pytest.raises(ValueError, match="no name of a user"):
        policy.add_database("d", user=user, auth_user=False, follows=False)
    with pytest.raises(ValueError, match="no name of a user"):
        policy.set_automatic(user=user, auth_user=False, follows=False)
    assert _core.login_find(policy, b"d") is None


def test_databases() -> None:
    rows = (
        Database("plain"),
        Database("forced", user="f" * 127),
        Database("asked", auth_user="x"),
        Database("kept", session_state="off"),
    )
    policy = made(databases={row.name: row for row in rows}, session_state="auto")
    assert _core.login_find(policy, b"plain") == (None, False, True)
    assert _core.login_find(policy, b"forced") == (b"f" * 127, False, True)
    assert _core.login_find(policy, b"asked") == (None, True, True)
    assert _core.login_find(policy, b"kept") == (None, False, False)
    for name in (b"other", b"", b"pgbouncer"):
        assert _core.login_find(policy, name) is None


def test_automatic_database() -> None:
    policy = made(auto_database=Database("*", user="f", auth_user="x", session_state="off"))
    assert _core.login_find(policy, b"d" * 63) == (b"f", True, False)
    for name in (b"", b"d" * 64, b"pgbouncer", b"pooler"):
        assert _core.login_find(policy, name) is None


def test_consoles() -> None:
    policy = made()
    assert [_core.login_is_console(policy, name) for name in (b"pgbouncer", b"pooler", b"x", b"")] == [
        True,
        True,
        False,
        False,
    ]


STATES = st.sampled_from([None, "off", "auto", "error", "strict"])


@settings(max_examples=200, deadline=None)
@given(globally=STATES.filter(bool), of_database=STATES, of_client=STATES, of_forced=STATES,
       forced=st.sampled_from([None, "", "f"]), automatic=st.booleans(),
       name=st.sampled_from(["d", "pooler", ""]))  # fmt: skip
def test_follows_as_pools_do(
    globally: str,
    of_database: str | None,
    of_client: str | None,
    of_forced: str | None,
    forced: str | None,
    automatic: bool,
    name: str,
) -> None:
    """User before database before global; of a database that forces a user, that one."""
    row = Database("*" if automatic else "d", user=forced, session_state=of_database)
    config = Config(
        "p.ini",
        Settings(session_state=globally),
        databases={} if automatic else {"d": row},
        auto_database=row if automatic else None,
        users={
            "u": UserOptions("u", session_state=of_client),
            "f": UserOptions("f", session_state=of_forced),
        },
    )
    found = config.find_database(name)
    expected = found is not None and config.pool_limits(found, found.user or "u").session_state != "off"
    policy = policy_of(config)
    assert _core.login_follows(policy, name.encode(), b"u") == expected
    known = _core.login_find(policy, name.encode())
    assert (known is None) == (found is None)
    if found is not None and known is not None:
        assert known[0] == (None if found.user is None else found.user.encode())


def test_rules() -> None:
    everybody = Names(frozenset({"all"}), frozenset())
    rules = (
        HbaRule(
            3, "host", everybody, Names(frozenset(), frozenset({"x"})), "10.0.0.0", "255.0.0.0", "reject"
        ),
        HbaRule(5, "local", everybody, everybody, "", "", "peer", IdentMap("m", ())),
        HbaRule(8, "hostssl", everybody, everybody, "fe80::", "ffc0::", "cert"),
    )
    policy = made(auth_type="hba", hba=rules)
    assert _core.login_settings(policy)["rules"] == 3
    assert _core.login_rule(policy, b"d", b"x", b"10.255.0.1") == (3, 0, "reject", False)
    assert _core.login_rule(policy, b"d", b"y", b"10.255.0.1") is None
    assert _core.login_rule(policy, b"d", b"y", None) == (5, 1, "peer", True)
    assert _core.login_rule(policy, b"d", b"y", b"fe80::1", True) == (8, 2, "cert", False)


def test_derived_keys_stay_for_secrets_that_are_the_same() -> None:
    old = made(userlist={"a": "same", "b": "changed", "c": "gone", "d": "none derived"})
    for number, user in enumerate((b"a", b"b", b"c"), 1):
        _core.login_mark_derived(old, user, number)
    new = made(userlist={"a": "same", "b": "changes", "d": "none derived", "e": "same"})
    assert _core.login_inherit(new, old) == 1
    assert _core.login_derived(new) == {b"a": (1, b"\1\1\1\1")}
    assert _core.login_inherit(new, old) == 1


def test_keys_are_kept_for_so_many() -> None:
    users = {f"u{number}": "same" for number in range(_core.DERIVED_LIMIT + 20)}
    old, new = made(userlist=users), made(userlist=users)
    for user in users:
        _core.login_mark_derived(old, user.encode(), 4096)
    assert _core.login_inherit(new, old) == _core.DERIVED_LIMIT
    assert len(_core.login_derived(new)) == _core.DERIVED_LIMIT
