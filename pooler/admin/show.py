"""The short SHOW commands: LISTS, CONFIG, MEM, STATE, VERSION, DNS_HOSTS, DNS_ZONES, FDS, and the pretended
settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pooler import PGBOUNCER_VERSION
from pooler.admin import show_pools
from pooler.admin.model import Column, Notice, Result, Row, Run, Sources, columns, name_order
from pooler.config import config_rows

VERSION_TEXT = f"PgBouncer {PGBOUNCER_VERSION}"

LIST_COLUMNS = columns("list text, items int4")
CONFIG_COLUMNS = columns("key text, value text, default text, changeable text")
MEM_COLUMNS = columns("name text, size int4, used int4, free int4, memtotal int4")
STATE_COLUMNS = columns("key text, value text")
VERSION_COLUMNS = columns("version text")
DNS_HOST_COLUMNS = columns("hostname text, ttl int8, addrs text")
DNS_ZONE_COLUMNS = columns("zonename text, serial int8, count int4")
FD_COLUMNS = columns("""
    fd int4, task text, user text, database text, addr text, port int4, cancel int8, link int4,
    client_encoding text, std_strings text, datestyle text, timezone text, password text,
    scram_client_key bytea, scram_server_key bytea
""")

#: Settings of a PostgreSQL session that drivers ask for or set without looking whether they need to.
PRETENDED = {
    "client_encoding": "UTF-8",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "datestyle": "ISO",
    "timezone": "GMT",
    "extra_float_digits": "2",
}


def showing(shown: tuple[Column, ...], rows: Callable[[Sources], Sequence[Row]]) -> Run:
    """A command that prints rows."""

    def run(sources: Sources, _argument: str, _value: str) -> Result:
        return Result("SHOW", shown, rows(sources))

    return run


def lists(sources: Sources) -> list[Row]:
    """Rows of SHOW LISTS."""
    counts = sources.tables.counts()
    hosts, zones = sources.tables.hosts(), sources.tables.hosts(zones=True)
    found: dict[str, int] = {
        "databases": len(show_pools.database_names(sources)) + 1,
        "users": len(show_pools.user_names(sources)),
        "peers": len(sources.config.peers),
        "pools": show_pools.pool_count(sources),
        "peer_pools": len(sources.tables.peers()),
        "free_clients": counts["free_clients"],
        "used_clients": counts["used_clients"],
        "login_clients": counts["login_clients"],
        "free_servers": counts["free_servers"],
        "used_servers": counts["used_servers"],
        "dns_names": len(hosts),
        "dns_zones": len(zones),
        "dns_queries": sum(row["asking"] for row in (*hosts, *zones)),
        "dns_pending": 0,
    }
    return list(found.items())


def config(sources: Sources) -> list[Row]:
    """Rows of SHOW CONFIG."""
    return [tuple(row) for row in config_rows(sources.config)]


def memory(sources: Sources) -> list[Row]:
    """Rows of SHOW MEM: the shared tables in place of PgBouncer's slabs."""
    return [tuple(row) for row in sources.tables.memory()]


def state(sources: Sources) -> list[Row]:
    """Rows of SHOW STATE."""
    flags = sources.operations.state()
    return [(name, "yes" if flags[name] else "no") for name in ("active", "paused", "suspended")]


def version(_: Sources) -> list[Row]:
    """Row of SHOW VERSION."""
    return [(VERSION_TEXT,)]


def dns_hosts(sources: Sources) -> list[Row]:
    """Rows of SHOW DNS_HOSTS: what names of hosts lead to, for so many seconds more."""
    rows = sorted(sources.tables.hosts(), key=lambda row: name_order(row["name"]))
    return [(row["name"], int(row["ttl_s"]), ",".join(row["addresses"])) for row in rows]


def dns_zones(sources: Sources) -> list[Row]:
    """Rows of SHOW DNS_ZONES: the zones whose serial is watched, and how many names are in each."""
    inside = Counter(row["name"].partition(".")[2].rstrip(".").lower() for row in sources.tables.hosts())
    rows = sorted(sources.tables.hosts(zones=True), key=lambda row: name_order(row["name"]))
    return [(row["name"], row["serial"], inside[row["name"]]) for row in rows]


def descriptors(_sources: Sources, _argument: str, _value: str) -> Result:
    """SHOW FDS, which in PgBouncer hands its sockets, cancel keys and passwords to its successor: never
    here."""
    text = "sockets belong to several worker processes and are not passed on by the console"
    return Result("SHOW", FD_COLUMNS, (), (Notice(text),))


def pretended(value: str) -> Callable[[Sources], list[Row]]:
    """Row of SHOW for a setting that the console pretends to have."""
    return lambda _: [(value,)]
