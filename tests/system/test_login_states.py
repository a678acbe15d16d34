"""Every transition of a login that the table has is taken by real connections, and no other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extras import RealDictCursor

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account
from tests.support.certificates import Authority
from tests.support.fakeserver import PATIENCE_S, WELCOME, FakeServer, Peer
from tests.support.hostile import Scram
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.transitions import Cases, Place, assert_complete, assert_takes, machine
from tests.support.wire import SSL_REQUEST, Wire, message, startup, untyped

MACHINE = machine("login")

BY_CHANCE: set[tuple[str, str]] = set()

PLAIN = message("p", "sfoo")
WRONG = message("p", "wrong")


def end(wire: Wire) -> None:
    """It is refused, and closes."""
    wire.receive_until("E")
    wire.expect_closed()
    wire.socket.close()


def log_in(wire: Wire, *, user: str = "suser", database: str = "p0", answer: bytes = PLAIN) -> None:
    """Says startup packet and password, but reads no answer."""
    wire.send(startup(user, database))
    wire.expect("R")
    wire.send(answer)


def is_in(wire: Wire) -> None:
    wire.receive_until("Z")
    wire.close()


def by(place: Place, method: str) -> dict[str, object]:
    """All but the console's clients have to log in by this method."""
    path = place.file.with_name(f"{place.file.name}-{method}")
    path.write_text(f"host pgbouncer all all trust\nhost all all all {method}\n")
    path.chmod(0o644)
    return {"auth_type": "hba", "auth_hba_file": path}


def verifier_of(place: Place) -> str:
    pooler = place.pooler()
    ((secret,),) = pooler.pg.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'suser'")
    pooler.stop()
    return str(secret)


def with_secret(place: Place, secret: str, **settings: object) -> Pooler:
    """suser has this secret, in auth_file."""
    pooler = place.make_pooler(workers=1, databases={"p0": "user=bouncer"}, **settings)
    pooler.passwords["suser"] = secret
    pooler.configure()
    return pooler


# The cases.


def turns(place: Place) -> None:
    """One that waits is let in when the other has gone."""
    pooler = place.pooler(max_unauthenticated=1)
    with pooler.wire() as one, pooler.wire() as other:
        one.send(b"\0")
        other.send(b"\0")
        wait_for(lambda: ("OUTSIDE", "QUEUED") in place.taken(), 5, "one that waits")
        one.socket.close()
        other.send(b"\0\0\1")
        end(other)


def login_clients(cursor: RealDictCursor) -> int:
    cursor.execute("SHOW LISTS")
    return next(int(row["items"]) for row in cursor.fetchall() if row["list"] == "login_clients")


def killed(place: Place) -> None:
    """By a console that was there before, while those in front of it take their time. Clients that have not
    logged in are not shown: they are numbered behind the console's."""
    pooler = place.pooler(max_unauthenticated=1)
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(pooler.connect(dbname="pgbouncer", user=SUPERUSER))
        cursor = stack.enter_context(console.cursor(cursor_factory=RealDictCursor))
        cursor.execute("SHOW CLIENTS EXTENDED")
        number = max(row["id"] for row in cursor.fetchall())
        waiting = [stack.enter_context(pooler.wire()) for _ in range(6)]
        for wire in waiting:
            wire.send(b"\0")
        wait_for(lambda: login_clients(cursor) == len(waiting), 5, "all that wait")
        cursor.execute(f"KILL_CLIENT {number + len(waiting)}")
        end(waiting[-1])


def time_is_over(place: Place) -> None:
    pooler = place.pooler(client_login_timeout=1)
    with pooler.wire() as silent:
        end(silent)


def trust(place: Place) -> None:
    pooler = place.pooler()
    with pooler.wire().login(), pooler.wire() as stranger:
        pooler.wire().login().close()
        stranger.send(startup("nobody", "p0"))
        end(stranger)
    with pooler.wire() as wire:
        wire.send(startup("bouncer", "p0") + b"x")


def passwords(place: Place) -> None:
    pooler = with_secret(place, "sfoo", **by(place, "password"))
    for _ in range(2):  # the second finds everything there
        with pooler.wire() as wire:
            log_in(wire)
            is_in(wire)
    with pooler.wire() as wire:
        log_in(wire, answer=WRONG)
        end(wire)
    with pooler.wire() as wire:
        log_in(wire, database="none")
        end(wire)
    for answer in (b"", WRONG):
        with pooler.wire() as wire:
            log_in(wire, answer=answer)


def passwords_and_verifiers(place: Place) -> None:
    pooler = with_secret(place, verifier_of(place), **by(place, "password"))
    for _ in range(2):
        with pooler.wire() as wire:
            log_in(wire)
            is_in(wire)
    with pooler.wire() as wire:
        log_in(wire, database="none")
        end(wire)
    with pooler.wire() as wire:
        log_in(wire, answer=message("p", "wröng"))
        end(wire)


def scram(place: Place) -> None:
    pooler = with_secret(place, verifier_of(place), **by(place, "scram-sha-256"))
    for _ in range(2):
        with pooler.wire() as wire:
            Scram("suser", "sfoo").login(wire)
    for password, database in (("sfoo", "none"), ("wrong", "p0")):
        with pooler.wire() as wire:
            client = Scram("suser", password)
            client.start(wire, database)
            client.finish(wire)
            end(wire)
    with pooler.wire() as wire:
        log_in(wire, answer=b"")
    with pooler.wire() as wire:
        log_in(wire, answer=PLAIN)
        end(wire)


def scram_and_a_password(place: Place) -> None:
    """Its keys have to be derived once."""
    pooler = with_secret(place, "sfoo", **by(place, "scram-sha-256"))
    for database in ("p0", "none"):
        with pooler.wire() as wire:
            client = Scram("suser", "sfoo")
            client.start(wire, database)
            client.finish(wire)
            wire.receive_until("Z" if database == "p0" else "E")


def asked(place: Place) -> None:
    """auth_query finds the user."""
    pooler = place.make_pooler(
        workers=1,
        databases={"p0": "user=bouncer"},
        auth_user=SUPERUSER,
        auth_query="SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1",
        **by(place, "password"),
    )
    pooler.passwords = {SUPERUSER: ""}
    pooler.configure()
    with pooler.wire() as wire:
        log_in(wire)
        is_in(wire)
    pooler.configure(**by(place, "scram-sha-256"))
    with pooler.wire() as wire:
        Scram("suser", "sfoo").login(wire)
    pooler.configure(**by(place, "trust"))
    with pooler.wire() as wire:
        wire.send(startup("nobody", "p0"))
        end(wire)


def limits(place: Place) -> None:
    """They are seen where the rows of its pool have to be made, or not even then."""
    pooler = place.make_pooler(
        workers=1, databases={"p0": "user=bouncer", "p1": "max_db_client_connections=1"}
    )
    with pooler.wire().login(database="p1"), pooler.wire() as other:
        other.send(startup("limited", "p1"))
        end(other)
    pooler.wire().login().close()
    pooler.wire().login(user="puser").close()


def tls(place: Place, authority: Authority) -> None:
    served = authority.sign("server", "/CN=pooler.example", "DNS:localhost,IP:127.0.0.1")
    pooler = place.pooler(
        client_tls_sslmode="allow", client_tls_key_file=served.key, client_tls_cert_file=served.cert
    )
    with pooler.connect(sslmode="require"):
        pass
    with pooler.wire() as wire:
        wire.send(untyped(SSL_REQUEST))
        assert wire.read_exactly(1) == b"S"
        wire.send(b"no handshake")
        with contextlib.suppress(ConnectionError):
            while wire.socket.recv(100):
                pass
    pooler.configure(client_login_timeout=0.5)
    with pooler.wire() as wire:
        wire.send(untyped(SSL_REQUEST))
        assert wire.read_exactly(1) == b"S"
        end(wire)


class Slow:
    """A PostgreSQL that lets in nobody before it may."""

    def __init__(self) -> None:
        self.may_log_in = threading.Event()

    def serve(self, peer: Peer) -> None:
        self.may_log_in.wait(PATIENCE_S)
        peer.send(WELCOME)
        peer.serve()


def before_a_slow_server(method: str, secret: bool, wait: Callable[[Wire], None]) -> Callable[[Place], None]:
    """One client makes the rows of its pool, the other finds them: both wait for the welcome."""

    def case(place: Place) -> None:
        slow = Slow()
        text = verifier_of(place) if secret else "sfoo"
        with FakeServer({"*": slow.serve}) as fake:
            pooler = place.before(fake, **by(place, method))
            pooler.passwords["suser"] = text
            pooler.configure()
            with pooler.wire() as one, pooler.wire() as other:
                wait(one)
                wait_for(lambda: len(pooler.show("clients", database="f")) == 1, 5, "it waits")
                wait(other)
                wait_for(lambda: len(pooler.show("clients", database="f")) == 2, 5, "both wait")
                row = pooler.show("clients", database="f")[0]
                pooler.console(f"KILL_CLIENT {row['id']}")
                slow.may_log_in.set()

    return case


def says_who_it_is(wire: Wire) -> None:
    wire.send(startup("suser", "f"))


def says_its_password(wire: Wire) -> None:
    log_in(wire, database="f")


def proves_itself(wire: Wire) -> None:
    client = Scram("suser", "sfoo")
    client.start(wire, "f")
    client.finish(wire)


CASES: Cases = {
    "turns": (turns, "OUTSIDE QUEUED OPENING TOLD OVER, OUTSIDE OPENING OVER"),
    "killed": (killed, "QUEUED TOLD"),
    "its time": (time_is_over, "OUTSIDE TOLD"),
    "trust": (trust, "OPENING ASKING WELCOME OVER, OPENING OVER, OPENING REFUSED"),
    "passwords": (passwords, "OPENING PASSWORD ASKING, PASSWORD OVER, PASSWORD REFUSED TOLD, PASSWORD TOLD"),
    "verifiers": (
        passwords_and_verifiers,
        "PASSWORD DERIVING ASKING DERIVING, DERIVING OVER, DERIVING REFUSED, DERIVING TOLD",
    ),
    "SCRAM": (
        scram,
        "OPENING SASL_FIRST SASL_FINAL ASKING, SASL_FINAL OVER, SASL_FINAL TOLD, SASL_FINAL REFUSED,"
        "SASL_FIRST REFUSED, SASL_FIRST OVER",
    ),
    "SCRAM and a password": (scram_and_a_password, "SASL_FINAL DERIVING ASKING"),
    "auth_query": (asked, "OPENING ASKING PASSWORD, ASKING SASL_FIRST, ASKING REFUSED"),
    "limits": (limits, "ASKING TOLD, ASKING OVER"),
    "slow, trust": (before_a_slow_server("trust", False, says_who_it_is), "OPENING WELCOME TOLD"),
    "slow, plain": (before_a_slow_server("password", False, says_its_password), "PASSWORD WELCOME"),
    "slow, verifier": (before_a_slow_server("password", True, says_its_password), "DERIVING WELCOME"),
    "slow, SCRAM": (before_a_slow_server("scram-sha-256", True, proves_itself), "SASL_FINAL WELCOME"),
}
#: With certificates, which a fixture makes.
TLS_STEPS = "OPENING HANDSHAKE OPENING, HANDSHAKE OVER, HANDSHAKE TOLD"


@pytest.mark.parametrize("name", CASES)
def test_transitions_are_taken(name: str, place: Place) -> None:
    assert_takes(place, *CASES[name])


def test_transitions_of_tls_are_taken(place: Place, work: Path, owner: Account) -> None:
    assert_takes(place, lambda place: tls(place, Authority(work / "login-tls", owner)), TLS_STEPS)


def test_every_transition_has_a_case() -> None:
    cases = {**CASES, "TLS": (trust, TLS_STEPS)}
    assert_complete(MACHINE, cases, BY_CHANCE)
