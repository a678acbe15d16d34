"""A pooler in memory for the console's tests: snapshots of tables, and orders that are only written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pooler.admin import Console, StatsSampler, encode
from pooler.admin.averages import COUNTERS
from pooler.admin.model import Access, Operations, Result, Row, ShutdownMode, TableRow, TablesView
from pooler.admin.show_pins import REASONS
from pooler.admin.show_sockets import CLIENT_COLUMNS, SOCKET_COLUMNS
from pooler.config import Config, Database, Peer, Settings, UserOptions
from pooler.protocol import messages

#: 2026-01-31 12:00:00 UTC
MOMENT = 1769860800.0


def client(
    number: int, database: str = "app", user: str = "alice", state: str = "idle", **more: Any
) -> TableRow:
    """A row of tables.clients()."""
    row: dict[str, Any] = {
        "id": number,
        "row": number,
        "worker": 0,
        "state": state,
        "pool": 0,
        "database": database,
        "user": user,
        "addr": "127.0.0.1",
        "port": 40000 + number,
        "local_addr": "127.0.0.1",
        "local_port": 6432,
        "connect_time": MOMENT,
        "request_time": 0.0,
        "wait_us": 0,
        "link": 0,
        "close_needed": False,
        "tls": "",
        "application_name": "psql",
        "prepared_statements": 0,
        "replication": "none",
        "remote_pid": 0,
        "pinned": "",
        "pinned_since": 0.0,
        "pinned_s": 0.0,
        "memory": 4711,
        "slot": -1,
        "is_unix": False,
    }
    return row | more


def server(
    number: int, database: str = "app", user: str = "alice", state: str = "idle", **more: Any
) -> TableRow:
    """A row of tables.servers()."""
    row: dict[str, Any] = dict(client(number, database, user, state))
    del row["row"], row["pinned"], row["pinned_since"], row["pinned_s"], row["memory"]
    return row | {"slot": number, "remote_pid": 9000 + number, "generation": 1, "port": 5432} | more


def pool(number: int, database: str, user: str, **more: Any) -> TableRow:
    """A row of tables.pools()."""
    row: dict[str, Any] = {
        "cl_active": 0,
        "cl_idle": 0,
        "cl_waiting": 0,
        "cl_active_cancel_req": 0,
        "cl_waiting_cancel_req": 0,
        "sv_active": 0,
        "sv_active_cancel": 0,
        "sv_being_canceled": 0,
        "sv_idle": 0,
        "sv_used": 0,
        "sv_tested": 0,
        "sv_login": 0,
        "maxwait_us": 0,
        "mean_wait_us": 0,
        "min_pool_size": 0,
        "reserve_pool_size": 0,
    }
    row |= {"pool": number, "database": database, "user": user, "pool_mode": "transaction", "pool_size": 20}
    return row | {"paused": False} | more


def database(name: str, **more: Any) -> TableRow:
    """A row of tables.databases()."""
    row: dict[str, Any] = {"index": 0, "name": name, "paused": False, "disabled": False}
    return row | {"server_count": 0, "client_count": 0, "max_connections": 0} | more


def counters(database: str, user: str, **more: int) -> Mapping[str, Any]:
    """One entry of tables.stats()."""
    return dict.fromkeys(COUNTERS, 0) | {"database": database, "user": user} | more


def pin_counters(database: str, user: str, **more: int) -> Mapping[str, Any]:
    """One entry of tables.pins(); reasons by the names of their columns."""
    row: dict[str, Any] = dict.fromkeys(REASONS.values(), 0) | {
        "session_asks": 0,
        "settings_applied": 0,
        "session_resets": 0,
    }
    row |= {REASONS.get(name, name): count for name, count in more.items()}
    return row | {"database": database, "user": user}


@dataclass
class FakeTables:
    """The snapshots of tables that hold what a test put into them."""

    client_rows: list[TableRow] = field(default_factory=list)
    shown_rows: list[Row] = field(default_factory=list)  # of SHOW CLIENTS, or of the clients in SHOW SOCKETS
    waiting_rows: list[TableRow] = field(default_factory=list)
    server_rows: list[TableRow] = field(default_factory=list)
    pool_rows: list[TableRow] = field(default_factory=list)
    database_rows: list[TableRow] = field(default_factory=list)
    user_rows: list[TableRow] = field(default_factory=list)
    worker_rows: list[TableRow] = field(default_factory=list)
    slot_rows: list[TableRow] = field(default_factory=list)
    pool_pins: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    channel_rows: list[TableRow] = field(default_factory=list)
    host_rows: list[TableRow] = field(default_factory=list)
    zone_rows: list[TableRow] = field(default_factory=list)
    catalog_rows: list[TableRow] = field(default_factory=list)
    pool_stats: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    pool_histograms: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    method_histograms: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def clients(self, pinned: bool = False) -> Sequence[TableRow]:
        return [row for row in self.client_rows if row["pinned"] or not pinned]

    def shown_clients(self, what: str, ours: bool) -> tuple[bytes, int]:
        shown, less = (CLIENT_COLUMNS, 9) if what == "clients" else (SOCKET_COLUMNS, 2)
        rows, shown = (self.shown_rows, shown) if ours else (self.shown_rows, shown[:-less])
        texts = [encode.row(row[: len(shown)], shown, [encode.TEXT] * len(shown)) for row in rows]
        return b"".join(texts), len(texts)

    def waiting(self, most: int) -> Sequence[TableRow]:
        return self.waiting_rows

    def servers(self) -> Sequence[TableRow]:
        return self.server_rows

    def pools(self) -> Sequence[TableRow]:
        return self.pool_rows

    def databases(self) -> Sequence[TableRow]:
        return self.database_rows

    def users(self) -> Sequence[TableRow]:
        return self.user_rows

    def workers(self) -> Sequence[TableRow]:
        return self.worker_rows

    def turns(self, for_s: float) -> Sequence[TableRow]:
        return [{"worker": 0, "turns": 7, "longest_us": 1234}] if for_s else []

    def slots(self) -> Sequence[TableRow]:
        return self.slot_rows

    def channels(self) -> Sequence[TableRow]:
        return self.channel_rows

    def peers(self) -> Sequence[TableRow]:
        return [{"peer_id": 2, "waiting": 3, "connecting": 1, "active": 4}]

    def catalogs(self) -> Sequence[TableRow]:
        return self.catalog_rows

    def hosts(self, zones: bool = False) -> Sequence[TableRow]:
        return self.zone_rows if zones else self.host_rows

    def stats(self) -> Mapping[int, Mapping[str, Any]]:
        return {**self.pool_stats, -1: counters("pgbouncer", "")}

    def histograms(self) -> Mapping[int, Mapping[str, Any]]:
        return self.pool_histograms

    def login_histograms(self) -> Mapping[str, tuple[int, bytes]]:
        return self.method_histograms

    def pins(self) -> Mapping[int, Mapping[str, Any]]:
        return self.pool_pins

    def memory(self) -> Iterable[tuple[str, int, int, int, int]]:
        return [("client_rows", 256, 3, 97, 25600)]

    def counts(self) -> Mapping[str, int]:
        return {
            "free_clients": 97,
            "used_clients": 3,
            "login_clients": 1,
            "free_servers": 18,
            "used_servers": 2,
            "pools": 1,
            "databases": 1,
            "users": 1,
        }


@dataclass
class FakeOperations:
    """Writes down every order; `refusal` is raised instead of carrying the next one out."""

    orders: list[tuple[Any, ...]] = field(default_factory=list)
    refusal: Exception | None = None
    flags: dict[str, bool] = field(
        default_factory=lambda: {"active": True, "paused": False, "suspended": False}
    )

    def _order(self, *order: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.orders.append(order)

    def reload(self) -> None:
        self._order("reload")

    def shutdown(self, mode: ShutdownMode) -> None:
        self._order("shutdown", mode)

    def pause(self, database: str | None) -> None:
        self._order("pause", database)

    def resume(self, database: str | None) -> None:
        self._order("resume", database)

    def suspend(self) -> None:
        self._order("suspend")

    def kill(self, database: str | None) -> None:
        self._order("kill", database)

    def kill_client(self, client_id: int) -> None:
        self._order("kill_client", client_id)

    def reconnect(self, database: str | None) -> None:
        self._order("reconnect", database)

    def wait_close(self, database: str | None) -> None:
        self._order("wait_close", database)

    def disable(self, database: str) -> None:
        self._order("disable", database)

    def enable(self, database: str) -> None:
        self._order("enable", database)

    def set(self, key: str, value: str) -> str | None:
        self._order("set", key, value)
        return None

    def state(self) -> Mapping[str, bool]:
        return self.flags


def configuration(**more: Any) -> Config:
    """Two databases, two users, a peer."""
    values: dict[str, Any] = {
        "path": "/etc/pooler.ini",
        "settings": Settings(default_pool_size=7, admin_users=("root",), stats_users=("eve",)),
        "databases": {
            "app": Database(name="app", dbname="app_prod", host="10.0.0.1", port=5433, pool_size=4),
            "multi": Database(name="multi", dbname="multi", host="a,b", user="forced", pool_mode="session"),
        },
        "users": {"bob": UserOptions(name="bob", pool_size=3, pool_mode="statement", max_user_connections=9)},
        "peers": {2: Peer(id=2, host="other"), 1: Peer(id=1, host="/tmp", port=6433, pool_size=5)},
        "userlist": {"alice": "secret"},
    }
    return Config(**(values | more))


class Bench:
    """A console with everything it talks to, and a clock that stands still until moved."""

    def __init__(self, config: Config | None = None) -> None:
        self.tables = FakeTables()
        self.operations = FakeOperations()
        self.config = config or configuration()
        self.now = 1000.0
        self.log: list[str] = []
        tables: TablesView = self.tables
        operations: Operations = self.operations
        sampler = StatsSampler(self.now, {})
        self.console = Console(
            operations, lambda: self.config, tables, sampler, lambda: self.now, self.log.append
        )

    def run(self, sql: str, access: Access = "admin") -> Result:
        """The result of a command; raises what the console raises."""
        return self.console.run(self.console.parse(messages.encode(sql)), access)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a SHOW by column name."""
        result = self.run(sql)
        assert result.columns is not None
        return [named(result.columns, row) for row in result.rows]

    def execute(self, sql: str, access: Access = "admin") -> list[tuple[bytes, bytes]]:
        """The messages that a simple query is answered with."""
        return split(self.console.execute(messages.encode(sql), access))


def named(columns: Sequence[Any], row: Row) -> dict[str, Any]:
    """A row by column name."""
    return {column.name: value for column, value in zip(columns, row, strict=True)}


def split(data: bytes) -> list[tuple[bytes, bytes]]:
    """A stream of messages as (type, body)."""
    found = []
    while data:
        end = 1 + int.from_bytes(data[1:5], "big")
        assert end <= len(data)
        found.append((data[:1], data[5:end]))
        data = data[end:]
    return found


def kinds(data: bytes) -> str:
    """The types of the messages in a stream."""
    return b"".join(kind for kind, _ in split(data)).decode()
