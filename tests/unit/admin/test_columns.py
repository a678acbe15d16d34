"""Columns of every SHOW, with their types, exactly as PgBouncer 1.25 sends them; ours where asked for."""

from __future__ import annotations

import pytest

from pooler.admin.command import COMMANDS
from pooler.protocol import messages
from tests.unit.admin.fakes import Bench

_CONNECTION = """type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25
    local_port:23 connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 link:25
    remote_pid:23 tls:25 application_name:25 prepared_statements:23 id:23"""
_BUFFERS = "recv_pos:23 pkt_pos:23 pkt_remain:23 send_pos:23 send_remain:23 pkt_avail:23 send_avail:23"
# No number: numeric.
_COUNTERS = """server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time
    wait_time client_parse_count server_parse_count bind_count client_login_count"""

PGBOUNCER = {
    "clients": _CONNECTION,
    "servers": _CONNECTION,
    "sockets": _CONNECTION + " " + _BUFFERS,
    "active_sockets": _CONNECTION + " " + _BUFFERS,
    "pools": """database:25 user:25 cl_active:23 cl_waiting:23 cl_active_cancel_req:23
        cl_waiting_cancel_req:23 sv_active:23 sv_active_cancel:23 sv_being_canceled:23 sv_idle:23 sv_used:23
        sv_tested:23 sv_login:23 maxwait:23 maxwait_us:23 pool_mode:25 load_balance_hosts:25""",
    "peer_pools": """peer_id:23 cl_active_cancel_req:23 cl_waiting_cancel_req:23 sv_active_cancel:23
        sv_login:23""",
    "databases": """name:25 host:25 port:23 database:25 force_user:25 pool_size:23 min_pool_size:23
        reserve_pool_size:23 server_lifetime:23 pool_mode:25 load_balance_hosts:25 max_connections:23
        current_connections:23 max_client_connections:23 current_client_connections:23 paused:23
        disabled:23""",
    "users": """name:25 pool_size:25 reserve_pool_size:25 pool_mode:25 max_user_connections:23
        current_connections:23 max_user_client_connections:23 current_client_connections:23""",
    "peers": "peer_id:23 host:25 port:23 pool_size:23",
    "lists": "list:25 items:23",
    "stats": """database:25 total_server_assignment_count total_xact_count total_query_count total_received
        total_sent total_xact_time total_query_time total_wait_time total_client_parse_count
        total_server_parse_count total_bind_count total_client_login_count avg_server_assignment_count
        avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time
        avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count""",
    "stats_totals": "database:25 " + _COUNTERS,
    "stats_averages": """database:25 server_assignment_count xact_count query_count bytes_received bytes_sent
        xact_time query_time wait_time avg_client_parse_count avg_server_parse_count avg_bind_count
        avg_client_login_count""",
    "totals": "name:25 value:1700",
    "config": "key:25 value:25 default:25 changeable:25",
    "mem": "name:25 size:23 used:23 free:23 memtotal:23",
    "state": "key:25 value:25",
    "version": "version:25",
    "dns_hosts": "hostname:25 ttl:20 addrs:25",
    "dns_zones": "zonename:25 serial:20 count:23",
    "fds": """fd:23 task:25 user:25 database:25 addr:25 port:23 cancel:20 link:23 client_encoding:25
        std_strings:25 datestyle:25 timezone:25 password:25 scram_client_key:17 scram_server_key:17""",
}

OURS = {
    "histograms": """database:25 user:25 measure:25 method:25 count:20 p50_us:20 p90_us:20 p99_us:20
        p999_us:20 recent_count:20 recent_p50_us:20 recent_p90_us:20 recent_p99_us:20 recent_p999_us:20""",
    "clients": """worker:23 slot:23 pinned:25 pinned_since:25 memory:20 activity:25 activity_since:25
        xact_start:25 query_start:25""",
    "waiting": """database:25 user:25 place:23 waiting:23 client_id:23 addr:25 port:23 application_name:25
        since:25 seconds:20 blocked_by:25 detail:25 holders:25""",
    "pins": """database:25 user:25 client_id:23 ptr:25 addr:25 port:23 server_pid:23 reason:25 since:25
        seconds:20 worker:23 slot:23""",
    "pin_totals": """database:25 user:25 session_asks settings_applied session_resets pins advisory_lock
        temporary_object
        prepare holdable_cursor listen setting load sequence catalogs_unread interpreter""",
    "servers": "worker:23 slot:23",
    "sockets": "worker:23 slot:23",
    "active_sockets": "worker:23 slot:23",
    "pools": "pool_size:23 reserve_pool_size:23 paused:23 mean_wait_us:20",
    "workers": """worker:23 pid:23 clients:23 active:23 started:25 restarts:23 heartbeat_age_ms:23
        loop_lag_us:23""",
    "turns": "worker:23 turns:20 longest_us:20",
    "catalogs": """database:25 state:25 functions:23 relations:23 asked:25 known_since:25 last_look:25
        cost_us:20 bytes:20 worker:23""",
    "listeners": "database:25 channel:25 clients:23 worker:23 state:25",
    "slots": """slot:23 generation:23 state:25 worker:23 database:25 user:25 server_id:23 client_id:23
        backend_pid:23 connect_time:25 close_needed:23""",
}


def _expected(text: str) -> list[tuple[str, int]]:
    pairs = [word.partition(":") for word in text.split()]
    return [(name, int(oid or 1700)) for name, _, oid in pairs]


@pytest.mark.parametrize("name", sorted({*PGBOUNCER, *OURS}))
def test_columns(bench: Bench, name: str) -> None:
    kind, body = next(each for each in bench.execute(f"SHOW {name}") if each[0] != b"N")
    assert kind == b"T"
    sent = [(column.name, column.type_oid) for column in messages.parse_row_description(body)]
    assert sent == _expected(PGBOUNCER.get(name) or OURS[name])


@pytest.mark.parametrize("name", sorted({*PGBOUNCER} & {*OURS}))
def test_columns_of_ours_are_shown_by_a_word_of_ours(bench: Bench, name: str) -> None:
    _, body = next(each for each in bench.execute(f"show {name} extended;") if each[0] == b"T")
    sent = [(column.name, column.type_oid) for column in messages.parse_row_description(body)]
    assert sent == _expected(f"{PGBOUNCER[name]} {OURS[name]}")


def test_others_have_no_more(bench: Bench) -> None:
    for text in ("SHOW STATS EXTENDED", "SHOW EXTENDED", "RELOAD p0 EXTENDED", "SHOW POOLS EXTENDED x"):
        assert [kind for kind, _ in bench.execute(text)] == [b"E", b"Z"], text


def test_every_show_is_covered_here() -> None:
    shown = {words[1] for words, entry in COMMANDS.items() if words[0] == "show" and not entry.hidden}
    assert shown == {*PGBOUNCER, *OURS, "help"}


def test_what_is_described_is_what_is_sent(bench: Bench) -> None:
    for words, entry in COMMANDS.items():
        if words[0] == "show":
            result = bench.run(" ".join(words))
            assert result.columns == entry.columns, words
            assert all(len(row) == len(entry.columns or ()) for row in result.rows), words
