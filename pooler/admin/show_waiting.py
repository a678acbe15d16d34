"""SHOW WAITING: which clients wait for a server, what keeps it from them, and who has those in question.

A row per client, the first of each line first. `blocked_by` is a setting, where a limit is reached, or what
has happened; `detail` says so in numbers or in the server's words; `holders` names those who have had such a
server for longest, and what they do.
"""

from __future__ import annotations

from pooler.admin.model import Row, Sources, TableRow, columns, name_order
from pooler.admin.show_sockets import time_text

WAITING_COLUMNS = columns("""
    database text, user text, place int4, waiting int4, client_id int4, addr text, port int4,
    application_name text, since text, seconds int8, blocked_by text, detail text, holders text
""")

#: Of all pools together: a jam has thousands of the same, and the console must not stop its worker.
ROWS_MAX = 2000
#: Causes that are no limit, and say by themselves what they are.
_PLAIN = {
    "paused": "PAUSE; RESUME lets them go on",
    "suspended": "SUSPEND; RESUME lets them go on",
    "servers of another process": "this process is being replaced and opens no servers",
    "next": "a server is about to be free",
    "server login": "a server is being opened",
}


def waiting(sources: Sources) -> list[Row]:
    """Rows of SHOW WAITING, by pool and place in the line."""
    rows: list[Row] = []
    for line in sorted(sources.tables.waiting(ROWS_MAX), key=_order):
        detail = detail_of(line)
        holders = holders_of(line)
        for place, client in enumerate(line["clients"], 1):
            if len(rows) == ROWS_MAX:
                return rows
            rows.append(
                (
                    line["database"],
                    line["user"],
                    place,
                    line["count"],
                    client["id"],
                    "unix" if client["is_unix"] else client["addr"],
                    client["port"],
                    client["application_name"],
                    time_text(client["request_time"]),
                    client["wait_us"] // 1_000_000,
                    line["cause"],
                    detail,
                    holders,
                )
            )
    return rows


def _order(line: TableRow) -> tuple[bytes, bytes]:
    return name_order(line["database"]), name_order(line["user"])


def detail_of(line: TableRow) -> str:
    """What keeps a server from the first of a line, in a sentence."""
    if line["cause"] in _PLAIN:
        return _PLAIN[line["cause"]]
    if line["limit"]:
        return f"{line['used']} of {line['limit']} servers are there"
    again = f"; tried again in {line['retry_s']:.1f} s" if line["retry_s"] else "; being tried again"
    return f"{line['error']}{again}"


def holders_of(line: TableRow) -> str:
    """The clients that have the servers in question: `C-42 report 10.0.0.1:4711 idle in transaction 8 s`."""
    told = [_holder(one) for one in line["holders"]]
    more = line["held"] - len(told)
    if more > 0:
        told.append(f"and {more} more")
    return "; ".join(told)


def _holder(client: TableRow) -> str:
    name = f" {client['application_name']}" if client["application_name"] else ""
    where = "unix" if client["is_unix"] else f"{client['addr']}:{client['port']}"
    activity = client["activity"]
    if client["pinned"]:
        activity = (
            f"pinned: {client['pinned']}" if activity == "pinned" else f"{activity}, {client['pinned']}"
        )
    return f"C-{client['id']}{name} {where} {activity} {client['activity_s']:.0f} s"
