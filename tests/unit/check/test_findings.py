"""What `pooler check` says about files, without PostgreSQL."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from pooler.check import Report, examine
from pooler.dev.processes import free_port
from tests.support.stored_secrets import scram_secret

SCRAM = scram_secret("secret")
SAFE = "[databases]\nd = host=127.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = scram-sha-256\n"


def check(
    tmp_path: Path, text: str = "", users: str = '"u" "secret"\n', head: str = SAFE, mode: int = 0o600
) -> Report:
    userlist = tmp_path / "users"
    userlist.write_text(users)
    userlist.chmod(0o600)
    file = tmp_path / "p.ini"
    file.write_text(f"{head}auth_file = {userlist}\n{text}")
    file.chmod(mode)
    return examine(str(file))


def texts(report: Report, *topics: str) -> list[str]:
    return [problem.text for topic in topics for problem in report.of(topic)]


def test_sound(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert texts(report, "error", "server", "unsafe", "unused", "advice") == []
    assert report.exit_code(strict=True) == 0
    assert report.same == (
        "3 of 3 settings given, 1 databases, 0 entries of [users], 1 users of auth_file, 0 peers"
    )


def test_errors_come_alone(tmp_path: Path) -> None:
    report = check(tmp_path, "nonsense = 1\npool_mode = none\n")
    assert [problem.line for problem in report.of("error")] == [7, 8]
    assert report.exit_code() == 1
    assert not report.of("differs")


@pytest.mark.parametrize(
    ("text", "is_own"),
    [
        ("[peers]\n2 = host=127.0.0.1 port=6432\n", True),
        ("[peers]\n2 = host=localhost port=6432\n", True),
        ("unix_socket_dir = /run/p\n[peers]\n2 = host=/run/p/ port=6432\n", True),
        ("listen_addr = *\n[peers]\n2 = host=::1 port=6432\n", True),
        ("[peers]\n1 = host=127.0.0.1 port=6432\n", False),
        ("[peers]\n2 = host=127.0.0.1 port=6433\n", False),
        ("[peers]\n2 = host=/elsewhere port=6432\n", False),
        ("so_reuseport = 1\n[peers]\n2 = host=127.0.0.1 port=6432\n", False),
        ("[peers]\n2 = host=127.0.0.2 port=6432\n", False),
    ],
)
def test_peer_that_is_ourselves(tmp_path: Path, text: str, is_own: bool) -> None:
    """Each cancel request for it would come back, at every hop."""
    said = texts(check(tmp_path, f"peer_id = 1\n{text}"), "advice")
    assert any("is this instance itself" in one for one in said) is is_own, said


@pytest.mark.parametrize(
    ("text", "is_gullible"),
    [
        ("", True),
        ("server_require_auth = scram-sha-256\n", False),
        ("server_tls_sslmode = require\n", False),
        ("server_tls_sslmode = prefer\n", True),
    ],
)
def test_passwords_that_may_be_asked_for_in_clear(tmp_path: Path, text: str, is_gullible: bool) -> None:
    remote = SAFE.replace("host=127.0.0.1", "host=h")
    said = texts(check(tmp_path, text, head=remote), "unsafe")
    assert any("server_require_auth=scram-sha-256" in one for one in said) is is_gullible, said
    assert not texts(check(tmp_path, text), "unsafe")
    without = texts(check(tmp_path, text, users='"u" ""\n', head=remote), "unsafe")
    assert not any("server_require_auth" in one for one in without)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "listen_addr = *\nauth_type = md5\n",
            "auth_type=md5 on all addresses (listen_addr = *) without TLS",
        ),
        (
            "auth_type = trust\nadmin_users = u\n",
            "whoever names himself u may give every order on the console",
        ),
        ("auth_type = trust\n", "auth_type=trust lets in everybody who reaches listen_addr"),
        ("[databases]\ne = host=h user=u password=x\n", "e: password in the ini; better in auth_file"),
    ],
)
def test_unsafe(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in one for one in texts(check(tmp_path, text), "unsafe"))


def test_passwords_that_others_read(tmp_path: Path) -> None:
    report = check(tmp_path, "[databases]\ne = host=127.0.0.1 user=u password=x\n", mode=0o644)
    (text,) = texts(report, "unsafe")
    assert text == "e: password in the ini, which others may read (mode 0644), better: chmod 600"
    assert [problem.line for problem in report.of("unsafe")] == [8]


def test_files_that_others_write(tmp_path: Path) -> None:
    (text,) = texts(check(tmp_path, mode=0o620), "unsafe")
    assert text == "others may write this file (mode 0620), and so decide who gets in"


def test_a_userlist_that_others_read(tmp_path: Path) -> None:
    check(tmp_path)
    os.chmod(tmp_path / "users", 0o644)
    (text,) = texts(examine(str(tmp_path / "p.ini")), "unsafe")
    assert "is open to group or others (mode 0644)" in text


def test_empty_passwords(tmp_path: Path) -> None:
    (text,) = texts(check(tmp_path, users='"a" ""\n"b" "x"\n"c" ""\n'), "unsafe")
    assert text == "2 users have an empty password in auth_file and can't log in by it: a, c"


def test_without_effect(tmp_path: Path) -> None:
    (text,) = texts(check(tmp_path, "pkt_buf = 8192\n"), "unused")
    assert text.startswith("pkt_buf has no effect: ")


def test_session_state_is_told_where_it_matters(tmp_path: Path) -> None:
    def told(text: str) -> bool:
        return any("session_state" in one for one in texts(check(tmp_path, text), "differs"))

    assert not told("")
    assert told("pool_mode = transaction\n")
    assert told("[users]\nu = pool_mode=statement\n")
    assert not told("pool_mode = transaction\nsession_state = off\n")


# Sums.


def test_pools_add_up(tmp_path: Path) -> None:
    databases = "[databases]\n" + "".join(f"d{i} = host=i,j pool_size=49\n" for i in range(2))
    assert texts(check(tmp_path, databases), "advice") == [
        f"the pools for {host}:5432 add up to 98 connections for each user; compare with its max_connections"
        " (pooler check --connect), or set max_server_connections"
        for host in "ij"
    ]
    assert texts(check(tmp_path, f"max_server_connections = 90\n{databases}"), "advice") == []


def test_a_pool_without_limit(tmp_path: Path) -> None:
    (text,) = texts(check(tmp_path, "[databases]\nd = host=h pool_size=0\n"), "advice")[-1:]
    assert text.startswith("the pools for h:5432 have no limit; ")
    limited = "[databases]\nd = host=h pool_size=0 max_db_connections=9\n"
    assert not any("pools" in one for one in texts(check(tmp_path, limited), "advice"))


# Open files.


def test_too_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, 512))
    report = check(tmp_path, "max_client_conn = 5000\nworkers = 1\n")
    (text,) = texts(report, "error")
    assert text.startswith("the limit of open files (512) is too low for max_client_conn = 5000")
    assert report.of("error")[0].line == 7
    assert report.exit_code() == 1


# Files of PgBouncer's own.


def test_debians_file_is_clean(tmp_path: Path) -> None:
    """What Debian installs, to the line; comments left out."""
    users = tmp_path / "userlist.txt"
    users.write_text("")
    users.chmod(0o640)
    file = tmp_path / "pgbouncer.ini"
    file.write_text(
        "[databases]\n[users]\n[pgbouncer]\nlogfile = /var/log/postgresql/pgbouncer.log\n"
        "pidfile = /var/run/postgresql/pgbouncer.pid\nlisten_addr = localhost\nlisten_port = 6432\n"
        f"unix_socket_dir = /var/run/postgresql\nauth_type = md5\nauth_file = {users}\n"
    )
    file.chmod(0o640)
    report = examine(str(file))
    assert texts(report, "error", "server", "unsafe", "unused") == []
    assert texts(report, "advice") == ["no databases: only the console can be used"]
    assert report.exit_code(strict=True) == 0


# Logins.


@pytest.mark.parametrize(
    ("text", "users", "said"),
    [
        ("auth_user = u\n", f'"u" "{SCRAM}"\n', "auth_user u has only a SCRAM secret in auth_file"),
        ("[databases]\ne = auth_user=v\n", f'"v" "{SCRAM}"\n', "auth_user v has only a SCRAM secret"),
        ("auth_query = SELECT a, b FROM c($1)\n", '"u" "x"\n', "auth_query without auth_user"),
        ("auth_user = u\n", '"u" "its password"\n', ""),
        ("auth_user = w\n", '"u" "x"\n', ""),
    ],
)
def test_logins_that_cannot_work(tmp_path: Path, text: str, users: str, said: str) -> None:
    report = check(tmp_path, text, users=users)
    found = texts(report, "login")
    assert [said in one for one in found] == ([True] if said else [])
    assert report.exit_code() == (2 if said else 0)


def test_no_way_in(tmp_path: Path) -> None:
    file = tmp_path / "p.ini"
    file.write_text("[databases]\nd = host=h\n[pgbouncer]\nauth_type = scram-sha-256\n")
    report = examine(str(file))
    assert texts(report, "login") == [
        "auth_type=scram-sha-256 without auth_file or auth_user: nobody can log in"
    ]
    assert report.exit_code() == 2


def test_lines_that_are_left_out(tmp_path: Path) -> None:
    """One of them may have refused somebody."""
    hba = tmp_path / "hba"
    hba.write_text("local all all trust\nhost all all all rejct\n")
    report = check(tmp_path, f"auth_hba_file = {hba}\nauth_type = hba\n")
    (text,) = texts(report, "dropped")
    assert text.startswith("could not parse hba config line 2: ")
    assert report.exit_code() == 2


def test_a_file_of_rules_without_effect_or_missing(tmp_path: Path) -> None:
    (text,) = texts(check(tmp_path, "auth_hba_file = /etc/hba\n"), "advice")
    assert text == "auth_hba_file has no effect: only auth_type=hba reads it"
    assert texts(check(tmp_path, "auth_type = hba\n"), "error") == ["auth_type=hba needs auth_hba_file"]


# This machine.


def errors_here(tmp_path: Path, text: str) -> list[str]:
    """What a start would run into."""
    check(tmp_path, text)
    report = examine(str(tmp_path / "p.ini"), here=True)
    assert report.exit_code() == (1 if report.of("error") else 0), report.text()
    assert all(problem.line for problem in report.of("error"))
    return texts(report, "error")


@pytest.mark.parametrize("key", ["logfile", "pidfile", "unix_socket_dir"])
def test_directories_that_are_not_there(tmp_path: Path, key: str) -> None:
    place = tmp_path / "missing"
    name = str(place) if key == "unix_socket_dir" else str(place / "file")
    text = f"listen_port = {free_port()}\nunix_socket_dir =\n{key} = {name}\n"
    assert errors_here(tmp_path, text) == [f"there is no directory {place}"]
    place.mkdir()
    assert errors_here(tmp_path, text) == []


def test_directories_that_a_unit_makes(tmp_path: Path) -> None:
    """They are gone at each boot, and there when the service starts."""
    check(tmp_path, f"listen_port = {free_port()}\nunix_socket_dir = /run/not-there-yet\n")
    report = examine(str(tmp_path / "p.ini"), here=True)
    assert any("RuntimeDirectory" in text for text in texts(report, "advice"))
    assert report.exit_code() == 0


def test_a_log_that_is_a_directory(tmp_path: Path) -> None:
    text = f"listen_port = {free_port()}\nunix_socket_dir =\nlogfile = {tmp_path}\n"
    assert errors_here(tmp_path, text) == [f"{tmp_path} is a directory"]


def test_files_of_tls(tmp_path: Path) -> None:
    quiet = f"listen_port = {free_port()}\nunix_socket_dir =\nclient_tls_sslmode = require\n"
    (text,) = errors_here(tmp_path, quiet)
    assert "client_tls_key_file and client_tls_cert_file must be set" in text
    files = f"client_tls_key_file = {tmp_path}/key\nclient_tls_cert_file = {tmp_path}/cert\n"
    (text,) = errors_here(tmp_path, quiet + files)
    assert text.startswith("TLS setup failed: invalid client_tls_key_file: ")
    (tmp_path / "key").write_text("no key")
    (tmp_path / "cert").write_text("no certificate")
    (text,) = errors_here(tmp_path, quiet + files)
    assert text.startswith("TLS setup failed: client_tls")


def test_addresses_that_others_have(tmp_path: Path) -> None:
    with socket.socket() as other, socket.socket(socket.AF_UNIX) as local:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = f"listen_port = {port}\nunix_socket_dir = {tmp_path}\n"
        assert errors_here(tmp_path, text) == [
            f"cannot listen on 127.0.0.1, port {port}: Address already in use"
        ]
        local.bind(str(tmp_path / f".s.PGSQL.{port}"))
        local.listen()
        assert f"another process listens on {tmp_path}/.s.PGSQL.{port}" in errors_here(tmp_path, text)
    assert errors_here(tmp_path, text) == [], "what a dead process has left of its socket is replaced"


def test_an_account_that_is_not_there(tmp_path: Path) -> None:
    text = f"listen_port = {free_port()}\nunix_socket_dir =\nuser = nobody-of-that-name\n"
    assert errors_here(tmp_path, text) == ["cannot run as user 'nobody-of-that-name': there is no such user"]


def test_a_port_of_http_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"listen_port = {free_port()}\nunix_socket_dir =\nstats_users = u\nhttp_listen_port = {port}\n"
        assert errors_here(tmp_path, text) == [
            f"cannot listen on 127.0.0.1, port {port}: Address already in use"
        ]
    assert errors_here(tmp_path, text) == []
