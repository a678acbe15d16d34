"""`pooler check --connect` with a real PostgreSQL, and with PgBouncer's own configuration files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import free_port
from tests.support.install import need
from tests.support.postgres import Postgres

Check = Callable[..., tuple[int, dict[str, list[str]]]]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pooler", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def check(pg: Postgres, tmp_path: Path) -> Check:
    """check(databases, users, settings): exit code and texts by topic."""

    def ask(databases: str, users: dict[str, str], settings: str = "") -> tuple[int, dict[str, list[str]]]:
        userlist = tmp_path / "users"
        userlist.write_text("".join(f'"{name}" "{secret}"\n' for name, secret in users.items()))
        userlist.chmod(0o600)
        ini = tmp_path / "p.ini"
        ini.write_text(
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free_port()}\n"
            f"auth_type = scram-sha-256\nauth_file = {userlist}\ndefault_pool_size = 5\n"
            f"{settings}\n[databases]\n" + databases.replace("PG", f"host={pg.host} port={pg.port}")
        )
        ini.chmod(0o600)
        done = run("--connect", "--json", ini)
        assert done.stderr == ""
        told: dict[str, Any] = json.loads(done.stdout)
        topics: dict[str, list[str]] = {}
        for finding in told["findings"]:
            topics.setdefault(finding["topic"], []).append(finding["text"])
        return done.returncode, topics

    return ask


def version(pg: Postgres) -> str:
    return str(pg.sql("SHOW server_version")[0][0])


def test_all_is_well(check: Check, pg: Postgres) -> None:
    users = {"bouncer": "", "puser": "pfoo", "muser": "mfoo", "suser": "sfoo"}
    code, topics = check("p0 = PG\np1 = PG user=suser\n", users)
    assert (code, topics.get("server")) == (0, None)
    (fact,) = topics["fact"]
    assert fact == (
        f"{pg.host}:{pg.port}: PostgreSQL {version(pg)}, takes 117 connections; the pools may open"
        " 10 with one user each, up to 25 with all users; 5 logins tried"
    )


def test_a_stored_md5_secret_is_enough(check: Check, pg: Postgres) -> None:
    ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'muser'")
    code, topics = check("p0 = PG\n", {"muser": stored})
    assert (code, topics.get("server")) == (0, None)


def test_scram_secrets_are_counted(check: Check, pg: Postgres) -> None:
    ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'suser'")
    code, topics = check("p0 = PG\n", {"suser": stored, "puser": "pfoo"})
    assert code == 0
    assert topics["fact"][0].endswith("1 logins tried, 1 users not tried (only their clients can log in)")


def test_a_wrong_password(check: Check, pg: Postgres) -> None:
    code, topics = check("p0 = PG\n", {"puser": "wrong"})
    assert code == 2
    assert topics["server"] == [
        f'p0 at {pg.host}:{pg.port}, user puser: password authentication failed for user "puser"'
    ]


def test_a_database_that_is_not_there(check: Check, pg: Postgres) -> None:
    code, topics = check("p0 = PG\nnone = PG\n", {"bouncer": ""})
    assert code == 2
    assert topics["server"] == [f'none at {pg.host}:{pg.port}, user bouncer: database "none" does not exist']


def test_nobody_is_there(check: Check) -> None:
    code, topics = check("p0 = host=127.0.0.1 port=1\np1 = host=/nonexistent\n", {"bouncer": ""})
    assert code == 2
    assert topics["server"] == [
        "127.0.0.1:1: connect failed: Connection refused",
        "/nonexistent:5432: connect failed: No such file or directory",
    ]


def test_somebody_is_there_whom_no_password_opens(check: Check, pg: Postgres) -> None:
    """Only SCRAM secrets, which are the recommended way."""
    ((stored,),) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'suser'")
    code, topics = check("p0 = PG\n", {"suser": stored})
    assert code == 0
    assert topics["fact"] == [
        f"{pg.host}:{pg.port}: answers; no login could be tried, the files have no password for it"
    ]
    code, topics = check("p0 = host=127.0.0.1 port=1\n", {"suser": stored})
    assert (code, topics["server"]) == (2, ["127.0.0.1:1: connect failed: Connection refused"])
    code, topics = check("p0 = PG\n", {"suser": stored}, "server_tls_sslmode = require")
    assert (code, topics["server"]) == (2, [f"{pg.host}:{pg.port}: server refused SSL"])


def test_users_of_the_console_alone(check: Check) -> None:
    """PostgreSQL need not know them."""
    code, topics = check("p0 = PG\n", {"bouncer": "", "boss": "x"}, "admin_users = boss")
    assert (code, topics.get("server")) == (0, None)
    assert any(text.endswith("as a user of the console that is all right") for text in topics["fact"])
    code, topics = check("p0 = PG\n", {"bouncer": "", "boss": "x"})
    assert (code, len(topics["server"])) == (2, 1)


def test_pools_above_max_connections(check: Check, pg: Postgres) -> None:
    code, topics = check("p0 = PG pool_size=100\np1 = PG pool_size=100\n", {"bouncer": ""})
    assert code == 2
    assert topics["server"] == [
        f"the pools for {pg.host}:{pg.port} may open 200 connections for each user, PostgreSQL takes 117"
        " (max_connections = 120 less those reserved); set max_server_connections = 117, or less"
    ]
    limited = check(
        "p0 = PG pool_size=100\np1 = PG pool_size=100\n", {"bouncer": ""}, "max_server_connections=90"
    )
    assert limited[0] == 0


def test_connection_limit_of_a_role(check: Check) -> None:
    code, topics = check("p0 = PG\n", {"limited": ""})
    assert code == 2
    assert topics["server"] == ["role limited may have 2 connections, its pool 5"]


def test_connect_query_that_fails(check: Check) -> None:
    code, topics = check("p0 = PG connect_query='SELECT nonsense'\n", {"bouncer": ""})
    assert code == 2
    assert 'column "nonsense" does not exist' in topics["server"][0]


@pytest.mark.parametrize(
    "path", ["/etc/pgbouncer/pgbouncer.ini", "/usr/share/doc/pgbouncer/examples/pgbouncer.ini"]
)
def test_files_of_debians_package_are_clean(path: str, tmp_path: Path) -> None:
    need("pgbouncer", path)
    copy = tmp_path / "pgbouncer.ini"
    shutil.copyfile(path, copy)
    copy.chmod(0o640)
    (tmp_path / "userlist.txt").touch(mode=0o640)
    text = copy.read_text().replace("/etc/pgbouncer/userlist.txt", str(tmp_path / "userlist.txt"))
    copy.write_text(text.replace("listen_port = 6432", f"listen_port = {free_port()}"))
    done = run("--strict", copy)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[0] == f"{copy}: pooler starts with it"
    assert " error: " not in done.stdout
    assert " warning: " not in done.stdout
