"""auth_type hba: rules decide by database, user and where somebody comes from; also on PgBouncer."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.crowd import refusal
from tests.support.pooler import Bouncer, PgBouncer, Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import startup

NO_METHOD = "no authentication method is found"
REJECTED = "login rejected"
PEER = "unix socket login rejected"
ME = pwd.getpwuid(os.getuid()).pw_name

#: Keeps the console reachable.
HEAD = f"host pgbouncer {SUPERUSER} 127.0.0.1/32 trust\n"


class Ruled(Pooler):
    """With files of rules and maps."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords |= {"suser": "sfoo", "muser": "mfoo", "puser": "pfoo", ME: "", "guest": ""}
        for name, setting in (("hba", "auth_hba_file"), ("ident", "auth_ident_file")):
            self._write(self.directory / name, HEAD if name == "hba" else "")
            self.settings[setting] = self.directory / name

    def rule(self, rules: str, ident: str = "") -> None:
        """These rules, in force."""
        self._write(self.directory / "ident", ident)
        self._write(self.directory / "hba", HEAD + rules)
        self.reload()


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Ruled:
    made = start_pooler(
        kind=Ruled,
        workers=request.param,
        listen_addr="127.0.0.1, ::1" if has_ipv6() else "127.0.0.1",
        auth_type="hba",
        databases={"p0": "user=bouncer", "p1": "user=bouncer", "bouncer": "dbname=p0", "guest": "dbname=p0"},
    )
    assert isinstance(made, Ruled)
    return made


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


def enters(pooler: Bouncer, **values: Any) -> bool:
    return pooler.sql("SELECT 1", **values) == [(1,)]


def unix(pooler: Bouncer) -> dict[str, Any]:
    return {"host": pooler.directory}


# What decides.


def test_first_rule_that_fits(pooler: Ruled) -> None:
    pooler.rule("host p0 suser all reject\nhost p0,p1 suser,muser all md5\nhost all muser all reject\n")
    assert REJECTED in refusal(pooler.dsn(user="suser", dbname="p0"))
    assert enters(pooler, user="suser", dbname="p1")
    assert enters(pooler, user="muser", dbname="p0")
    assert REJECTED in refusal(pooler.dsn(user="muser", dbname="bouncer"))
    assert NO_METHOD in refusal(pooler.dsn(user="puser", dbname="p0"))


@pytest.mark.parametrize("method", ["trust", "md5", "password", "scram-sha-256"])
def test_methods(pooler: Ruled, method: str) -> None:
    """Each asks as it does as auth_type; nobody gets in by a wrong password, or without being known."""
    pooler.rule(f"host all all all {method}\n")
    assert enters(pooler, user="suser", password="sfoo")
    unknown = refusal(pooler.dsn(user="unknown", password="sfoo"))
    text = {"trust": '"trust"', "scram-sha-256": "SASL"}.get(method, "password")
    assert f"{text} authentication failed" in unknown
    if method != "trust":
        assert f"{text} authentication failed" in refusal(pooler.dsn(user="suser", password="wrong"))


def test_addresses(pooler: Ruled) -> None:
    pooler.rule("host all all 127.0.0.2/32 trust\n")
    assert NO_METHOD in refusal(pooler.dsn(user="suser"))
    pooler.rule("host all all 127.0.0.0 255.255.255.0 trust\nhost all all 0.0.0.0/0 reject\n")
    assert enters(pooler, user="suser")
    assert NO_METHOD in refusal(pooler.dsn(user="suser", **unix(pooler)))
    if has_ipv6():
        assert NO_METHOD in refusal(pooler.dsn(user="suser", host="::1"))
        pooler.rule("host all all ::1/128 trust\n")
        assert enters(pooler, user="suser", host="::1")
        assert NO_METHOD in refusal(pooler.dsn(user="suser"))


def test_tls_or_not(pooler: Ruled) -> None:
    pooler.rule("hostssl all all all trust\n")
    assert NO_METHOD in refusal(pooler.dsn(user="suser", sslmode="disable"))
    pooler.rule("hostssl all all all trust\nhostnossl all all all md5\n")
    assert "password authentication failed" in refusal(
        pooler.dsn(user="suser", password="x", sslmode="disable")
    )
    pooler.rule("hostssl all all all trust\nhost all all all reject\n")
    assert REJECTED in refusal(pooler.dsn(user="suser", sslmode="disable"))


def test_keywords_and_files(pooler: Ruled) -> None:
    pooler._write(pooler.directory / "names", "suser\n# nobody else\nmuser, puser\n")
    pooler.rule("host sameuser all all trust\nhost all @names all reject\n")
    assert enters(pooler, user="bouncer", dbname="bouncer")
    assert NO_METHOD in refusal(pooler.dsn(user="bouncer", dbname="p0"))
    for user in ("suser", "muser", "puser"):
        assert REJECTED in refusal(pooler.dsn(user=user))


def test_physical_replication_needs_its_word(pooler: Ruled) -> None:
    pooler.rule("host all all all trust\n")
    with pooler.wire() as wire:
        wire.send(startup("bouncer", "p0", replication="true"))
        wire.expect_error("28000", NO_METHOD)


def test_console(pooler: Ruled) -> None:
    """The console's database is one like others."""
    pooler.rule("host pgbouncer bouncer all md5\n")
    assert NO_METHOD in refusal(pooler.dsn(user="suser", dbname="pgbouncer"))
    assert "authentication failed" in refusal(pooler.dsn(user="bouncer", dbname="pgbouncer", password="x"))


def test_unknown_database_is_not_told(pooler: Ruled) -> None:
    pooler.rule("host p0 all all md5\nhost all all all md5\n")
    assert "password authentication failed" in refusal(
        pooler.dsn(dbname="nowhere", user="suser", password="x")
    )
    assert "no such database" in refusal(pooler.dsn(dbname="nowhere", user="suser", password="sfoo"))


# Files that are wrong, and change.


def test_bad_line_is_named_and_the_others_count(pooler: Ruled) -> None:
    with pooler.expect_log(r"hba:3: .*could not parse hba config line 3: unsupported method: gss", count=1):
        pooler.rule("host all suser all md5\nhost all all all gss\nhost all muser all trust\n")
    assert enters(pooler, user="suser")
    assert enters(pooler, user="muser")
    assert NO_METHOD in refusal(pooler.dsn(user="puser"))


def test_missing_file_changes_nothing(pooler: Ruled) -> None:
    pooler.rule("host all suser all md5\n")
    (pooler.directory / "hba").unlink()
    with pooler.expect_log("could not open hba config file"), pytest.raises(Exception, match="RELOAD failed"):
        pooler.reload()
    assert enters(pooler, user="suser")
    assert NO_METHOD in refusal(pooler.dsn(user="muser"))


def test_reload_counts_everywhere_at_once(pooler: Ruled) -> None:
    for number in range(4):
        pooler.rule("host all suser all md5\n")
        assert all(enters(pooler, user="suser") for _ in range(4))
        pooler.rule("host all suser all reject\n")
        assert all(REJECTED in refusal(pooler.dsn(user="suser")) for _ in range(4)), f"turn {number}"


@pytest.mark.parametrize("method", ["trust", "md5", "password", "scram-sha-256", "peer"])
def test_psycopg3_and_psql(pooler: Ruled, method: str) -> None:
    pooler.rule(f"host all suser all {method}\nlocal all all {method}\n")
    user = ME if method == "peer" else "suser"
    host = pooler.directory if method == "peer" else pooler.host
    with psycopg.connect(pooler.dsn(user=user, password="sfoo", host=host)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    dsn = f"host={host} dbname=p0 user={user} password=sfoo"
    assert pooler.run_program("psql", "-XAtc", "SELECT 42", dsn).strip() == "42"


# peer


def test_peer(pooler: Ruled) -> None:
    """The account that runs the test is the user of its name, and nobody else; not over TCP."""
    pooler.rule("local all all peer\nhost all all all peer\n")
    assert enters(pooler, user=ME, **unix(pooler))
    assert PEER in refusal(pooler.dsn(user="suser", **unix(pooler)))
    assert PEER in refusal(pooler.dsn(user="unknown", **unix(pooler)))
    assert PEER in refusal(pooler.dsn(user=ME))


def test_peer_by_map(pooler: Ruled) -> None:
    ident = f"m {ME} suser\nm {ME} muser\nother {ME} all\nr /^({ME[0]}.*)$ guest\n"
    pooler.rule("local p0 all peer map=m\nlocal p1 all peer map=r\nlocal all all peer map=other\n", ident)
    for user in ("suser", "muser"):
        assert enters(pooler, user=user, **unix(pooler))
    with pooler.expect_log("ident map m cannot be matched", count=2):
        assert PEER in refusal(pooler.dsn(user="puser", **unix(pooler)))
        assert PEER in refusal(pooler.dsn(user=ME, **unix(pooler)))
    assert enters(pooler, user="guest", dbname="p1", **unix(pooler))
    assert PEER in refusal(pooler.dsn(user="suser", dbname="p1", **unix(pooler)))
    assert enters(pooler, user="bouncer", dbname="bouncer", **unix(pooler))
    assert PEER in refusal(pooler.dsn(user="unknown", dbname="bouncer", **unix(pooler))), "not in auth_file"


def test_peer_of_another_account(pooler: Ruled) -> None:
    """Somebody else's process, by the same socket."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    pooler.rule("local all all peer\n")
    uid = pwd.getpwnam("nobody").pw_uid
    child = os.fork()
    if child == 0:  # only exits tell
        os.setresuid(uid, uid, uid)
        with pooler.wire(unix=True) as wire:
            wire.send(startup(ME, "p0"))
            os._exit(0 if wire.receive().fields["M"] == PEER else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_cert_without_tls(pooler: Ruled) -> None:
    pooler.rule("host all all all cert\n")
    with pooler.expect_log("TLS connection required"):
        assert "certificate authentication failed" in refusal(pooler.dsn(user="suser", sslmode="disable"))


# The same on PgBouncer.

RULES = """
host p0 suser 127.0.0.0/8 reject
host p0 "muser" 127.0.0.1 255.255.255.255 md5
host sameuser all 127.0.0.1/32 trust
nonsense all all all trust
host all @names 127.0.0.1/32 password
hostssl all bouncer 0.0.0.0/0 trust
host all all 10.0.0.0/8 trust
local all {me} peer
local p0 muser peer
"""


@pytest.fixture
def either(make_either: Callable[..., Bouncer]) -> Bouncer:
    bouncer = make_either(
        databases={"p0": "user=bouncer", "bouncer": "dbname=p0", "p1": "user=bouncer"},
        auth_type="hba",
        start=False,
    )
    bouncer.settings["auth_hba_file"] = bouncer.directory / "hba"
    bouncer._write(bouncer.directory / "hba", HEAD + RULES.format(me=ME))
    bouncer._write(bouncer.directory / "names", "puser\n")
    bouncer.passwords |= {"suser": "sfoo", "muser": "mfoo", "puser": "pfoo", ME: ""}
    bouncer.start()
    return bouncer


def test_as_pgbouncer(either: Bouncer) -> None:
    # before 1.21 there was one text for both
    no_method = REJECTED if isinstance(either, PgBouncer) else NO_METHOD
    assert REJECTED in refusal(either.dsn(user="suser"))
    assert enters(either, user="muser", password="mfoo")
    assert "password authentication failed" in refusal(either.dsn(user="muser", password="x"))
    assert enters(either, user="bouncer", dbname="bouncer")
    assert enters(either, user="puser", password="pfoo", dbname="p1")
    assert "password authentication failed" in refusal(either.dsn(user="puser", password="x", dbname="p1"))
    assert no_method in refusal(either.dsn(user="bouncer", dbname="p0", sslmode="disable"))
    assert no_method in refusal(either.dsn(user="suser", dbname="p1"))
    assert enters(either, user=ME, **unix(either))
    assert PEER in refusal(either.dsn(user="muser", **unix(either)))
    assert no_method in refusal(either.dsn(user="suser", **unix(either)))
    wait_for(
        lambda: "could not parse hba config line 6" in either.log.read_text(), 5, "the bad line's number"
    )


def test_files_are_not_needed_otherwise(make_either: Callable[..., Bouncer], tmp_path: Path) -> None:
    bouncer = make_either(auth_hba_file=tmp_path / "missing")
    assert enters(bouncer)
