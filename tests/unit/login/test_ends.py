"""How logins end before they are through: killed, too late, left, drained; whatever they are doing."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.errors import ClientFault
from pooler.protocol import codes, frontend
from tests.support.login_peer import Peer
from tests.support.logins import Machine
from tests.unit.login.conftest import MakeMachine

#: What a login is doing: the method, and settings.
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "outside": ("md5", {}),
    "opening": ("md5", {}),
    "password": ("plain", {}),
    "challenge": ("md5", {}),
    "first": ("scram-sha-256", {}),
    "final": ("scram-sha-256", {}),
    "asking": ("md5", {"auth_user": "asker"}),
    "welcome": ("trust", {}),
}


def begin(make_machine: MakeMachine, state: str, **settings: Any) -> tuple[Machine, Peer]:
    """A machine, and a client that is just so far."""
    method, others = STATES[state]
    machine = make_machine(method, {"me": "secret"}, **others, **settings)
    machine.has_servers = False
    machine.found.hold = lambda: False
    peer = machine.connect()
    if state == "outside":
        machine.until(machine.clients, "it is there")
        return machine, peer
    if state == "opening":
        peer.bytewise(frontend.startup("me", "db", {})[:9])
        return machine, peer
    peer.start("ghost" if state == "asking" else "me")
    if state == "asking":
        machine.until(lambda: machine.found.asked, "the question")
    elif state == "welcome":
        machine.until(lambda: machine.dials, "a server is asked for")
    else:
        peer.request()
        if state == "final":
            peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
            assert peer.request()[0] == codes.AUTH_SASL_CONTINUE
    return machine, peer


def gone(machine: Machine) -> None:
    """Nothing of it is left."""
    machine.until(machine.is_empty, "its row is free")
    machine.until(lambda: not machine.worker.services.questions._asking, "no question is left")


@pytest.mark.parametrize("state", STATES)
def test_killed(make_machine: MakeMachine, state: str) -> None:
    machine, peer = begin(make_machine, state)
    machine.kill()
    assert peer.refused() == "admin forced disconnect"
    machine.logged("closing because: admin forced disconnect")
    gone(machine)


@pytest.mark.parametrize("state", STATES)
def test_its_time_is_over(make_machine: MakeMachine, state: str) -> None:
    machine, peer = begin(make_machine, state, client_login_timeout=0.3)
    down = " (server down)" if state in ("asking", "welcome") else ""
    assert peer.refused() == f"client_login_timeout{down}"
    gone(machine)


@pytest.mark.parametrize("state", STATES)
def test_it_leaves(make_machine: MakeMachine, state: str) -> None:
    machine, peer = begin(make_machine, state)
    peer.close()
    machine.logged("closing because: client unexpected eof")
    gone(machine)


def test_not_told_to_who_has_left(make_machine: MakeMachine) -> None:
    """A refusal that waits for its time is over with its client."""
    machine, peer = begin(make_machine, "password")
    peer.say(frontend.password(b"wrong"))
    peer.close()
    gone(machine)


def test_a_client_that_does_not_read_its_refusal(make_machine: MakeMachine) -> None:
    """A second, and it is over."""
    machine, peer = begin(make_machine, "password")
    peer.say(frontend.password(b"wrong"))
    machine.logged("password authentication failed")
    gone(machine)
    assert peer.refused() == "password authentication failed"


def test_what_comes_behind_a_refusal_does_not_take_it_away(make_machine: MakeMachine) -> None:
    """Bytes that nobody reads would reset the connection."""
    machine, peer = begin(make_machine, "password")
    peer.say(frontend.password(b"wrong"), b"x" * 100_000)
    assert peer.refused() == "password authentication failed"
    peer.close()
    gone(machine)


def test_who_proves_itself_while_pooler_shuts_down(make_machine: MakeMachine) -> None:
    machine, peer = begin(make_machine, "password")
    machine.worker.context.relay.drain()
    assert peer.say(frontend.password(b"secret")).refused() == "pooler is shutting down"
    peer = machine.start()
    with pytest.raises(ClientFault, match="password authentication failed"):
        peer.prove("wrong")


def test_postgresql_refuses_the_pool(make_machine: MakeMachine) -> None:
    """Its words, and its SQLSTATE."""
    machine, peer = begin(make_machine, "welcome")
    machine.tables.login_failed(machine.pool(), True, "28P01", "no pg_hba.conf entry", 1.0)
    fault = peer.fault()
    assert (fault.message, fault.sqlstate) == ("no pg_hba.conf entry", "28P01")
    gone(machine)


def test_a_server_that_comes_late(make_machine: MakeMachine) -> None:
    machine, peer = begin(make_machine, "welcome")
    machine.has_servers = True
    for slot in machine.dials:
        machine.open_server(slot)
    assert peer.welcome().parameters["server_version"] == "16.0"
