"""The declared table of console commands: the only place that says which exist and who may use them.

From an entry come the parsing, the access check, the description of the result and the line in SHOW HELP.
An entry that does not name its access is for admins (PgBouncer checked by hand in each command, and once
forgot: a statistics user could kill clients). Adding a command is adding an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pooler.admin import (
    control,
    show,
    show_catalogs,
    show_listeners,
    show_pins,
    show_pools,
    show_sockets,
    show_stats,
)
from pooler.admin.model import Column, Declaration, Notice, Result, Row, Sources, columns

#: The last word of a SHOW with columns that PgBouncer has not.
EXTENDED = "extended"

#: Words in one line of SHOW HELP.
_HELP_WORDS = 6


def _show(name: str, shown: tuple[Column, ...], rows: Callable[[Sources], list[Row]]) -> Declaration:
    return Declaration(("show", name), show.showing(shown, rows), access="stats", columns=shown)


def _extended(
    name: str, shown: tuple[Column, ...], ours: int, rows: Callable[[Sources], list[Row]]
) -> Iterator[Declaration]:
    """SHOW with PgBouncer's columns, which tools go by, and SHOW ... EXTENDED with so many of ours behind."""

    def shorter(sources: Sources) -> list[Row]:
        return [row[:-ours] for row in rows(sources)]

    yield _show(name, shown[:-ours], shorter)
    run = show.showing(shown, rows)
    yield Declaration(("show", name, EXTENDED), run, access="stats", columns=shown)


def _help(_sources: Sources, _argument: str, _value: str) -> Result:
    return Result("SHOW", notices=(Notice("Console usage", HELP_TEXT),))


_SHOWS = (
    Declaration(("show", "help"), _help, access="stats"),
    _show("config", show.CONFIG_COLUMNS, show.config),
    _show("databases", show_pools.DATABASE_COLUMNS, show_pools.databases),
    *_extended("pools", show_pools.POOL_COLUMNS, show_pools.POOL_COLUMNS_OURS, show_pools.pools),
    *_extended(
        "clients", show_sockets.CLIENT_COLUMNS, show_sockets.CLIENT_COLUMNS_OURS, show_sockets.clients
    ),
    *_extended("servers", show_sockets.SERVER_COLUMNS, show_sockets.COLUMNS_OURS, show_sockets.servers),
    _show("users", show_pools.USER_COLUMNS, show_pools.users),
    _show("version", show.VERSION_COLUMNS, show.version),
    _show("peers", show_pools.PEER_COLUMNS, show_pools.peers),
    _show("peer_pools", show_pools.PEER_POOL_COLUMNS, show_pools.peer_pools),
    Declaration(("show", "fds"), show.descriptors, access="admin", columns=show.FD_COLUMNS),
    *_extended("sockets", show_sockets.SOCKET_COLUMNS, show_sockets.COLUMNS_OURS, show_sockets.sockets),
    *_extended(
        "active_sockets",
        show_sockets.SOCKET_COLUMNS,
        show_sockets.COLUMNS_OURS,
        show_sockets.active_sockets,
    ),
    _show("lists", show.LIST_COLUMNS, show.lists),
    _show("mem", show.MEM_COLUMNS, show.memory),
    _show("state", show.STATE_COLUMNS, show.state),
    _show("dns_hosts", show.DNS_HOST_COLUMNS, show.dns_hosts),
    _show("dns_zones", show.DNS_ZONE_COLUMNS, show.dns_zones),
    _show("stats", show_stats.STATS_COLUMNS, show_stats.stats),
    _show("stats_totals", show_stats.STATS_TOTALS_COLUMNS, show_stats.stats_totals),
    _show("stats_averages", show_stats.STATS_AVERAGES_COLUMNS, show_stats.stats_averages),
    _show("totals", show_stats.TOTALS_COLUMNS, show_stats.totals),
    _show("workers", show_sockets.WORKER_COLUMNS, show_sockets.workers),
    _show("pins", show_pins.PIN_COLUMNS, show_pins.pins),
    _show("pin_totals", show_pins.PIN_TOTAL_COLUMNS, show_pins.pin_totals),
    _show("catalogs", show_catalogs.CATALOG_COLUMNS, show_catalogs.catalogs),
    _show("slots", show_sockets.SLOT_COLUMNS, show_sockets.slots),
    _show("listeners", show_listeners.LISTENER_COLUMNS, show_listeners.listeners),
)

_ORDERS = (
    Declaration(("set",), control.set_setting, "key = arg", arguments="setting"),
    Declaration(("reload",), control.reload),
    Declaration(("pause",), control.pause, "[<db>]", arguments="word"),
    Declaration(("resume",), control.resume, "[<db>]", arguments="word"),
    Declaration(("disable",), control.disable, "<db>", arguments="word"),
    Declaration(("enable",), control.enable, "<db>", arguments="word"),
    Declaration(("reconnect",), control.reconnect, "[<db>]", arguments="word"),
    Declaration(("kill",), control.kill, "[<db>]", arguments="word"),
    Declaration(("kill_client",), control.kill_client, "<client_id>", arguments="word"),
    Declaration(("suspend",), control.suspend),
    Declaration(("shutdown",), control.shutdown("immediate")),
    Declaration(("shutdown", "wait_for_servers"), control.shutdown("wait_for_servers")),
    Declaration(("shutdown", "wait_for_clients"), control.shutdown("wait_for_clients")),
    Declaration(("wait_close",), control.wait_close, "[<db>]", arguments="word"),
)


def _pretended() -> Iterator[Declaration]:
    for name, value in show.PRETENDED.items():
        shown = columns(f"{name} text")
        run = show.showing(shown, show.pretended(value))
        yield Declaration(("show", name), run, access="stats", columns=shown, hidden=True)
        yield Declaration(
            ("set", name), control.pretend_to_set, access="stats", arguments="setting", hidden=True
        )


#: Every command by its words.
COMMANDS = {entry.words: entry for entry in (*_SHOWS, *_ORDERS, *_pretended())}


def _help_lines(entries: Iterable[Declaration]) -> Iterator[str]:
    """SHOW words several to a line, orders one to a line."""
    listed = [entry for entry in entries if not entry.hidden]
    shown = [entry.words[1].upper() for entry in listed if entry.words[0] == "show" and len(entry.words) == 2]
    extended = [entry.words[1].upper() for entry in listed if entry.words[-1] == EXTENDED]
    for start in range(0, len(shown), _HELP_WORDS):
        yield "SHOW " + "|".join(shown[start : start + _HELP_WORDS])
    yield "SHOW " + "|".join(extended) + f" {EXTENDED.upper()}"
    for entry in listed:
        if entry.words[0] != "show":
            yield " ".join((*map(str.upper, entry.words), entry.help)).rstrip()


HELP_TEXT = "".join(f"\n\t{line}" for line in _help_lines(COMMANDS.values()))
