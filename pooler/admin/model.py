"""The nouns of the console: columns, results, commands, and what a command may look at and call.

A `Declaration` is one entry of the table in `command`; a `Command` is a declaration with the arguments that
somebody typed; a `Result` is what running it gave. `Sources` is the world as a command sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from pooler.admin.averages import StatsSampler
from pooler.admin.histograms import HistogramSampler
from pooler.config import Config
from pooler.errors import PROTOCOL_VIOLATION, ClientFault

#: `stats` sees, `admin` sees and orders.
Access = Literal["admin", "stats"]

#: What may follow the words of a command: nothing, one optional word, or `key = value`.
Arguments = Literal["none", "word", "setting"]

ShutdownMode = Literal["immediate", "wait_for_servers", "wait_for_clients"]

#: How the console answers to PgBouncer's name and to its own.
CONSOLE_DATABASE = "pgbouncer"
CONSOLE_NAMES = frozenset({CONSOLE_DATABASE, "pooler"})

#: The user that the console's own pool has; under the uid of the process it needs no password.
OWN_USER = "pgbouncer"

TYPE_OIDS = {"bytea": 17, "int8": 20, "int4": 23, "text": 25, "numeric": 1700}

Value = str | int | None
Row = tuple[Value, ...]
#: A row of the shared tables, as the compiled core hands it out.
TableRow = Mapping[str, Any]


class CommandError(ClientFault):
    """A command cannot be carried out: an ERROR, after which the console session goes on."""

    def __init__(self, message: str, sqlstate: str = PROTOCOL_VIOLATION, detail: str | None = None) -> None:
        super().__init__(message, sqlstate, "ERROR")
        self.detail = detail


class Column(NamedTuple):
    """One column of a result."""

    name: str
    type: str

    @property
    def oid(self) -> int:
        """PostgreSQL's number of the type."""
        return TYPE_OIDS[self.type]


def columns(text: str) -> tuple[Column, ...]:
    """Columns from a list such as `name text, port int4`."""
    words = text.replace(",", " ").split()
    found = tuple(Column(name, kind) for name, kind in zip(words[::2], words[1::2], strict=True))
    for column in found:
        TYPE_OIDS[column.type]  # an unknown type fails here, at import, not in front of an operator
    return found


@dataclass(frozen=True)
class Notice:
    """A NOTICE that goes out before the rows."""

    text: str
    detail: str | None = None


@dataclass(frozen=True)
class Result:
    """What running a command gave. A tag of None means: no answer at all, the process is about to end."""

    tag: str | None
    columns: tuple[Column, ...] | None = None
    rows: Sequence[Row] = ()
    notices: tuple[Notice, ...] = ()


class TablesView(Protocol):
    """The snapshots of the shared tables that the console prints."""

    def clients(self, pinned: bool = False) -> Sequence[TableRow]: ...
    def shown_clients(self, what: str, ours: bool) -> tuple[bytes, int]: ...
    def waiting(self, most: int) -> Sequence[TableRow]: ...
    def servers(self) -> Sequence[TableRow]: ...
    def pools(self) -> Sequence[TableRow]: ...
    def databases(self) -> Sequence[TableRow]: ...
    def users(self) -> Sequence[TableRow]: ...
    def workers(self) -> Sequence[TableRow]: ...
    def turns(self, for_s: float) -> Sequence[TableRow]: ...
    def slots(self) -> Sequence[TableRow]: ...
    def channels(self) -> Sequence[TableRow]: ...
    def peers(self) -> Sequence[TableRow]: ...
    def catalogs(self) -> Sequence[TableRow]: ...

    def hosts(self, zones: bool = False) -> Sequence[TableRow]: ...
    def stats(self) -> Mapping[int, Mapping[str, Any]]: ...
    def histograms(self) -> Mapping[int, Mapping[str, Any]]: ...
    def login_histograms(self) -> Mapping[str, tuple[int, bytes]]: ...
    def pins(self) -> Mapping[int, Mapping[str, Any]]: ...
    def memory(self) -> Iterable[tuple[str, int, int, int, int]]: ...
    def counts(self) -> Mapping[str, int]: ...


class Operations(Protocol):
    """The orders, carried out over all workers before the call returns (it may wait).

    Names and states were checked by `control`; what changed since then, or cannot be known before (a client
    that does not exist: `client not found`), is raised as CommandError. `reload` and `set` may also raise
    ConfigError. A database of None means all of them.
    """

    def reload(self) -> None: ...
    def shutdown(self, mode: ShutdownMode) -> None: ...
    def pause(self, database: str | None) -> None: ...
    def resume(self, database: str | None) -> None: ...
    def suspend(self) -> None: ...
    def kill(self, database: str | None) -> None: ...
    def kill_client(self, client_id: int) -> None: ...
    def reconnect(self, database: str | None) -> None: ...
    def wait_close(self, database: str | None) -> None: ...
    def disable(self, database: str) -> None: ...
    def enable(self, database: str) -> None: ...

    def set(self, key: str, value: str) -> str | None:
        """Returns what is to be told beside success, or None."""
        ...

    def state(self) -> Mapping[str, bool]:
        """`active`, `paused`, `suspended`, and `shutting_down` where that is known."""
        ...


@dataclass(frozen=True)
class Sources:
    """All that a command may look at, and the orders it may give."""

    tables: TablesView
    config: Config
    operations: Operations
    sampler: StatsSampler
    now: float  # monotonic, the clock of the sampler
    histograms: HistogramSampler = field(default_factory=HistogramSampler)


#: Runs one command: the sources, the word that followed it ("" if none), and the value of a SET.
Run = Callable[[Sources, str, str], Result]


@dataclass(frozen=True)
class Declaration:
    """One entry of the command table. Access is `admin` unless the entry says otherwise."""

    words: tuple[str, ...]
    run: Run
    help: str = ""  # what follows the words in SHOW HELP
    access: Access = "admin"
    arguments: Arguments = "none"
    columns: tuple[Column, ...] | None = None
    hidden: bool = False  # not in SHOW HELP
    text: str = ""  # what it shows or does, for docs/reference/console.md


@dataclass(frozen=True)
class Command:
    """A declared command with what was typed behind it."""

    declaration: Declaration
    argument: str = ""
    value: str = ""


def name_order(name: str) -> bytes:
    """Sort key of names: by byte, as PgBouncer sorts its lists."""
    return name.encode("utf-8", "surrogateescape")
