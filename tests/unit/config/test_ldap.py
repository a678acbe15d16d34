"""LDAP options: PgBouncer's and PostgreSQL's way to write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.config.ldap import LdapOptions, parse_ldap_options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'ldapserver=127.0.0.1 ldapport=1389 ldapprefix="uid=" ldapsuffix=",dc=example,dc=net"',
            LdapOptions(
                ldapserver="127.0.0.1", ldapport=1389, ldapprefix="uid=", ldapsuffix=",dc=example,dc=net"
            ),
        ),
        (
            'ldapserver="one two" ldapbasedn="dc=net" ldapbinddn="cn=a" ldapbindpasswd="p ""q""" ldaptls=1',
            LdapOptions(
                ldapserver="one two",
                ldapbasedn="dc=net",
                ldapbinddn="cn=a",
                ldapbindpasswd='p "q"',
                ldaptls=True,
            ),
        ),
        (
            'ldapurl="ldap://h:12345/dc=example,dc=net?uid?sub"',
            LdapOptions(
                ldapserver="h", ldapport=12345, ldapbasedn="dc=example,dc=net", ldapsearchattribute="uid"
            ),
        ),
        (
            'ldapurl="ldaps://h/dc=net??one?(|(uid=$username)(mail=$username))"',
            LdapOptions(
                ldapscheme="ldaps",
                ldapserver="h",
                ldapbasedn="dc=net",
                ldapscope="one",
                ldapsearchfilter="(|(uid=$username)(mail=$username))",
            ),
        ),
        (
            "ldapurl=ldap://h/ou=a%20b",
            LdapOptions(ldapserver="h", ldapbasedn="ou=a b", ldapscope="base"),
        ),
        (
            '"ldapport"=99 ldapserver=h ,ldapsearchfilter="uid=$username" ldapbasedn=x # comment',
            LdapOptions(ldapport=99, ldapserver="h", ldapsearchfilter="uid=$username", ldapbasedn="x"),
        ),
    ],
)
def test_options(text: str, expected: LdapOptions) -> None:
    assert parse_ldap_options(text) == expected


def test_hosts() -> None:
    assert LdapOptions(ldapserver="a  b", ldapport=7).hosts == ["a:7", "b:7"]
    assert LdapOptions(ldapserver="a").hosts == ["a:389"]
    assert LdapOptions(ldapscheme="ldaps", ldapserver="a").hosts == ["a:636"]
    assert LdapOptions().hosts == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "requires argument"),
        ("ldapserver=h", "requires argument"),
        ("ldapprefix=a ldapbasedn=b", "together with ldapprefix"),
        ("ldapbasedn=b ldapsearchattribute=a ldapsearchfilter=b", "cannot use ldapsearchattribute"),
        ("ldapprefix=a", "LDAP server not specified"),
        ("ldapserver=h ldapprefix=a ldapport=0", "invalid LDAP port number"),
        ("ldapserver=h ldapprefix=a ldapport=x", "invalid LDAP port number"),
        ("ldapscheme=http", "invalid ldapscheme value"),
        ("ldapurl=http://h/", "unsupported LDAP URL scheme"),
        ("ldapurl=ldap://h:x/", "could not parse LDAP URL"),
        ("ldapurl=ldap://h/b?a?everything", "could not parse LDAP URL"),
        ("radius=1", "invalid LDAP key parameter"),
        ("ldapserver", "expected key=value"),
        ("ldapserver= h", "expected key=value"),
        ('ldapserver="h', "expected key=value"),
    ],
)
def test_bad_options(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_ldap_options(text)


def test_password_is_not_shown() -> None:
    assert "hunter2" not in repr(LdapOptions(ldapbindpasswd="hunter2"))
    with pytest.raises(ValueError, match="character") as caught:
        parse_ldap_options('ldapbindpasswd="hunter2" "hunter2')
    assert "hunter2" not in str(caught.value)


PIECES = [
    "ldapurl=", "ldap://", "ldaps://h", ":x", ":70000", "[::1", "]", "/", "?", "uid", "sub", "%", "%zz",
    '"', "=", ",", " ", "ldapbasedn=", "ldapport=", "1", "#",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12))
def test_whatever_stands_there(pieces: list[str]) -> None:
    """Options, or a ValueError for the operator."""
    with contextlib.suppress(ValueError):
        assert parse_ldap_options("".join(pieces)).hosts is not None
