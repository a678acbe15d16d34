"""The table of settings: complete, consistent, and PgBouncer's where PgBouncer has the setting."""

from __future__ import annotations

import dataclasses

import pytest

from pooler.config.settings import MASK, SETTINGS, Settings, parse_setting, setting_rows

# SHOW CONFIG of PgBouncer 1.25: name, default, changeable (None: NULL).
PGBOUNCER = """
admin_users||yes application_name_add_host|0|yes auth_dbname|NULL|yes auth_file|NULL|yes auth_hba_file||yes
auth_ident_file|NULL|yes auth_ldap_options|NULL|yes auth_type|md5|yes auth_user|NULL|yes
autodb_idle_timeout|3600|yes cancel_wait_timeout|10|yes client_idle_timeout|0|yes client_login_timeout|60|yes
client_tls13_ciphers|NULL|yes client_tls_ca_file||yes client_tls_cert_file||yes client_tls_ciphers|default|yes
client_tls_dheparams|auto|yes client_tls_ecdhcurve|auto|yes client_tls_key_file||yes
client_tls_protocols|secure|yes client_tls_sslmode|disable|yes conffile|NULL|yes default_pool_size|20|yes
disable_pqexec|0|no dns_max_ttl|15|yes dns_nxdomain_ttl|15|yes dns_zone_check_period|0|yes
idle_transaction_timeout|0|yes ignore_startup_parameters||yes job_name|pgbouncer|no listen_addr||no
listen_backlog|128|no listen_port|6432|no log_connections|1|yes log_disconnections|1|yes
log_pooler_errors|1|yes log_stats|1|yes logfile||yes login_notify_message||yes max_client_conn|100|yes
max_db_client_connections|0|yes max_db_connections|0|yes max_packet_size|2147483647|yes
max_prepared_statements|200|yes max_user_client_connections|0|yes max_user_connections|0|yes
min_pool_size|0|yes peer_id|0|yes pidfile||no pkt_buf|4096|no pool_idle_timeout|0|yes pool_mode|session|yes
query_timeout|0|yes query_wait_notify|5|yes query_wait_timeout|120|yes reserve_pool_size|0|yes
reserve_pool_timeout|5|yes resolv_conf||no sbuf_loopcnt|5|yes scram_iterations|4096|yes
server_check_delay|30|yes server_check_query|<empty>|yes server_connect_timeout|15|yes
server_fast_close|0|yes server_idle_timeout|600|yes server_lifetime|3600|yes server_login_retry|15|yes
server_reset_query_always|0|yes server_round_robin|0|yes server_tls13_ciphers|NULL|yes
server_tls_ca_file||yes server_tls_cert_file||yes server_tls_ciphers|default|yes server_tls_key_file||yes
server_tls_protocols|secure|yes server_tls_sslmode|prefer|yes so_reuseport|0|no stats_period|60|yes
stats_users||yes suspend_timeout|10|yes syslog|0|yes syslog_facility|daemon|yes syslog_ident|pgbouncer|yes
tcp_defer_accept|1|yes tcp_keepalive|1|yes tcp_keepcnt|0|yes tcp_keepidle|0|yes tcp_keepintvl|0|yes
tcp_socket_buffer|0|yes tcp_user_timeout|0|yes track_extra_parameters|IntervalStyle|no
transaction_timeout|0|yes unix_socket_dir|/tmp|no unix_socket_group||no unix_socket_mode|0777|no user|NULL|no
verbose|NULL|yes
"""
# Defaults with spaces in them.
PGBOUNCER_TOO = {
    "auth_query": "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname=$1 AND rolcanlogin",
    "server_reset_query": "DISCARD ALL",
}
NAMES = tuple(SETTINGS)


def test_all_of_pgbouncer_with_its_defaults() -> None:
    expected = {}
    for row in PGBOUNCER.split():
        name, default, changeable = row.split("|")
        expected[name] = (None if default == "NULL" else default, changeable)
    expected |= {name: (default, "yes") for name, default in PGBOUNCER_TOO.items()}
    rows = {name: (default, changeable) for name, _, default, changeable in setting_rows(Settings())}
    assert {name: row for name, row in rows.items() if not SETTINGS[name].own} == expected
    assert len(expected) == 100


def test_rows_are_alphabetical() -> None:
    names = [row[0] for row in setting_rows(Settings())]
    assert names == sorted(names) == sorted(f.name for f in dataclasses.fields(Settings))


def test_rows_show_values_as_pgbouncer() -> None:
    changed = Settings(
        unix_socket_mode=0o700,
        query_timeout=0.25,
        admin_users=("a", "b"),
        log_stats=False,
        workers=3,
        verbose=2,
    )
    rows = {row[0]: row[1] for row in setting_rows(changed)}
    assert rows["unix_socket_mode"] == "448"
    assert rows["query_timeout"] == "0.25"
    assert rows["admin_users"] == "a, b"
    assert rows["log_stats"] == "0"
    assert rows["workers"] == "3"
    assert rows["verbose"] == "2"
    assert rows["auth_file"] is None


def test_secrets_are_masked() -> None:
    rows = {row[0]: row for row in setting_rows(Settings(auth_ldap_options="ldapbindpasswd=hunter2"))}
    assert rows["auth_ldap_options"][1] == MASK
    assert "hunter2" not in str(rows)
    assert {row[0]: row[1] for row in setting_rows(Settings())}["auth_ldap_options"] is None


@pytest.mark.parametrize("name", NAMES)
def test_each_default_is_read_back_and_within_bounds(name: str) -> None:
    setting = SETTINGS[name]
    assert getattr(Settings(), name) == setting.default
    text = setting.format(setting.default)
    if text is not None:
        assert setting.parse(text) == setting.default
    if setting.default_text is not None:
        assert setting.parse(setting.default_text) == setting.default


@pytest.mark.parametrize("name", NAMES)
def test_each_entry_is_complete(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.text.endswith(".")
    assert setting.group
    assert setting.apply in ("live", "new", "restart")
    assert bool(setting.words) == (setting.kind == "word")
    assert setting.default is not None or setting.nullable


def test_python_types_follow_kinds() -> None:
    types = {
        "integer": int,
        "switch": bool,
        "seconds": float,
        "list": tuple,
        "word": str,
        "workers": int,
        "text": str,
    }
    for name, setting in SETTINGS.items():
        value = getattr(Settings(), name)
        assert value is None or type(value) is types[setting.kind], name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("listen_prt", "1", "unknown parameter 'listen_prt', did you mean listen_port?"),
        (
            "listen_port",
            "65536",
            "invalid value '65536' for listen_port: out of range, allowed is 0 to 65535",
        ),
        ("log_stats", "yes", "invalid value 'yes' for log_stats: not a switch: write 0 or 1"),
        (
            "pool_mode",
            "tx",
            "invalid value 'tx' for pool_mode: must be one of session, transaction, statement",
        ),
        ("query_timeout", "-1", "invalid value '-1' for query_timeout: out of range"),
        ("workers", "0", "invalid value '0' for workers: out of range, allowed is 1 to 64; or write auto"),
        ("max_client_conn", "", "invalid value '' for max_client_conn: not an integer"),
        ("default_pool_size", "-1", "out of range"),
    ],
)
def test_errors_name_setting_value_and_what_is_allowed(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_setting(name, text)
    assert message in str(caught.value)


def test_overlong_values_are_cut_in_errors() -> None:
    with pytest.raises(ValueError, match="not an integer") as caught:
        parse_setting("listen_port", "x" * 100_000)
    assert len(str(caught.value)) < 200


def test_empty_text_of_a_nullable_setting_is_null() -> None:
    assert parse_setting("auth_file", "") is None
    assert parse_setting("logfile", "") == ""


def test_workers() -> None:
    assert parse_setting("workers", "Auto") == 0
    assert Settings().worker_count >= 1
    assert Settings(workers=3).worker_count == 3


@pytest.mark.parametrize(("text", "query"), [("<empty>", ""), ("", None), ("select 1", "select 1")])
def test_check_query(text: str, query: str | None) -> None:
    assert Settings(server_check_query=text).check_query == query
