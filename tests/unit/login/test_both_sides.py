"""Our client side, which logs in at servers, logs in here: every method with every kind of stored secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from pooler.auth import scram
from pooler.auth.passwords import credential, parse_secret
from pooler.config import Database
from pooler.errors import ClientFault, ServerFault
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from tests.support.fakeserver import REPORTED
from tests.support.login_driver import Driver
from tests.support.logins import Machine
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

METHODS = ("any", "trust", "plain", "md5", "scram-sha-256")
PASSWORD = "sécret"
MD5 = "md5" + hashlib.md5((PASSWORD + "me").encode()).hexdigest()
SCRAM = scram_secret(PASSWORD)
SECRETS = {"plain": PASSWORD, "md5": MD5, "scram": SCRAM}
REFUSED = (ClientFault, ServerFault)


@dataclass
class In:
    """A login that went well: what our client side knows, and what the pool has kept."""

    session: ServerSession
    keys: scram.ScramKeys | None


def log_in(machine: Machine, stored: str, keys: scram.ScramKeys | None = None) -> In:
    """A server login as the client of a machine."""
    target = ServerTarget("me", "db", credential(parse_secret(stored), keys), {"application_name": "x"})
    front = Driver(server_login(target), fault=ServerFault)
    peer = machine.connect()
    front.feed(b"")
    while not front.done:
        if data := front.take_sent():
            peer.say(data)
        front.feed(peer.some())
    kept = machine.tables.pool_scram_keys(machine.pool("me"))
    return In(front.finished(), None if kept is None else scram.ScramKeys(*kept))


def make(make_machine: MakeMachine, method: str, users: dict[str, str], usual: str = "md5") -> Machine:
    """The pool is that of the user, also with auth_type `any`, which needs one that is forced."""
    others = {f"x{number}": SECRETS[usual] for number in range(3)}
    databases = {"db": Database("db", user="me" if method == "any" else None)}
    return make_machine(method, {**users, **others}, databases=databases, scram_iterations=10)


def can(method: str, known: str, ours: str) -> bool:
    """Whether a client with a secret of kind `ours` can log in where `known` is stored."""
    if method in ("any", "trust"):
        return True
    if method == "plain":
        return ours == "plain"
    if method == "md5" and known != "scram":
        return ours in ("plain", "md5")
    return known != "md5" and ours == "plain"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("known", SECRETS)
@pytest.mark.parametrize("ours", SECRETS)
def test_every_method_with_every_secret(
    make_machine: MakeMachine, method: str, known: str, ours: str
) -> None:
    machine = make(make_machine, method, {"me": SECRETS[known]})
    if not can(method, known, ours):
        with pytest.raises(REFUSED):
            log_in(machine, SECRETS[ours])
        return
    found = log_in(machine, SECRETS[ours])
    assert found.session.parameters == {**REPORTED, "application_name": "x"}
    assert len(found.session.cancel_key) == 4
    assert (found.keys is not None) == (known == "scram" and method in ("md5", "scram-sha-256"))


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("users", [{}, {"me": ""}, {"me": "other"}, {"you": PASSWORD}])
@pytest.mark.parametrize("usual", ["md5", "scram"])
def test_wrong_or_unknown_never_gets_in(
    make_machine: MakeMachine, method: str, users: dict[str, str], usual: str
) -> None:
    machine = make(make_machine, method, users, usual)
    for ours in SECRETS.values():
        with pytest.raises(REFUSED):
            log_in(machine, ours)


def test_keys_of_a_client_open_the_server(make_machine: MakeMachine) -> None:
    machine = make(make_machine, "scram-sha-256", {"me": SCRAM})
    keys = log_in(machine, PASSWORD).keys
    assert keys is not None
    again = log_in(machine, SCRAM, keys)
    assert again.session.parameters["server_version"] == REPORTED["server_version"]
    assert again.keys == keys


def test_keys_do_not_open_a_server_with_another_verifier(make_machine: MakeMachine) -> None:
    keys = log_in(make(make_machine, "scram-sha-256", {"me": SCRAM}), PASSWORD).keys
    machine = make(make_machine, "scram-sha-256", {"me": scram_secret(PASSWORD, b"another salt")})
    with pytest.raises(ServerFault, match="SASL authentication failed"):
        log_in(machine, SCRAM, keys)
