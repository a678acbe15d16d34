"""The rule of auth_hba_file that decides, found in Python: core/login/rules.c is compared with it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from pooler.config.hba import Address, HbaRule, Names


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
