"""Attacks on authentication: bent SASL exchanges, identities changed under way, guesses about who exists."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.health import assert_no_bugs, restarts, worker_pids
from tests.support.hostile import Bend, Scram, assert_refused, header, read_to_end
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import Wire, message, query, startup
from tests.system.conftest import GuardedPooler, MakeShared

USER, PASSWORD = "suser", "sfoo"
METHODS = ("plain", "md5", "scram-sha-256")


@pytest.fixture(scope="module")
def poolers(make_shared: MakeShared) -> dict[str, Pooler]:
    """One for each method; every user of the tests has a password in the userlist."""
    made = {}
    for method in METHODS:
        made[method] = make_shared(
            GuardedPooler,
            workers=2,
            auth_type=method,
            client_login_timeout=3,
            databases={"p0": "user=bouncer", "p1": "user=bouncer"},
        )
    return made


@pytest.fixture(scope="module")
def shared(poolers: dict[str, Pooler]) -> Pooler:
    """The one that asks for SCRAM."""
    return poolers["scram-sha-256"]


@pytest.fixture(autouse=True)
def nobody_noticed(shared: Pooler) -> Iterator[None]:
    """A client that is logged in stays so, another can log in, and no worker is lost."""
    with shared.wire() as wire:
        Scram(USER, PASSWORD).login(wire, "p1")
        yield
        assert wire.rows("SELECT 42") == [[b"42"]]
    assert restarts(shared) == 0
    assert_no_bugs(shared)


def replace(text: bytes) -> Bend:
    return lambda _: text


def change(old: bytes, new: bytes) -> Bend:
    return lambda text: text.replace(old, new)


NONCE = b"r=rOprNGfwEbeRWgbNEkqO"

BAD_FIRST: dict[str, Bend] = {
    "empty": replace(b""),
    "zeros": replace(b"\0" * 30),
    "p= without PLUS": replace(b"p=tls-unique,,n=," + NONCE),
    "p= without a name": replace(b"p=,,n=," + NONCE),
    "unknown binding flag": replace(b"x,,n=," + NONCE),
    "authzid": replace(b"n,a=postgres,n=," + NONCE),
    "mandatory extension": replace(b"n,,m=ext,n=," + NONCE),
    "no nonce": replace(b"n,,n="),
    "empty nonce": replace(b"n,,n=,r="),
    "nonce with zero": replace(b"n,,n=,r=abc\0def"),
    "nonce with newline": replace(b"n,,n=,r=abc\ndef"),
    "huge nonce": replace(b"n,,n=,r=" + b"x" * 5000),
    "commas": replace(b"," * 1000),
    "no binding header": replace(b"n=," + NONCE),
    "no utf-8": replace(b"n,,n=\xff\xfe," + NONCE + b"\xff"),
}

INNER_LENGTHS = [0, 1, 1000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFD]

BAD_FINAL: dict[str, Bend] = {
    "empty": replace(b""),
    "no proof": lambda text: text.split(b",p=")[0],
    "short proof": lambda text: text[:-20],
    "empty proof": lambda text: text.split(b",p=")[0] + b",p=",
    "zero proof": lambda text: text.split(b",p=")[0] + b",p=" + b"A" * 43 + b"=",
    "no base64": lambda text: text.split(b",p=")[0] + b",p=!!!!",
    "altered nonce": change(NONCE, b"r=xOprNGfwEbeRWgbNEkqO"),
    "cut nonce": lambda text: b"c=biws," + NONCE + b",p=" + text.split(b",p=")[1],
    "other binding": change(b"c=biws", b"c=eSws"),
    "no binding": change(b"c=biws,", b""),
    "bytes behind": lambda text: text + b",x=1",
    "zero byte": lambda text: text + b"\0",
    "proof twice": lambda text: text + b",p=" + text.split(b",p=")[1],
}


@pytest.mark.parametrize("name", BAD_FIRST)
def test_bent_first_message(shared: Pooler, name: str) -> None:
    with shared.wire() as wire:
        Scram(USER, PASSWORD, {"first": BAD_FIRST[name]}).start(wire)
        assert assert_refused(wire)["M"]


@pytest.mark.parametrize("name", BAD_FINAL)
def test_bent_final_message(shared: Pooler, name: str) -> None:
    with shared.wire() as wire:
        scram = Scram(USER, PASSWORD, {"final": BAD_FINAL[name]})
        scram.start(wire)
        scram.finish(wire)
        assert assert_refused(wire)["M"]


@pytest.mark.parametrize("length", INNER_LENGTHS)
def test_inner_length(shared: Pooler, length: int) -> None:
    def bend(initial: bytes) -> bytes:
        mechanism, rest = initial.split(b"\0", 1)
        return mechanism + b"\0" + struct.pack("!I", length) + rest[4:]

    with shared.wire() as wire:
        Scram(USER, PASSWORD, {"initial": bend}).start(wire)
        assert assert_refused(wire)["M"]


@pytest.mark.parametrize("mechanism", ["", "PLAIN", "SCRAM-SHA-256-PLUS", "scram-sha-256", "x" * 900])
def test_wrong_mechanism(shared: Pooler, mechanism: str) -> None:
    with shared.wire() as wire:
        Scram(USER, PASSWORD).start(wire, mechanism=mechanism)
        assert assert_refused(wire)["M"]


def test_right_password_still_works(shared: Pooler) -> None:
    """The client above is a good one when nobody bends it, or the tests above would show nothing."""
    with shared.wire() as wire:
        Scram(USER, PASSWORD).login(wire)
        assert wire.rows("SELECT 1") == [[b"1"]]


def test_second_proof_is_no_query(shared: Pooler) -> None:
    with shared.wire() as wire:
        scram = Scram(USER, PASSWORD)
        scram.login(wire)
        wire.send(message("p", scram.final))
        assert wire.expect_error("08P01")["S"] == "FATAL"
        wire.expect_closed()


def test_recorded_proof_is_worthless(shared: Pooler) -> None:
    recorded = Scram(USER, PASSWORD)
    with shared.wire() as wire:
        recorded.login(wire)
    with shared.wire() as wire:
        replay = Scram(USER, PASSWORD, {"final": replace(recorded.final)})
        replay.start(wire)
        replay.finish(wire)
        assert assert_refused(wire)["M"]


INSTEAD = {
    "second startup packet": startup("postgres"),
    "query": query("SELECT 1"),
    "terminate": message("X"),
    "huge password": header("p", 0x7FFFFFFF, b"x"),
    "length 3": header("p", 3),
    "length 0": header("p", 0),
    "negative length": header("p", 0xFFFFFFFF, b"x"),
    "megabyte": message("p", b"x" * 1_000_000),
    "no zero": message("p", b"bfoo"),
    "two zeros": message("p", b"bfoo\0\0"),
    "empty": message("p", b""),
    "empty password": message("p", ""),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", INSTEAD)
def test_something_else_instead_of_a_password(poolers: dict[str, Pooler], method: str, name: str) -> None:
    with poolers[method].wire() as wire:
        wire.send(startup("bouncer"))
        wire.expect("R")
        wire.send(INSTEAD[name])
        assert assert_refused(wire)["M"]


@pytest.mark.parametrize("method", METHODS)
def test_query_behind_the_startup_packet_does_not_run(poolers: dict[str, Pooler], method: str) -> None:
    pooler = poolers[method]
    with pooler.wire() as wire:
        wire.send(startup("bouncer") + query("CREATE TABLE smuggled_early (n int)") * 3)
        wire.expect("R")
        assert_refused(wire)
    assert pooler.pg.sql("SELECT to_regclass('smuggled_early')", dbname="p0") == [(None,)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("user", ["bouncer", "nobody_known", "pgbouncer", "limited"])
@pytest.mark.parametrize("password", ["wrong", "", "bfoo\x01"])
def test_never_in(poolers: dict[str, Pooler], method: str, user: str, password: str) -> None:
    """Method x kind of user x wrong password; the pool is warm, which must not matter."""
    with poolers[method].wire() as wire:
        wire.send(startup(user))
        if method == "scram-sha-256":
            wire.close()
            with poolers[method].wire() as again:
                scram = Scram(user, password)
                scram.start(again)
                scram.finish(again)
                assert assert_refused(again)["M"] == "SASL authentication failed"
            return
        _answer(wire, user, password)
        assert assert_refused(wire)["M"] == "password authentication failed"


def _answer(wire: Wire, user: str, password: str) -> None:
    (request,) = wire.expect("R")
    wire._answer(request.body, user, password)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_users_look_like_known_ones(poolers: dict[str, Pooler], method: str) -> None:
    """Same messages, same lengths, same iteration count, and the same salt each time one asks."""
    seen: dict[str, list[tuple[bytes, bytes]]] = {}
    for user in ("bouncer", "nobody_a", "nobody_b", "nobody_a"):
        seen.setdefault(user, []).append(_challenge(poolers[method], method, user))
    assert seen["nobody_a"][0] == seen["nobody_a"][1]
    if method == "scram-sha-256":
        assert seen["nobody_a"] != seen["nobody_b"] * 2, "one salt for all"
    shapes = {(len(c[0]), c[1]) for found in seen.values() for c in found}
    assert len(shapes) == 1, seen


def _challenge(pooler: Pooler, method: str, user: str) -> tuple[bytes, bytes]:
    """(salt, rest that must be the same for all) of what the user is asked."""
    with pooler.wire() as wire:
        if method != "scram-sha-256":
            wire.send(startup(user))
            (request,) = wire.expect("R")
            return b"", request.body[:4]
        Scram(user, "x").start(wire)
        (request,) = wire.expect("R")
        parts = dict(part.split(b"=", 1) for part in request.body[4:].split(b","))
        return parts[b"s"], parts[b"i"]


def test_unknown_database_is_told_to_nobody_without_password(shared: Pooler) -> None:
    told = []
    for database in ("p0", "no_such_database"):
        with shared.wire() as wire:
            scram = Scram(USER, "wrong")
            scram.start(wire, database)
            scram.finish(wire)
            told.append(assert_refused(wire))
    assert told[0] == told[1]


def test_secrets_are_nowhere_to_be_seen(shared: Pooler) -> None:
    """Not in the log, not on the command line, not in the environment; the log is not for everybody."""
    secrets = [b"sfoo", b"mfoo", b"bfoo", b"superuser"]
    places = [shared.log, shared.out]
    for pid in (shared.pid, *worker_pids(shared).values()):
        places += [Path(f"/proc/{pid}/cmdline"), Path(f"/proc/{pid}/environ")]
    for place in places:
        text = place.read_bytes()
        assert not [secret for secret in secrets if secret in text], place
    assert stat.S_IMODE(os.stat(shared.log).st_mode) & 0o027 == 0


def test_crowd_of_wrong_passwords_leaves_nothing(shared: Pooler) -> None:
    for number in range(60):
        with shared.wire() as wire:
            scram = Scram(USER if number % 2 else f"user{number}", "wrong")
            scram.start(wire)
            scram.finish(wire)
            read_to_end(wire)
    wait_for(lambda: shared.show("lists", list="login_clients")[0]["items"] == 0, 3, "no login left")
