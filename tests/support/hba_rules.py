"""The rule of auth_hba_file that decides, found in Python: core/login/rules.c is compared with it. Lines that
both are tried with, and the clients that they are for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pooler.config.hba import Address, HbaRule, Names

#: Kinds of lines, and whether they are for a unix socket, for plain TCP, for TLS.
KINDS = [
    ("local", True, False, False),
    ("host", False, True, True),
    ("hostssl", False, False, True),
    ("hostnossl", False, True, False),
]

#: Addresses in lines; those of clients that are inside, and outside ("": a unix socket).
ADDRESSES = [
    ("10.1.0.0/16", ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"], ["10.2.0.0", "::1", ""]),
    ("10.1.0.0 255.255.0.0", ["10.1.7.7"], ["10.2.0.0"]),
    ("10.0.0.1 255.0.0.255", ["10.9.9.1"], ["10.9.9.2"]),
    ("127.0.0.1/32", ["127.0.0.1"], ["127.0.0.2"]),
    ("0.0.0.0/0", ["1.2.3.4"], ["::1", "fe80::1%eth0"]),
    ("::/0", ["::1", "fe80::1%eth0"], ["1.2.3.4", "::ffff:1.2.3.4"]),
    ("fe80::/10", ["fe80::1", "febf::1%2"], ["fec0::1"]),
    ("::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ["::1"], ["::2"]),
    ("all", ["::1", "1.2.3.4"], [""]),
]

#: Lines with names, some of them in files of `write_names`; which method databases and users have by them.
NAMES = 'local d,"my ""db""",sameuser all,x md5\nlocal e @sub/more trust\nlocal "all" all reject'
NAMED = [
    ("d", "u", "md5"),
    ('my "db"', "u", "md5"),
    ("u", "u", "md5"),
    ("v", "u", None),
    ("e", "u", None),
    ("e", "anna", "trust"),
    ("e", "berta", "trust"),
    ("e", "all", "trust"),
    ("all", "u", "reject"),
]

#: Lines, the database and whether physical replication is asked for, and the method: that needs the keyword,
#: and logical replication is a connection to a database.
BOTH = 'local all all md5\nlocal "replication" all trust\nlocal replication all reject'
REPLICATION = [
    (BOTH, "d", True, "reject"),
    (BOTH, "replication", False, "md5"),
    ("local replication all trust", "d", False, None),
    ("local all all trust", "d", True, None),
]


def write_names(folder: Path) -> None:
    """The files that NAMES has names in."""
    (folder / "sub").mkdir()
    (folder / "sub" / "more").write_text("# people\n\nanna, berta\n@deeper\n")
    (folder / "sub" / "deeper").write_text('"all"\n')


def contain(names: Names, name: str, other: str) -> bool:
    """Whether `name` is among them; `other` is the user where this is a database, and the reverse."""
    return "all" in names.keywords or ("sameuser" in names.keywords and name == other) or name in names.names


def fits(rule: HbaRule, client: Client) -> bool:
    """Whether this rule is for such a client."""
    if rule.kind == "local" or client.address is None:
        if rule.kind != "local" or client.address is not None:
            return False
    elif (rule.kind == "hostssl" and not client.tls) or (rule.kind == "hostnossl" and client.tls):
        return False
    elif rule.network is not None:
        version, address, mask = rule.network
        if client.address.version != version or int(client.address) & mask != address:
            return False
    if client.physical_replication:
        if "replication" not in rule.databases.keywords:
            return False
    elif not contain(rule.databases, client.database, client.user):
        return False
    return contain(rule.users, client.user, client.database)


@dataclass(frozen=True)
class Client:
    """What a rule looks at."""

    database: str
    user: str
    address: Address | None  # None: unix socket
    tls: bool = False
    physical_replication: bool = False


def address_of(text: str) -> Address | None:
    """The address of a peer as its socket tells it, without a zone, IPv4 as such; None: it is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def find_rule(rules: Iterable[HbaRule], client: Client) -> HbaRule | None:
    """The rule that decides; None: there is none for such a client."""
    return next((rule for rule in rules if fits(rule, client)), None)
