"""auth_hba_file: what its lines mean, which one decides, and that one bad line spoils no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pooler.config.hba import HbaRule, read_hba, rules_from_wire, rules_to_wire
from tests.support.hba_rules import (
    ADDRESSES,
    KINDS,
    NAMED,
    NAMES,
    REPLICATION,
    Client,
    address_of,
    find_rule,
    write_names,
)


def rules_of(folder: Path, text: str, ident: str = "") -> tuple[tuple[HbaRule, ...], list[str]]:
    """Rules of a file, and its warnings without the folder."""
    (folder / "hba").write_text(text)
    (folder / "ident").write_text(ident)
    rules, problems = read_hba(str(folder / "hba"), str(folder / "ident"))
    assert rules_from_wire(rules_to_wire(rules)) == rules
    return rules, [str(problem).replace(f"{folder}/", "") for problem in problems]


def method(rules: tuple[HbaRule, ...], address: str = "", **client: Any) -> str | None:
    """The method for a client, by default of user u on database d over a unix socket."""
    seen = {"database": "d", "user": "u", **client}
    rule = find_rule(rules, Client(address=address_of(address), **seen))
    return None if rule is None else rule.method


@pytest.fixture
def one(tmp_path: Path) -> Any:
    """one(line): the rules of a file with this line, which must be right."""

    def read(line: str, ident: str = "m root u\n") -> tuple[HbaRule, ...]:
        rules, problems = rules_of(tmp_path, line + "\n", ident)
        assert not problems
        return rules

    return read


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("trust", "trust"),
        ("reject", "reject"),
        ("md5", "md5"),
        ("password", "plain"),
        ("scram-sha-256", "scram-sha-256"),
        ("peer", "peer"),
        ("peer map=m", "peer"),
        ("cert map=m", "cert"),
        ("cert", "cert"),
        ("pam", "pam"),
        ("ldap ldapserver=h ldapprefix=cn=", "ldap"),
        ("trust # a comment", "trust"),
        ("trust#a comment", "trust"),
    ],
)
def test_methods(one: Any, word: str, expected: str) -> None:
    assert method(one(f"local all all {word}")) == expected


def test_first_match_decides(one: Any) -> None:
    rules = one("local all v reject\n\n# comment\n\tlocal\tall\tall\tmd5\nlocal all all trust")
    assert method(rules) == "md5"
    assert method(rules, user="v") == "reject"
    assert method(rules, "10.0.0.1") is None
    assert [rule.line for rule in rules] == [1, 4, 5]


@pytest.mark.parametrize(("kind", "unix", "plain", "tls"), KINDS)
def test_kinds(one: Any, kind: str, unix: bool, plain: bool, tls: bool) -> None:
    rules = one(f"{kind} all all {'' if kind == 'local' else 'all'} trust")
    assert (method(rules) is not None) == unix
    assert (method(rules, "::1") is not None) == plain
    assert (method(rules, "10.1.1.1", tls=True) is not None) == tls


@pytest.mark.parametrize(("address", "inside", "outside"), ADDRESSES)
def test_addresses(one: Any, address: str, inside: list[str], outside: list[str]) -> None:
    rules = one(f"host all all {address} trust")
    assert [text for text in inside if method(rules, text) is None] == []
    assert [text for text in outside if method(rules, text) is not None] == []


def test_names(one: Any, tmp_path: Path) -> None:
    write_names(tmp_path)
    rules = one(NAMES)
    assert [(name, user, method(rules, database=name, user=user)) for name, user, _ in NAMED] == NAMED


@pytest.mark.parametrize(("lines", "database", "physical", "expected"), REPLICATION)
def test_replication(one: Any, lines: str, database: str, physical: bool, expected: str | None) -> None:
    assert method(one(lines), database=database, physical_replication=physical) == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hosts all all all trust", "unknown type"),
        ('"host" all all all trust', "unknown type"),
        ("local", "expected a name of a database or user"),
        ("local all", "expected a name of a database or user"),
        ("local all, trust", "expected a name of a database or user"),
        ("local samerole all trust", "samerole is not supported"),
        ("local all +staff trust", "+staff is not supported"),
        ("local all @nowhere trust", "could not open "),
        ("local all @hba trust", "files of names are nested more than 10 deep"),
        ("local all all", "unsupported method: none"),
        ("local all all gss", "unsupported method: gss"),
        ("local all all any", "unsupported method: any"),
        ('local all all "trust"', "unsupported method: trust"),
        ("local all all trust now", "Ident map now is malformed. It is not in map=value format."),
        ("local all all peer map=none", "Ident map none is not found in ident config file"),
        ("local all all peer map=m map=m", "unsupported parameters"),
        ("local all all trust, md5", "unsupported parameters"),
        ("host all all trust", "failed to parse address - trust"),
        ("host all all samehost trust", "failed to parse address - samehost"),
        ("host all all example.com trust", "failed to parse address - example.com"),
        ('host all all "all" trust', "did not find address"),
        ("host all all", "did not find address"),
        ("host all all 10.0.0.0/33 trust", "invalid mask"),
        ("host all all 10.0.0.0/x trust", "invalid mask"),
        ("host all all 10.0.0.0/ trust", "invalid mask"),
        ("host all all ::/129 trust", "invalid mask"),
        ("host all all 10.0.0.0", "did not find mask"),
        ("host all all 10.0.0.0 ffff:: trust", "failed to parse mask: ffff::"),
        ("host all all 10.0.0.0 trust", "failed to parse mask: trust"),
        ('local "all all trust', "unterminated quote"),
        ('local all "all" "', "unterminated quote"),
        ("local all all tru\0st", "unsupported method: "),
    ],
)
def test_bad_line_is_named_and_left_out(tmp_path: Path, line: str, text: str) -> None:
    rules, problems = rules_of(tmp_path, f"local a all md5\n{line}\nlocal all all reject\n", "m root all\n")
    assert [rule.line for rule in rules] == [1, 3]
    assert len(problems) == 1
    assert problems[0].startswith(f"hba:2: warning: could not parse hba config line 2: {text}")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "hba").write_bytes(b"local all \xff md5\n\0\xfe\nlocal all all trust\n")
    rules, problems = read_hba(str(tmp_path / "hba"), None)
    assert [rule.line for rule in rules] == [1, 3]
    assert len(problems) == 1
    assert method(rules, user="\udcff") == "md5"


def test_address_outside_of_its_mask_fits_nobody(tmp_path: Path) -> None:
    rules, problems = rules_of(tmp_path, "host all all 10.0.0.1/8 trust\n")
    assert method(rules, "10.0.0.1") is None
    assert problems == [
        "hba:1: warning: hba line 1: address does not match mask: 10.0.0.1 / 255.0.0.0; nobody fits it"
    ]


def test_bad_ldap_options_keep_the_rule(tmp_path: Path) -> None:
    """Without it the next rule would decide, which may let in anybody."""
    rules, problems = rules_of(tmp_path, "local all all ldap ldapserver=h\nlocal all all trust\n")
    assert method(rules) == "ldap"
    assert "requires argument" in problems[0]


def test_files_of_names_that_name_each_other(tmp_path: Path) -> None:
    (tmp_path / "loop").write_text("@loop\n")
    rules, problems = rules_of(tmp_path, "local all @loop trust\n")
    assert rules == ()
    assert "nested more than 10 deep" in problems[0]


def test_missing_files(tmp_path: Path) -> None:
    rules, problems = read_hba(str(tmp_path / "hba"), str(tmp_path / "ident"))
    assert rules == ()
    assert [problem.severity for problem in problems] == ["error", "error"]


WORDS = [
    "local", "host", "hostssl", "all", "sameuser", "replication", "@hba", "+x", '"', '""', '"a b"', ",", "#",
    "10.0.0.0/8", "10.0.0.1", "255.0.0.0", "::/0", "fe80::1%x/64", "/", "trust", "ldap", "peer", "map=m",
    "ldapurl=ldap://[::1/x", "ldapport=1", "/(", "\\1", "\0", "\udcff", "x" * 300,
]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=7), max_size=6))
def test_whatever_stands_there(tmp_path: Path, lines: list[list[str]]) -> None:
    """Rules and warnings, never anything else; a line is a rule, a warning or neither."""
    text = "\n".join(" ".join(words) for words in lines)
    for name in ("hba", "ident"):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    rules, problems = read_hba(str(tmp_path / "hba"), str(tmp_path / "ident"))
    assert rules_from_wire(rules_to_wire(rules)) == rules
    assert {problem.severity for problem in problems} <= {"warning"}
    method(rules, "10.0.0.1")
    method(rules)
