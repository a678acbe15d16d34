"""auth_hba_file: by which way who may log in to what from where. The core looks for the rule that decides.

    local     DATABASE  USER            METHOD  [map=NAME]
    host      DATABASE  USER  ADDRESS   METHOD  [map=NAME]      hostssl: with TLS only; hostnossl: without

The format is PgBouncer's, which knows less than PostgreSQL's pg_hba.conf: no groups, no names of hosts. A
line that cannot be read is left out with a warning that names it, and the rest of the file counts.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pooler.config.hba_tokens import Word, Words, lines_of
from pooler.config.ident import IdentMap, read_ident
from pooler.config.ldap import parse_ldap_options
from pooler.errors import Problem

KINDS = ("local", "host", "hostssl", "hostnossl")

#: Methods by the words of the file; `pam` is pooler's own, PgBouncer knows it as auth_type only.
METHODS = {
    "trust": "trust",
    "reject": "reject",
    "md5": "md5",
    "password": "plain",
    "scram-sha-256": "scram-sha-256",
    "peer": "peer",
    "cert": "cert",
    "ldap": "ldap",
    "pam": "pam",
}

#: Words that stand for more than one name, unless they are quoted.
KEYWORDS = ("all", "sameuser", "replication")
#: How it is told, before its number, that a line is left out.
UNREADABLE = "could not parse hba config line"
NOT_SUPPORTED = ("samerole", "samegroup")

#: Files of names may name others.
NAME_FILE_LEVELS_MAX = 10

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Names:
    """Databases or users that a rule is for."""

    keywords: frozenset[str]
    names: frozenset[str]


@dataclass(frozen=True)
class HbaRule:
    """One line."""

    line: int
    kind: str
    databases: Names
    users: Names
    address: str  # empty: all
    mask: str
    method: str
    map: IdentMap | None = None
    options: str = field(default="", repr=False)  # of the method ldap: may hold a password

    @cached_property
    def network(self) -> tuple[int, int, int] | None:
        """Version, address and mask as numbers; None: all."""
        if not self.address:
            return None
        address = ipaddress.ip_address(self.address)
        return address.version, int(address), int(ipaddress.ip_address(self.mask))


# -- reading -------------------------------------------------------------------------------------------------


def read_hba(path: str, ident_path: str | None) -> tuple[tuple[HbaRule, ...], list[Problem]]:
    """The rules of a file. Lines left out are warnings; that a file cannot be read at all is an error."""
    maps, problems = ({}, []) if ident_path is None else read_ident(ident_path)
    try:
        lines = lines_of(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return (), [*problems, Problem(path, 0, f"could not open hba config file {path}: {reason}")]
    rules: list[HbaRule] = []
    for number, line in enumerate(lines, 1):
        reader = _Reader(path, number, maps)
        try:
            rule = reader.read(line)
        except ValueError as error:
            text = f"{UNREADABLE} {number}: {error}"
            problems.append(Problem(path, number, text, "warning"))
            continue
        for text in reader.remarks:
            problems.append(Problem(path, number, f"hba line {number}: {text}", "warning"))
        if rule is not None:
            rules.append(rule)
    return tuple(rules), problems


class _Reader:
    """Reads one line; a ValueError says what is wrong with it."""

    def __init__(self, path: str, line: int, maps: Mapping[str, IdentMap]) -> None:
        self.path = path
        self.line = line
        self.maps = maps
        self.remarks: list[str] = []

    def read(self, line: str) -> HbaRule | None:
        words = Words(line)
        if words.next is None:
            return None
        kind = words.take()
        if kind is None or kind.quoted or kind.text not in KINDS:
            raise ValueError("unknown type")
        databases = self._names(words, self.path, 0)
        users = self._names(words, self.path, 0)
        address, mask = ("", "") if kind.text == "local" else self._address(words)
        word = words.take()
        method = METHODS.get(word.text) if word is not None and not word.quoted else None
        if word is None or method is None:
            raise ValueError(f"unsupported method: {_shown(word)}")
        options = words.take_rest(word) if method == "ldap" else ""
        identities = self._map(words)
        if words.next is not None:
            raise ValueError("unsupported parameters")
        if method == "ldap":
            self._check_ldap(options)
        return HbaRule(self.line, kind.text, databases, users, address, mask, method, identities, options)

    def _names(self, words: Words, path: str, level: int) -> Names:
        keywords: set[str] = set()
        names: set[str] = set()
        while True:
            word = words.take()
            if word is None:
                raise ValueError("expected a name of a database or user")
            self._name(word, path, level, keywords, names)
            if not words.take_comma():
                return Names(frozenset(keywords), frozenset(names))

    def _name(self, word: Word, path: str, level: int, keywords: set[str], names: set[str]) -> None:
        if word.quoted:
            names.add(word.text)
        elif word.text in KEYWORDS:
            keywords.add(word.text)
        elif word.text in NOT_SUPPORTED or word.text.startswith("+"):
            raise ValueError(f"{word.text} is not supported")
        elif word.text.startswith("@"):
            found = self._name_file(os.path.join(os.path.dirname(path), word.text[1:]), level + 1)
            keywords |= found.keywords
            names |= found.names
        else:
            names.add(word.text)

    def _name_file(self, path: str, level: int) -> Names:
        """The names in a file of its own: like those of a rule, on any number of lines."""
        if level > NAME_FILE_LEVELS_MAX:
            raise ValueError(f"files of names are nested more than {NAME_FILE_LEVELS_MAX} deep")
        try:
            lines = lines_of(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"could not open {path}: {getattr(error, 'strerror', None) or error}") from None
        keywords: frozenset[str] = frozenset()
        names: frozenset[str] = frozenset()
        for line in lines:
            words = Words(line)
            while words.next is not None:
                found = self._names(words, path, level)
                keywords |= found.keywords
                names |= found.names
        return Names(keywords, names)

    def _address(self, words: Words) -> tuple[str, str]:
        word = words.take()
        if word is None or word.quoted:
            raise ValueError("did not find address")
        if word.text == "all":
            return "", ""
        text, slash, bits = word.text.partition("/")
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f"failed to parse address - {text}") from None
        if slash:
            if not bits.isascii() or not bits.isdigit() or int(bits[:4]) > address.max_prefixlen:
                raise ValueError("invalid mask")
            mask = ipaddress.ip_network(f"{address}/{bits}", strict=False).netmask
        else:
            mask = _mask(words.take(), address)
        if int(address) & ~int(mask):
            self.remarks.append(f"address does not match mask: {address} / {mask}; nobody fits it")
        return str(address), str(mask)

    def _map(self, words: Words) -> IdentMap | None:
        word = words.take()
        if word is None:
            return None
        key, equals, name = word.text.partition("=")
        if word.quoted or key != "map" or not equals:
            raise ValueError(f"Ident map {word.text} is malformed. It is not in map=value format.")
        if name not in self.maps:
            raise ValueError(f"Ident map {name} is not found in ident config file")
        return self.maps[name]

    def _check_ldap(self, options: str) -> None:
        """Bad options leave the rule in force, to let no client in: the next one might let in any."""
        try:
            parse_ldap_options(options)
        except ValueError as error:
            self.remarks.append(f"{error}; this rule lets in nobody")


def _mask(word: Word | None, address: Address) -> Address:
    if word is None or word.quoted:
        raise ValueError("did not find mask")
    try:
        mask = ipaddress.ip_address(word.text)
    except ValueError:
        mask = None
    if mask is None or mask.version != address.version:
        raise ValueError(f"failed to parse mask: {word.text}")
    return mask


def _shown(word: Word | None) -> str:
    return "none" if word is None else word.text[:40]


# -- between our processes -----------------------------------------------------------------------------------


def rules_to_wire(rules: Iterable[HbaRule]) -> list[Any]:
    """Lists, numbers and bytes."""
    return [
        [
            rule.line,
            _pack([rule.kind, rule.address, rule.mask, rule.method, rule.options]),
            *(_pack(sorted(names.keywords)) for names in (rule.databases, rule.users)),
            *(_pack(sorted(names.names)) for names in (rule.databases, rule.users)),
            None if rule.map is None else _pack(rule.map.to_wire()),
        ]
        for rule in rules
    ]


def rules_from_wire(wire: Iterable[Any]) -> tuple[HbaRule, ...]:
    """The rules that `rules_to_wire` described."""
    rules = []
    for line, texts, database_words, user_words, databases, users, identities in wire:
        kind, address, mask, method, options = _unpack(texts)
        rules.append(
            HbaRule(
                line,
                kind,
                Names(frozenset(_unpack(database_words)), frozenset(_unpack(databases))),
                Names(frozenset(_unpack(user_words)), frozenset(_unpack(users))),
                address,
                mask,
                method,
                None if identities is None else IdentMap.from_wire(_unpack(identities)),
                options,
            )
        )
    return tuple(rules)


def _pack(texts: Iterable[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def _unpack(wire: Iterable[bytes]) -> list[str]:
    return [raw.decode("utf-8", "surrogateescape") for raw in wire]
