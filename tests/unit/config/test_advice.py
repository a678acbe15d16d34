"""Advice of `pooler check` about configurations that load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pooler.config import check

SAFE = "[databases]\n* = host=h\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = scram-sha-256\n"


def advice(tmp_path: Path, text: str, users: str = '"u" "secret"\n') -> list[str]:
    """Texts for `text` behind a sound configuration."""
    userlist = tmp_path / "users"
    userlist.write_text(users)
    os.chmod(userlist, 0o600)
    file = tmp_path / "p.ini"
    file.write_text(f"{SAFE}auth_file = {userlist}\n{text}")
    return [f"{p.line} {p.severity}: {p.text}" for p in check(str(file))]


def test_sound(tmp_path: Path) -> None:
    assert advice(tmp_path, "") == []


def test_problems_that_keep_it_from_loading(tmp_path: Path) -> None:
    assert advice(tmp_path, "nonsense = 1\n") == ["7 error: unknown parameter 'nonsense'"]


def test_warnings_of_the_load_are_there_too(tmp_path: Path) -> None:
    assert any(
        line.startswith("7 warning: auth_ldap_options: ") for line in advice(tmp_path, "auth_type = ldap\n")
    )


@pytest.mark.parametrize(
    ("text", "line", "warning"),
    [
        (
            "auth_type = trust",
            7,
            "auth_type=trust lets in everybody who reaches listen_addr, without a password",
        ),
        ("auth_type = plain", 7, "auth_type=plain sends passwords in clear over the network"),
        ("auth_file =", 5, "auth_type=scram-sha-256 without auth_file or auth_user: nobody can log in"),
        ("admin_users = u, root", 7, "admin_users names users that auth_file lacks: root"),
        ("stats_users = x, y", 7, "stats_users names users that auth_file lacks: x, y"),
        ("min_pool_size = 30", 2, "min_pool_size 30 is above pool_size 20"),
        ("max_db_connections = 10", 2, "pool_size 20 is above max_db_connections 10"),
        ("unix_socket_mode = 777", 7, "unix_socket_mode=777 is decimal, that is 0o1411; did you mean 0777?"),
        (
            "max_db_client_connections = 500",
            7,
            "max_db_client_connections is above max_client_conn and never reached",
        ),
        ("reserve_pool_size=1\nreserve_pool_timeout=0", 8, "reserve_pool_timeout=0 switches the reserve off"),
        ("[databases]\nd = min_pool_size=9 pool_size=3", 8, "min_pool_size 9 is above pool_size 3"),
    ],
)
def test_one_warning(tmp_path: Path, text: str, line: int, warning: str) -> None:
    assert advice(tmp_path, f"{text}\n") == [f"{line} warning: {warning}"]


def test_trust_without_tcp_is_fine(tmp_path: Path) -> None:
    assert advice(tmp_path, "auth_type = trust\nlisten_addr =\n") == []


def test_nothing_to_listen_on(tmp_path: Path) -> None:
    assert advice(tmp_path, "listen_addr =\nunix_socket_dir =\n") == [
        "7 warning: neither listen_addr nor unix_socket_dir: there is nothing to listen on"
    ]


def test_any_needs_forced_users(tmp_path: Path) -> None:
    texts = advice(tmp_path, "auth_type = any\nlisten_addr =\n[databases]\nd = user=u\n")
    assert texts == ["2 warning: auth_type=any needs a user= in the entry of '*': nobody can use it"]


def test_md5_secrets_for_scram(tmp_path: Path) -> None:
    users = "".join(f'"u{i}" "md5{i:032x}"\n' for i in range(7)) + '"v" "md5 is my password"\n'
    assert advice(tmp_path, "", users) == [
        "6 warning: 7 users have an md5 secret and can't log in with scram-sha-256: u0, u1, u2, u3, u4 ..."
    ]


def test_no_databases(tmp_path: Path) -> None:
    file = tmp_path / "p.ini"
    file.write_text("[pgbouncer]\nauth_type=trust\n")
    assert [p.text for p in check(str(file))] == [
        "auth_type=trust without auth_file or auth_user: nobody can log in",
        "no databases: only the console can be used",
    ]


def test_missing_file() -> None:
    assert [p.severity for p in check("/nonexistent")] == ["error"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stats_users = u", []),
        (
            "",
            [
                "7 warning: neither admin_users nor stats_users:"
                " by HTTP only /healthz and /readyz can be asked for"
            ],
        ),
        (
            "stats_users = u\nhttp_allow = 10.0.0.0/8",
            ["9 warning: http_tls_sslmode=disable: passwords of console users go over the network in clear"],
        ),
        ("stats_users = u\nhttp_allow = 10.0.0.0/8\nhttp_tls_sslmode = require", []),
        (
            "stats_users = u\nhttp_allow = *\nauth_type = trust\nlisten_addr =",
            ["9 warning: auth_type=trust: addresses of http_allow need no password for the figures"],
        ),
        (
            "http_allow = localhost",
            ["8 error: http_allow: 'localhost' does not appear to be an IPv4 or IPv6 network"],
        ),
        (
            "listen_port = 9127",
            ["7 error: http_listen_port 9127 is listen_port: HTTP needs a port of its own"],
        ),
        ("listen_port = 9127\nlisten_addr = 10.0.0.1\nstats_users = u", []),
        ("http_listen_addr =", ["8 error: http_listen_port without http_listen_addr: nowhere to listen on"]),
    ],
)
def test_http(tmp_path: Path, text: str, found: list[str]) -> None:
    assert advice(tmp_path, f"http_listen_port = 9127\n{text}\n") == found
