"""Where a PostgreSQL is: from host and port of the configuration to something a socket connects to."""

from __future__ import annotations

import socket as native_socket
from dataclasses import dataclass

from gevent import socket

from pooler import log
from pooler.config import Config, Database
from pooler.errors import ServerFault
from pooler.worker.stream import offload


@dataclass(frozen=True)
class Address:
    """One place to connect to. `text` is how it travels in a slot's row (see `parse`)."""

    family: int
    target: str | tuple[str, int]

    @property
    def is_unix(self) -> bool:
        return isinstance(self.target, str)

    @property
    def text(self) -> str:
        if isinstance(self.target, str):
            return f"unix {self.target}"
        return f"{'6' if self.family == socket.AF_INET6 else '4'} {self.target[0]} {self.target[1]}"

    @staticmethod
    def parse(text: str) -> Address:
        """The address that `text` stands for; raises ValueError."""
        kind, rest = text.split(" ", 1)
        if kind == "unix":
            return Address(socket.AF_UNIX, rest)
        host, port = rest.rsplit(" ", 1)
        return Address(socket.AF_INET6 if kind == "6" else socket.AF_INET, (host, int(port)))

    def connect_target(self) -> str | tuple[str, int]:
        """What connect() takes; `@name` is the abstract namespace of Linux."""
        if isinstance(self.target, str) and self.target.startswith("@"):
            return "\0" + self.target[1:]
        return self.target


def addresses_of(config: Config, database: Database, turn: int) -> list[Address]:
    """Where to try to connect, in order: of a list of hosts each one gets its turn to be the first, unless
    load_balance_hosts=disable. Raises ServerFault when no name could be resolved."""
    hosts = database.hosts or (config.settings.unix_socket_dir or "/tmp",)
    first = turn % len(hosts) if database.load_balance_hosts == "round-robin" else 0
    found: list[Address] = []
    for host in (*hosts[first:], *hosts[:first]):
        found += addresses_at(host, database.port)
    if not found:
        raise ServerFault("server DNS lookup failed")
    return found


def addresses_at(host: str, port: int) -> list[Address]:
    """Where one host is; [] if its name is not found."""
    if host.startswith(("/", "@")):
        return [Address(socket.AF_UNIX, f"{host}/.s.PGSQL.{port}")]
    return _resolve(host, port)


def _resolve(host: str, port: int) -> list[Address]:
    """The addresses of a name, looked up where waiting delays nobody; a numeric one needs no look-up."""
    if host.replace(".", "").isdigit():
        return [Address(socket.AF_INET, (host, port))]
    try:
        found = offload(native_socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    except OSError as error:
        log.warning("server DNS lookup failed: %s: %s", host, error.strerror or error)
        return []
    except UnicodeError as error:  # no name at all: an empty or too long part between two dots
        log.warning("server DNS lookup failed: %s: %s", host, error)
        return []
    return [Address(family, (str(name[0]), int(name[1]))) for family, _, _, _, name in found]
