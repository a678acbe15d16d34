"""Which clients get in, what the others are told, and how we log in to PostgreSQL ourselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.crowd import refusal
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import message, startup

TRUST = '"trust" authentication failed'
PASSWORD = "password authentication failed"
SASL = "SASL authentication failed"
STORED_MD5 = "md5" + hashlib.md5(b"mfoomuser").hexdigest()


class Guarded(Pooler):
    """Its console can be reached whatever clients have to show."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords[SUPERUSER] = "secret"

    def pg_password(self, user: str) -> str:
        return "secret" if user == SUPERUSER else super().pg_password(user)


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def shared(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    """Every user of every kind may log in to p0 as himself; p1 leads to the trusted one."""
    return start_pooler(
        kind=Guarded,
        workers=request.param,
        databases={"p0": "", "p1": "user=bouncer", "p2": "user=suser password=wrong"},
    )


@pytest.fixture
def pooler(shared: Pooler) -> Iterator[Pooler]:
    """As it was, whatever the test before did to userlist and settings."""
    passwords = dict(shared.passwords)
    yield shared
    shared.passwords = passwords
    shared.configure(auth_type="trust")


@contextmanager
def auth_type(pooler: Pooler, method: str, **secrets: str) -> Iterator[None]:
    """Clients authenticate by this method, the userlist has these secrets."""
    pooler.passwords.update(secrets)
    pooler.configure(auth_type=method)
    yield


def stored_scram(pg: Postgres, user: str = "suser") -> str:
    (row,) = pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (user,))
    assert row[0].startswith("SCRAM-SHA-256$")
    return str(row[0])


def enters(pooler: Pooler, user: str, password: str, database: str = "p1") -> bool:
    return pooler.sql("SELECT 1", user=user, password=password, dbname=database) == [(1,)]


# Clients.


def test_trust(pooler: Pooler) -> None:
    assert enters(pooler, "bouncer", "whatever")
    assert TRUST in refusal(pooler.dsn(user="unknown"))


@pytest.mark.parametrize(
    ("method", "secret", "text"),
    [
        ("plain", "sfoo", PASSWORD),
        ("md5", "sfoo", PASSWORD),
        ("scram-sha-256", "sfoo", SASL),
        ("md5", "SCRAM", SASL),
        ("scram-sha-256", "SCRAM", SASL),
        ("plain", "SCRAM", PASSWORD),
    ],
)
def test_password(pooler: Pooler, running_postgres: Postgres, method: str, secret: str, text: str) -> None:
    secret = stored_scram(running_postgres) if secret == "SCRAM" else secret
    with auth_type(pooler, method, suser=secret):
        for _ in range(3):
            assert enters(pooler, "suser", "sfoo")
        with pooler.expect_log(f"closing because: {text}", count=1):
            wrong = refusal(pooler.dsn(user="suser", password="wrong"))
        assert text in wrong
        unknown = refusal(pooler.dsn(user="unknown", password="sfoo"))
        usual = PASSWORD if method == "md5" else text  # most secrets here are no SCRAM secrets
        assert usual in unknown, "it must look as if he existed"
        assert enters(pooler, "suser", "sfoo")


def test_refusal_on_the_wire(pooler: Pooler) -> None:
    """FATAL and PostgreSQL's SQLSTATE, and it makes no difference whether the user exists."""
    with auth_type(pooler, "plain", suser="sfoo"):
        for user in ("suser", "unknown"):
            with pooler.wire() as wire:
                wire.send(startup(user, "p1"))
                wire.expect("R")
                wire.send(message("p", "wrong"))
                assert wire.expect_error("28P01", PASSWORD)["S"] == "FATAL"
                wire.expect_closed()


def test_md5_with_a_stored_md5(pooler: Pooler) -> None:
    for method in ("md5", "plain"):
        with auth_type(pooler, method, muser=STORED_MD5):
            assert enters(pooler, "muser", "mfoo")
            assert PASSWORD in refusal(pooler.dsn(user="muser", password="wrong"))
    with auth_type(pooler, "scram-sha-256", muser=STORED_MD5):
        assert SASL in refusal(pooler.dsn(user="muser", password="mfoo"))


def test_empty_password_lets_nobody_in(pooler: Pooler) -> None:
    for method in ("plain", "md5", "scram-sha-256"):
        with auth_type(pooler, method, bouncer=""):
            with pytest.raises(psycopg2.OperationalError):
                psycopg2.connect(pooler.dsn(user="bouncer", password="x")).close()
            with pooler.wire() as wire, pytest.raises(AssertionError, match="authentication"):
                wire.login(password="")


def test_any(pooler: Pooler) -> None:
    """Nobody is asked who he is, so only databases with a forced user may be used."""
    with auth_type(pooler, "any"):
        assert pooler.sql("SELECT current_user", user="somebody", dbname="p1") == [("bouncer",)]
        with pytest.raises(psycopg2.OperationalError, match="bouncer config error"):
            psycopg2.connect(pooler.dsn(user="bouncer", dbname="p0")).close()


def test_unknown_database_is_told_after_the_password_only(pooler: Pooler) -> None:
    with auth_type(pooler, "md5", suser="sfoo"):
        assert "no such database: nowhere" in refusal(
            pooler.dsn(user="suser", password="sfoo", dbname="nowhere")
        )
        wrong = refusal(pooler.dsn(user="suser", password="wrong", dbname="nowhere"))
        assert PASSWORD in wrong
        assert "no such database" not in wrong


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_psycopg3(pooler: Pooler, method: str) -> None:
    with (
        auth_type(pooler, method, suser="sfoo"),
        psycopg.connect(pooler.dsn(user="suser", password="sfoo"), prepare_threshold=None) as connection,
    ):
        assert connection.execute("SELECT current_user").fetchone() == ("suser",)


# Servers.


@pytest.mark.parametrize("user", ["bouncer", "puser", "muser", "suser"])
def test_login_to_postgres(pooler: Pooler, user: str) -> None:
    """PostgreSQL asks each of them in another way: not at all, clear text, MD5, SCRAM."""
    assert pooler.sql("SELECT session_user", user=user, dbname="p0") == [(user,)]


def test_stored_md5_serves_for_md5(pooler: Pooler) -> None:
    with auth_type(pooler, "trust", muser=STORED_MD5):
        pooler.console("RECONNECT p0")
        assert pooler.sql("SELECT session_user", user="muser", dbname="p0") == [("muser",)]


def test_wrong_password_for_postgres_is_told_with_its_code(pooler: Pooler) -> None:
    with pooler.wire() as wire, pooler.expect_log("server login failed: FATAL"):
        wire.send(startup("bouncer", "p2"))
        error = wire.receive_until("E")[-1].fields
        assert (error["C"], error["M"]) == ("28P01", 'password authentication failed for user "suser"')
        wire.expect_closed()


def test_missing_database_in_postgres_is_told_with_its_code(pooler: Pooler) -> None:
    pooler.databases["ghost"] = "dbname=ghost"
    pooler.configure()
    with pooler.wire() as wire:
        wire.send(startup("bouncer", "ghost"))
        error = wire.receive_until("E")[-1].fields
        assert (error["C"], error["M"]) == ("3D000", 'database "ghost" does not exist')
    del pooler.databases["ghost"]


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_scram_pass_through(pooler: Pooler, running_postgres: Postgres, method: str) -> None:
    """Only PostgreSQL's verifier is stored; the client's proof gives us what the server asks for."""
    with auth_type(pooler, method, suser=stored_scram(running_postgres)):
        pooler.console("RECONNECT p0")
        for _ in range(4):
            assert pooler.sql("SELECT session_user", user="suser", dbname="p0") == [("suser",)]
        pooler.console("RECONNECT p0")
        assert enters(pooler, "suser", "sfoo", "p0")


def test_scram_pass_through_after_a_worker_was_killed(
    start_pooler: StartPooler, running_postgres: Postgres
) -> None:
    """The keys are shared: whichever worker is left, or new, can log in."""
    pooler = start_pooler(kind=Guarded, workers=2, databases={"p0": "pool_size=3"})
    with auth_type(pooler, "scram-sha-256", suser=stored_scram(running_postgres)):
        with pooler.connect(user="suser") as first, pooler.connect(user="suser") as second:
            for connection in (first, second):
                connection.cursor().execute("SELECT 1")
            wait_for(lambda: len(pooler.workers()) == 2, 5, "titles of both workers")
            for number in (0, 1):
                killed = pooler.kill_worker(number)
                pooler.wait_for_workers(2, without=killed)
        pooler.console("RECONNECT p0")
        pooler.console("WAIT_CLOSE p0")
        for _ in range(4):
            assert pooler.sql("SELECT session_user", user="suser") == [("suser",)]


def test_stored_scram_alone_cannot_log_in(pooler: Pooler, running_postgres: Postgres) -> None:
    """Without a client's proof (trust) there is nothing to show to PostgreSQL."""
    pooler.databases["alone"] = "dbname=p3 user=suser"
    with auth_type(pooler, "trust", suser=stored_scram(running_postgres)):
        assert "wrong password type" in refusal(pooler.dsn(user="bouncer", dbname="alone"))
    del pooler.databases["alone"]


@pytest.mark.parametrize(
    ("required", "users"),
    [
        ("scram-sha-256", {"suser"}),
        ("password, md5", {"puser", "muser"}),
        ("none", {"bouncer"}),
        ("!password", {"muser", "suser", "bouncer"}),
        ("!none, !md5", {"puser", "suser"}),
    ],
)
def test_server_require_auth(pooler: Pooler, required: str, users: set[str]) -> None:
    """What PostgreSQL may ask of us; a password is not given to one that asks for it in another way."""
    for user in ("bouncer", "puser", "muser", "suser"):
        pooler.configure(auth_type="trust", server_require_auth="")
        pooler.console("RECONNECT p0")
        pooler.console("WAIT_CLOSE p0")
        pooler.configure(server_require_auth=required)
        if user in users:
            assert pooler.sql("SELECT session_user", user=user, dbname="p0") == [(user,)]
            continue
        # the pool may be known already: then it is the query that waits in vain
        pooler.configure(query_wait_timeout=1)
        with pooler.expect_log("authentication method requirement"), pytest.raises(psycopg2.OperationalError):
            pooler.sql("SELECT 1", user=user, dbname="p0")
        pooler.configure(query_wait_timeout=None)
    pooler.configure(server_require_auth="")


def test_made_verifiers_are_no_keys_for_postgres(pooler: Pooler) -> None:
    """A verifier that we made of a plain password has a salt of ours: servers get the password (#1418)."""
    with auth_type(pooler, "scram-sha-256", suser="sfoo"):
        for _ in range(3):
            pooler.console("RECONNECT p0")
            for _ in range(3):
                assert pooler.sql("SELECT session_user", user="suser", dbname="p0") == [("suser",)]
