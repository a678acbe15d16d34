"""Where a PostgreSQL is: from host and port of the configuration to something a socket connects to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gevent import socket

from pooler.config import Config, Database

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext


@dataclass(frozen=True)
class Address:
    """One place to connect to. `text` is how it travels in a slot's row (see `parse`)."""

    family: int
    target: str | tuple[str, int]
    name: str | None = None  # as the configuration calls the host; a certificate is for that

    @property
    def is_unix(self) -> bool:
        return isinstance(self.target, str)

    @property
    def text(self) -> str:
        if isinstance(self.target, str):
            return f"unix {self.target}"
        number = "6" if self.family == socket.AF_INET6 else "4"
        return f"{number} {self.target[0]} {self.target[1]} {self.name or self.target[0]}"

    @staticmethod
    def parse(text: str) -> Address:
        """The address that `text` stands for; raises ValueError."""
        kind, rest = text.split(" ", 1)
        if kind == "unix":
            return Address(socket.AF_UNIX, rest)
        host, port, name = rest.split(" ", 2)
        return Address(socket.AF_INET6 if kind == "6" else socket.AF_INET, (host, int(port)), name)

    def connect_target(self) -> str | tuple[str, int]:
        """What connect() takes; `@name` is the abstract namespace of Linux."""
        if isinstance(self.target, str) and self.target.startswith("@"):
            return "\0" + self.target[1:]
        return self.target


@dataclass(frozen=True)
class Candidate:
    """Where a server may be opened; `host` is the row of the name that leads there, -1 for none."""

    address: Address
    host: int = -1


def candidates(
    context: WorkerContext, database: Database, not_found: Callable[[str], None] = lambda host: None
) -> Iterator[Candidate]:
    """Where to try to connect, one after the other; a name is looked up when it is its turn.

    `not_found` hears of names that lead nowhere while there are other hosts to try.
    Of a list of hosts each one is the first in turn, over all workers. With load_balance_hosts=disable it is
    the same one until it fails: who asks for the next one says so.
    """
    tables, hosts = context.tables, hosts_of(context.config, database)
    row = tables.database(database.name)
    turns = database.load_balance_hosts == "round-robin"
    first = 0 if len(hosts) == 1 or row < 0 else tables.host_turn(row) if turns else tables.host_now(row)
    for number in range(first, first + len(hosts)):
        host = hosts[number % len(hosts)]
        found = list(candidates_at(context, host, database.port))
        if not found and number < first + len(hosts) - 1:
            not_found(host)
        yield from found
        host_failed(context, database, number)


def candidates_at(context: WorkerContext, host: str, port: int) -> Iterator[Candidate]:
    """Where one host is; none if its name is not found."""
    if host.startswith(("/", "@")):
        yield Candidate(Address(socket.AF_UNIX, f"{host}/.s.PGSQL.{port}"))
        return
    found, name_row = context.resolver.find(host)
    for address in found:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        yield Candidate(Address(family, (address, port), host), name_row)


def host_failed(context: WorkerContext, database: Database, number: int | None = None) -> None:
    """With load_balance_hosts=disable another host is next; `number` is the turn that failed, if known."""
    row = context.tables.database(database.name)
    if row >= 0 and len(database.hosts) > 1 and database.load_balance_hosts == "disable":
        context.tables.host_passes(row, context.tables.host_now(row) if number is None else number % 2**32)


def hosts_of(config: Config, database: Database) -> tuple[str, ...]:
    """The hosts of a database: names, addresses, directories of sockets, abstract sockets."""
    return database.hosts or (config.settings.unix_socket_dir or "/tmp",)
