"""Look-ups that block, for threads: addresses of a host, the serial of a zone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dns.resolver

HOSTS_FILE = "/etc/hosts"
#: A look-up with all its tries; the caller has its own limit beside it.
LIFETIME_S = 4.5


class LookupFailure(Exception):
    """There is no answer, or it is that there is nothing."""


def addresses(host: str, resolv_conf: str = "") -> list[str]:
    """The addresses of a name; raises LookupFailure. `resolv_conf` "": ask the system."""
    found = (
        _from_file(host, HOSTS_FILE) or _by_servers(host, resolv_conf) if resolv_conf else _by_system(host)
    )
    if not found:
        raise LookupFailure("no address")
    return list(dict.fromkeys(found))


def serial(zone: str, resolv_conf: str = "") -> int:
    """The serial in a zone's SOA record; raises LookupFailure."""
    import dns.exception
    import dns.resolver

    try:
        answer = _resolver(resolv_conf).resolve(zone, "SOA", search=True, lifetime=LIFETIME_S)
        return int(answer[0].serial)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise LookupFailure(_reason(error)) from error


def zone_of(host: str) -> str:
    """The zone that a name is taken to be in: what is behind its first dot. "": none."""
    return host.partition(".")[2].rstrip(".").lower()


def _by_system(host: str) -> list[str]:
    try:
        rows = socket.getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except OSError as error:
        raise LookupFailure(error.strerror or str(error)) from error
    except UnicodeError as error:  # no name at all: an empty or too long part between two dots
        raise LookupFailure(str(error)) from error
    return [str(row[4][0]) for row in rows]


def _by_servers(host: str, resolv_conf: str) -> list[str]:
    import dns.exception

    try:
        resolver = _resolver(resolv_conf)
        return list(resolver.resolve_name(host, lifetime=LIFETIME_S, search=True).addresses())
    except (dns.exception.DNSException, OSError, ValueError, UnicodeError) as error:
        raise LookupFailure(_reason(error)) from error


def _resolver(resolv_conf: str) -> dns.resolver.Resolver:
    import dns.resolver  # only who uses it pays for it

    return dns.resolver.Resolver(filename=resolv_conf or "/etc/resolv.conf")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _from_file(host: str, path: str) -> list[str]:
    """What a hosts file says of a name, which comes before any server."""
    found = []
    try:
        with open(path, errors="replace") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if host.lower() in (word.lower() for word in words[1:]):
                    found.append(words[0])
    except OSError:  # there need not be one
        return []
    return found
