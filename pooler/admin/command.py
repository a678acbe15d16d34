"""The declared table of console commands: the only place that says which exist and who may use them.

From an entry come the parsing, the access check, the description of the result and the line in SHOW HELP.
An entry that does not name its access is for admins (PgBouncer checked by hand in each command, and once
forgot: a statistics user could kill clients). Adding a command is adding an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pooler.admin import (
    control,
    show,
    show_catalogs,
    show_histograms,
    show_listeners,
    show_pins,
    show_pools,
    show_sockets,
    show_stats,
    show_waiting,
)
from pooler.admin.model import Column, Declaration, Notice, Result, Row, Sources, columns

#: The last word of a SHOW with columns that PgBouncer has not.
EXTENDED = "extended"

#: Words in one line of SHOW HELP.
_HELP_WORDS = 6


def _show(
    name: str, text: str, shown: tuple[Column, ...], rows: Callable[[Sources], Sequence[Row]]
) -> Declaration:
    return Declaration(("show", name), show.showing(shown, rows), access="stats", columns=shown, text=text)


def _extended(
    name: str,
    text: str,
    shown: tuple[Column, ...],
    ours: int,
    rows: Callable[[Sources, tuple[Column, ...]], Sequence[Row]],
) -> Iterator[Declaration]:
    """SHOW with PgBouncer's columns, which tools go by, and SHOW ... EXTENDED with so many of ours behind.
    `rows` is told which it is."""

    def of(columns: tuple[Column, ...]) -> Callable[[Sources], Sequence[Row]]:
        return lambda sources: rows(sources, columns)

    yield _show(name, text, shown[:-ours], of(shown[:-ours]))
    run = show.showing(shown, of(shown))
    more = f"As SHOW {name.upper()}, with columns of pooler's own behind PgBouncer's."
    yield Declaration(("show", name, EXTENDED), run, access="stats", columns=shown, text=more)


def _help(_sources: Sources, _argument: str, _value: str) -> Result:
    return Result("SHOW", notices=(Notice("Console usage", HELP_TEXT),))


_SHOWS = (
    Declaration(("show", "help"), _help, access="stats", text="The commands."),
    _show(
        "config",
        "The settings: value, default, and whether a reload can change it.",
        show.CONFIG_COLUMNS,
        show.config,
    ),
    _show(
        "databases",
        "The databases: where they are, sizes, connections, whether paused or disabled.",
        show_pools.DATABASE_COLUMNS,
        show_pools.databases,
    ),
    *_extended(
        "pools",
        "The pools, one for each database and user: clients and servers by state, the longest wait.",
        show_pools.POOL_COLUMNS,
        show_pools.POOL_COLUMNS_OURS,
        show_pools.pools,
    ),
    *_extended(
        "clients",
        "The clients that have logged in, over all workers.",
        show_sockets.CLIENT_COLUMNS,
        show_sockets.CLIENT_COLUMNS_OURS,
        show_sockets.clients,
    ),
    *_extended(
        "servers",
        "The connections to PostgreSQL that clients may use, over all workers.",
        show_sockets.SERVER_COLUMNS,
        show_sockets.COLUMNS_OURS,
        show_sockets.servers,
    ),
    _show(
        "users",
        "The users that are known, with their limits and connections.",
        show_pools.USER_COLUMNS,
        show_pools.users,
    ),
    _show(
        "version",
        "PgBouncer's version that pooler stands in for, because tools look for it.",
        show.VERSION_COLUMNS,
        show.version,
    ),
    _show("peers", "The instances of [peers].", show_pools.PEER_COLUMNS, show_pools.peers),
    _show(
        "peer_pools",
        "Cancel requests that are under way to each peer, and those that wait.",
        show_pools.PEER_POOL_COLUMNS,
        show_pools.peer_pools,
    ),
    Declaration(
        ("show", "fds"),
        show.descriptors,
        access="admin",
        columns=show.FD_COLUMNS,
        text="No rows, and a NOTICE: a restart needs no list of descriptors.",
    ),
    *_extended(
        "sockets",
        "Clients and servers in one list; the columns of buffers are always 0.",
        show_sockets.SOCKET_COLUMNS,
        show_sockets.COLUMNS_OURS,
        show_sockets.sockets,
    ),
    *_extended(
        "active_sockets",
        "As SHOW SOCKETS, without those that are idle.",
        show_sockets.SOCKET_COLUMNS,
        show_sockets.COLUMNS_OURS,
        show_sockets.active_sockets,
    ),
    _show(
        "lists",
        "Counts: databases, users, pools, clients and servers by state, names.",
        show.LIST_COLUMNS,
        show.lists,
    ),
    _show(
        "mem",
        "The shared tables: size of a row, rows in use and free, memory.",
        show.MEM_COLUMNS,
        show.memory,
    ),
    _show("state", "Whether pooler is active, paused or suspended.", show.STATE_COLUMNS, show.state),
    _show(
        "dns_hosts",
        "Names of hosts that were looked up, their addresses, and for how long those count.",
        show.DNS_HOST_COLUMNS,
        show.dns_hosts,
    ),
    _show(
        "dns_zones",
        "Zones whose serial is watched (dns_zone_check_period).",
        show.DNS_ZONE_COLUMNS,
        show.dns_zones,
    ),
    _show(
        "stats",
        "Counters of each database since the start, and averages over stats_period.",
        show_stats.STATS_COLUMNS,
        show_stats.stats,
    ),
    _show(
        "stats_totals",
        "The counters of SHOW STATS alone.",
        show_stats.STATS_TOTALS_COLUMNS,
        show_stats.stats_totals,
    ),
    _show(
        "stats_averages",
        "The averages of SHOW STATS alone.",
        show_stats.STATS_AVERAGES_COLUMNS,
        show_stats.stats_averages,
    ),
    _show(
        "histograms",
        "How long clients wait for a server, queries, transactions, and opening servers (dial) take, by pool,"
        " and logins by method: counts and quantiles in microseconds, since the start, and as recent_... over"
        " the last one to two minutes.",
        show_histograms.HISTOGRAM_COLUMNS,
        show_histograms.histograms,
    ),
    _show(
        "totals",
        "Counters and averages over all databases, one a row.",
        show_stats.TOTALS_COLUMNS,
        show_stats.totals,
    ),
    _show(
        "workers",
        "The worker processes: pid, clients, restarts, age of the last sign of life, lateness of timers.",
        show_sockets.WORKER_COLUMNS,
        show_sockets.workers,
    ),
    _show(
        "turns",
        "The longest turn of each worker's relay since this was last asked for, at most a minute ago, in"
        " microseconds of its thread's CPU time: no query waits longer for pooler's own work.",
        show_sockets.TURN_COLUMNS,
        show_sockets.turns,
    ),
    _show(
        "waiting",
        "The clients that wait for a server: their place in the line, since when, what keeps a server from"
        " them, and who has those in question.",
        show_waiting.WAITING_COLUMNS,
        show_waiting.waiting,
    ),
    _show(
        "pins",
        "The clients that keep their server between transactions: why, and since when.",
        show_pins.PIN_COLUMNS,
        show_pins.pins,
    ),
    _show(
        "pin_totals",
        "Pins by pool and reason since the start; questions, settings applied, resets.",
        show_pins.PIN_TOTAL_COLUMNS,
        show_pins.pin_totals,
    ),
    _show(
        "catalogs",
        "What is known of the catalogs of each database, and where everything is asked for.",
        show_catalogs.CATALOG_COLUMNS,
        show_catalogs.catalogs,
    ),
    _show(
        "slots",
        "Every right to a server connection in use, also on its way in (new) and out (closing).",
        show_sockets.SLOT_COLUMNS,
        show_sockets.slots,
    ),
    _show(
        "listeners",
        "The channels that clients listen on in transaction pooling, and the worker that hears them.",
        show_listeners.LISTENER_COLUMNS,
        show_listeners.listeners,
    ),
)

_ORDERS = (
    Declaration(
        ("set",),
        control.set_setting,
        "key = arg",
        arguments="setting",
        text="Change a setting without the file.",
    ),
    Declaration(
        ("reload",),
        control.reload,
        text="Read the files again: all of it counts, or nothing, with the reasons as DETAIL.",
    ),
    Declaration(
        ("pause",),
        control.pause,
        "[<db>]",
        arguments="word",
        text="Answer when the servers are released, and let clients wait from then on.",
    ),
    Declaration(("resume",), control.resume, "[<db>]", arguments="word", text="End PAUSE, SUSPEND or KILL."),
    Declaration(
        ("disable",), control.disable, "<db>", arguments="word", text="Refuse new clients of a database."
    ),
    Declaration(("enable",), control.enable, "<db>", arguments="word", text="End DISABLE."),
    Declaration(
        ("reconnect",),
        control.reconnect,
        "[<db>]",
        arguments="word",
        text="Replace the servers as they become free.",
    ),
    Declaration(
        ("kill",),
        control.kill,
        "[<db>]",
        arguments="word",
        text="Drop all clients and servers, and leave the database paused.",
    ),
    Declaration(
        ("kill_client",),
        control.kill_client,
        "<client_id>",
        arguments="word",
        text="Close one client, by the id of SHOW CLIENTS.",
    ),
    Declaration(
        ("suspend",),
        control.suspend,
        text="Finish the messages that are on their way, then read nothing until RESUME.",
    ),
    Declaration(("shutdown",), control.shutdown("immediate"), text="End now."),
    Declaration(
        ("shutdown", "wait_for_servers"),
        control.shutdown("wait_for_servers"),
        text="Close the TCP listeners, let what runs end, then end.",
    ),
    Declaration(
        ("shutdown", "wait_for_clients"),
        control.shutdown("wait_for_clients"),
        text="Close the TCP listeners, and end when the last client has left.",
    ),
    Declaration(
        ("wait_close",),
        control.wait_close,
        "[<db>]",
        arguments="word",
        text="Answer when RECONNECT and RELOAD have nothing left to replace.",
    ),
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
