"""Which line of auth_hba_file decides, in the core's table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pooler.config import Config, Settings
from pooler.config.hba import read_hba
from pooler.core import LoginPolicy, _core
from pooler.worker.login_policy import login_policy
from tests.support.hba_rules import ADDRESSES, KINDS, NAMED, NAMES, REPLICATION, write_names

ReadRules = Callable[[str], LoginPolicy]


@pytest.fixture
def table(tmp_path: Path) -> ReadRules:
    """table(lines): the policy that has these, which must be right."""

    def read(lines: str) -> LoginPolicy:
        (tmp_path / "hba").write_text(lines + "\n")
        (tmp_path / "ident").write_text("m root u\n")
        rules, problems = read_hba(str(tmp_path / "hba"), str(tmp_path / "ident"))
        assert not problems
        return login_policy(Config("p.ini", Settings(auth_type="hba"), hba=rules), None, (1, 2))

    return read


def method(
    policy: LoginPolicy,
    address: str = "",
    *,
    database: str = "d",
    user: str = "u",
    tls: bool = False,
    physical_replication: bool = False,
) -> str | None:
    """The method for a client, by default of user u on database d over a unix socket."""
    where = address.encode() or None
    found = _core.login_rule(policy, database.encode(), user.encode(), where, tls, physical_replication)
    return None if found is None else found[2]


@pytest.mark.parametrize(
    ("word", "expected", "mapped"),
    [
        ("trust", "trust", False),
        ("reject", "reject", False),
        ("md5", "md5", False),
        ("password", "plain", False),
        ("scram-sha-256", "scram-sha-256", False),
        ("peer", "peer", False),
        ("peer map=m", "peer", True),
        ("cert map=m", "cert", True),
        ("cert", "cert", False),
        ("pam", "pam", False),
        ("ldap ldapserver=h ldapprefix=cn=", "ldap", False),
    ],
)
def test_methods(table: ReadRules, word: str, expected: str, mapped: bool) -> None:
    found = _core.login_rule(table(f"# a comment\nlocal all all {word}"), b"d", b"u", None)
    assert found == (2, 0, expected, mapped)


def test_a_method_that_is_none_lets_in_nobody() -> None:
    policy = LoginPolicy((1, 2))
    policy.add_rule(
        "local", "gss", line=1, number=0, mapped=False,
        database_words=["all"], databases=[], user_words=["all"], users=[],
    )  # fmt: skip
    assert method(policy) == "unknown"


def test_first_match_decides(table: ReadRules) -> None:
    policy = table("local all v reject\n\n# comment\n\tlocal\tall\tall\tmd5\nlocal all all trust")
    assert _core.login_rule(policy, b"d", b"u", None) == (4, 1, "md5", False)
    assert _core.login_rule(policy, b"d", b"v", None) == (1, 0, "reject", False)
    assert method(policy, "10.0.0.1") is None


@pytest.mark.parametrize(("kind", "unix", "plain", "tls"), KINDS)
def test_kinds(table: ReadRules, kind: str, unix: bool, plain: bool, tls: bool) -> None:
    policy = table(f"{kind} all all {'' if kind == 'local' else 'all'} trust")
    assert (method(policy) is not None) == unix
    assert (method(policy, tls=True) is not None) == unix
    assert (method(policy, "::1") is not None) == plain
    assert (method(policy, "10.1.1.1", tls=True) is not None) == tls


@pytest.mark.parametrize(("address", "inside", "outside"), ADDRESSES)
def test_addresses(table: ReadRules, address: str, inside: list[str], outside: list[str]) -> None:
    policy = table(f"host all all {address} trust")
    assert [text for text in inside if method(policy, text) is None] == []
    assert [text for text in outside if method(policy, text) is not None] == []


def test_address_outside_of_its_mask_fits_no_client() -> None:
    policy = LoginPolicy((1, 2))
    policy.add_rule(
        "host", "trust", line=1, number=0, mapped=False,
        database_words=["all"], databases=[], user_words=["all"], users=[],
        network=(4, b"\x0a\0\0\1", b"\xff\0\0\0"),
    )  # fmt: skip
    assert method(policy, "10.0.0.1") is None


@pytest.mark.parametrize("network", [(4, b"1234", b"12345"), (6, b"1234", b"1234"), (5, b"1234", b"1234")])
def test_a_network_has_its_bytes(network: tuple[int, bytes, bytes]) -> None:
    policy = LoginPolicy((1, 2))
    with pytest.raises(ValueError, match="no network"):
        policy.add_rule(
            "host", "trust", line=1, number=0, mapped=False,
            database_words=["all"], databases=[], user_words=["all"], users=[], network=network,
        )  # fmt: skip
    assert method(policy, "10.0.0.1") is None


def test_names(table: ReadRules, tmp_path: Path) -> None:
    write_names(tmp_path)
    policy = table(NAMES)
    assert [(name, user, method(policy, database=name, user=user)) for name, user, _ in NAMED] == NAMED


def test_a_name_with_a_nul_is_not_its_beginning() -> None:
    policy = LoginPolicy((1, 2))
    policy.add_rule(
        "local", "trust", line=1, number=0, mapped=False,
        database_words=["all"], databases=[], user_words=[], users=["u\0v"],
    )  # fmt: skip
    assert method(policy) is None


@pytest.mark.parametrize(("lines", "database", "physical", "expected"), REPLICATION)
def test_replication(
    table: ReadRules, lines: str, database: str, physical: bool, expected: str | None
) -> None:
    assert method(table(lines), database=database, physical_replication=physical) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4", (4, b"\1\2\3\4")),
        ("::ffff:1.2.3.4", (4, b"\1\2\3\4")),
        ("::ffff:102:304", (4, b"\1\2\3\4")),
        ("::1.2.3.4", (6, bytes(12) + b"\1\2\3\4")),
        ("::1", (6, bytes(15) + b"\1")),
        ("fe80::1%eth0", (6, b"\xfe\x80" + bytes(13) + b"\1")),
        ("::ffff:1.2.3.4%eth0", (4, b"\1\2\3\4")),
        ("1:2:3:4:5:6:7::", (6, b"\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0\0")),
        ("", None),
        ("%eth0", None),
        ("localhost", None),
        ("1.2.3", None),
        ("01.2.3.4", None),
        ("1.2.3.4 ", None),
        ("1" * 200, None),
        ("::1%" + "x" * 200, (6, bytes(15) + b"\1")),
    ],
)
def test_addresses_of_sockets(text: str, expected: tuple[int, bytes] | None) -> None:
    assert _core.login_address(text.encode()) == expected
