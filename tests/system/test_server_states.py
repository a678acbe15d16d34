"""Every transition of a server that the table has is taken by real connections, and no other."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support import transitions
from tests.support.fakeserver import PATIENCE_S, FakeServer, Peer
from tests.support.processes import wait_for
from tests.support.transitions import Cases, Place, assert_complete, assert_takes, machine
from tests.support.wire import Wire, parse, query, startup

MACHINE = machine("server")

#: GREETED lasts from one turn of the relay's loop to the next: these have to come in between.
BY_CHANCE = {
    ("GREETED", "ANSWERED"),  # a Flush without a request
    ("GREETED", "CLOSING"),  # the end of the server
}


class FakePostgres(transitions.FakePostgres):
    """One that stops at the `at`-th message that fits the pattern: it ends, or waits until it may go on."""

    def __init__(
        self, pattern: str = "never", at: int = 1, ends: bool = False, answers_first: bool = False
    ) -> None:
        super().__init__(pattern)
        self._left, self._ends, self._answers_first = at, ends, answers_first
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def met(self, peer: Peer, answer: bytes) -> bool:
        self._left -= 1
        if self._left:
            return False
        self.asked.set()
        if not self._ends:
            self.go_on.wait(PATIENCE_S)
        elif self._answers_first:
            peer.send(answer)
        return self._ends


def break_off(wire: Wire) -> None:
    """The end of a client that is not read: by a reset."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


# The cases.


def a_query(place: Place) -> None:
    """Of a client with settings of its own, which a server has to take before the client is greeted."""
    pooler = place.pooler()
    with pooler.wire().login(TimeZone="Asia/Tokyo") as wire:
        wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "the server that has greeted it")
        wire.rows("SELECT 1")


def a_login_and_a_query(place: Place) -> None:
    """In one write, to a server that has its settings, which none has taken from a startup packet yet:
    it greets the client, which is read then."""
    pooler = place.pooler(session_state="off")
    with pooler.wire().login() as one:
        one.rows("SET TimeZone = 'Asia/Tokyo'")
        one.rows("SELECT 1")
    wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "an idle server")
    with pooler.wire() as wire:
        wire.send(startup(TimeZone="Asia/Tokyo"), query("SELECT 1"))
        wire.receive_until("Z")
        wire.receive_until("Z")


def leaving_in_a_transaction(place: Place) -> None:
    pooler = place.pooler()
    pooler.learn_catalogs()
    with pooler.wire().login() as wire:
        wire.rows("BEGIN")
        wire.close()
    wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "the rollback")


def a_session(place: Place) -> None:
    with place.pooler(pool_mode="session").wire().login() as wire:
        wire.rows("SELECT 1")
        wire.rows("SELECT 2")
        wire.close()


def two_clients_in_strict(place: Place) -> None:
    pooler = place.pooler(session_state="strict")
    with pooler.wire().login() as one, pooler.wire().login() as other:
        one.rows("SELECT 1")
        other.rows("SELECT 2")


def a_session_that_has_to_be_asked(place: Place) -> None:
    with place.pooler().wire().login() as wire:
        wire.rows("SELECT pg_advisory_lock(1)")
        wire.rows("SELECT pg_advisory_unlock(1)")


def a_notification_of_a_kept_session(place: Place) -> None:
    """Its server is told first who notifies."""
    pooler = place.make_pooler(workers=1, databases={"p0": "pool_size=3"})
    with pooler.wire().login() as one, pooler.wire().login() as other:
        one.rows("LISTEN state_channel")
        other.rows("SELECT pg_advisory_lock(1)")
        other.rows("NOTIFY state_channel")
        one.receive_until("A")


def reconnect(place: Place) -> None:
    pooler = place.make_pooler(workers=2, databases={"p0": "pool_size=1"})
    with pooler.wire().login() as wire:
        wire.rows("SELECT 1")
        pooler.console("RECONNECT")
        wire.rows("SELECT 1")


def end_of_an_idle_server(place: Place) -> None:
    pooler = place.pooler()
    with pooler.wire().login() as wire:
        wire.rows("SELECT 1")
        wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "an idle server")
        pooler.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'p0'")
        wait_for(lambda: pooler.pool()["sv_idle"] == 0, 5, "its end")


def end_of_a_server_between_transactions(place: Place) -> None:
    server = FakePostgres("^SELECT 1", ends=True, answers_first=True)
    with FakeServer({"*": server.script()}) as fake, place.before(fake, pool_mode="session").wire() as wire:
        wire.login(database="f").rows("SELECT 1")
        wire.receive_until("E")


def end_of_a_server_in_a_statement(place: Place) -> None:
    with place.pooler().wire().login(user=SUPERUSER) as wire:
        wire.send(query("SELECT pg_terminate_backend(pg_backend_pid())"))
        wire.receive_until("E")


def half_a_message(place: Place) -> None:
    """The text of a Parse is looked at when it is there: until then nothing of it goes out."""
    pooler = place.pooler()
    with pooler.wire().login() as wire:
        wire.rows("SELECT 1")
        wire.send(parse(f"SELECT '{'long' * 10_000}'", "name")[:-6])
        wait_for(lambda: pooler.pool()["sv_active"] == 1, 5, "its server")


def replication(place: Place) -> None:
    with FakeServer({"*": FakePostgres().script()}) as fake, place.before(fake).wire() as wire:
        wire.send(startup(SUPERUSER, "f", replication="database"))
        wire.receive_until("Z")


def a_server_that_takes_no_settings(place: Place) -> None:
    server = FakePostgres("(?i)^SET|set_config", ends=True)
    with FakeServer({"*": server.script()}) as fake, place.before(fake).wire() as wire:
        wire.send(startup(database="f", TimeZone="Asia/Tokyo"))
        wire.receive_until("Z")


def leaving_while_defaults_are_asked(place: Place) -> None:
    server = FakePostgres("db_role_setting s", at=2)
    with FakeServer({"*": server.script()}) as fake:
        pooler = place.before(fake)
        with pooler.wire().login(database="f") as wire:
            wire.rows("SELECT 1")
            time.sleep(1.1)  # they are asked once a second
            with pooler.wire() as other:
                other.send(startup(database="f"))
                assert server.asked.wait(5)
                break_off(other)
            wait_for(lambda: ("FRESH", "ASKING") in place.taken(), 5, "the client's end")
            server.go_on.set()
            wire.rows("SELECT 1")


def leaving_while_a_session_is_asked(place: Place) -> None:
    server = FakePostgres("pg_locks")
    with FakeServer({"*": server.script()}) as fake, place.before(fake).wire() as wire:
        wire.login(database="f").rows("SELECT pg_advisory_lock(1)")
        assert server.asked.wait(5)
        break_off(wire)
        wait_for(lambda: ("PROBING", "ASKING") in place.taken(), 5, "the client's end")
        server.go_on.set()


def leaving_while_startup_values_are_put_back(place: Place) -> None:
    server = FakePostgres("SAVEPOINT pooler_restore")
    with FakeServer({"*": server.script()}) as fake, place.before(fake).wire() as wire:
        wire.login(database="f", options="-c work_mem=123kB").rows("BEGIN")
        wire.send(query("RESET ALL"))
        assert server.asked.wait(5)
        break_off(wire)
        wait_for(lambda: ("SERVING", "ASKING") in place.taken(), 5, "the client's end")
        server.go_on.set()


def ends_at(pattern: str, *texts: str, **settings: object) -> Callable[[Place], None]:
    """The server ends when it is asked that; its client has said the texts, and leaves."""

    def case(place: Place) -> None:
        server = FakePostgres(pattern, ends=True)
        with FakeServer({"*": server.script()}) as fake:
            pooler = place.before(fake, **settings)
            with pooler.wire().login(database="f") as wire:
                for text in texts:
                    wire.rows(text)
            assert server.asked.wait(5)

    return case


CASES: Cases = {
    "query": (
        a_query,
        "ABSENT POOLED FRESH SERVING ANSWERED RETURNING POOLED, FRESH GREETED RETURNING",
    ),
    "login and query": (a_login_and_a_query, "GREETED FRESH"),
    "leaving in a transaction": (
        leaving_in_a_transaction,
        "SERVING RETURNING ROLLING_BACK RETURNING ASKING RETURNING",
    ),
    "session": (a_session, "ANSWERED SERVING, ANSWERED RETURNING RESETTING RETURNING"),
    "strict": (two_clients_in_strict, "FRESH RESETTING FRESH"),
    "asked": (a_session_that_has_to_be_asked, "ANSWERED PROBING ANSWERED"),
    "notification": (a_notification_of_a_kept_session, "PROBING SERVING"),
    "reconnect": (reconnect, "POOLED CLOSING SHUT ABSENT, POOLED ABSENT"),
    "end of an idle server": (end_of_an_idle_server, "POOLED RETURNING CLOSING"),
    "end between transactions": (end_of_a_server_between_transactions, "ANSWERED CLOSING ABSENT"),
    "end in a statement": (end_of_a_server_in_a_statement, "SERVING CLOSING"),
    "half a message": (half_a_message, "FRESH RETURNING"),
    "replication": (replication, "POOLED DEDICATED CLOSING"),
    "settings": (a_server_that_takes_no_settings, "FRESH CLOSING"),
    "leaving at the defaults": (leaving_while_defaults_are_asked, "FRESH ASKING RETURNING"),
    "leaving at the question": (leaving_while_a_session_is_asked, "PROBING ASKING"),
    "leaving at startup values": (leaving_while_startup_values_are_put_back, "SERVING ASKING"),
    "end at the defaults": (ends_at("db_role_setting s", "SELECT 1"), "ASKING CLOSING"),
    "end at the question": (ends_at("pg_locks", "SELECT pg_advisory_lock(1)"), "PROBING CLOSING"),
    "end at a reset": (ends_at("^DISCARD", "SELECT 1", pool_mode="session"), "RESETTING CLOSING"),
    "end at a rollback": (ends_at("^ROLLBACK", "SELECT 1", "BEGIN"), "ROLLING_BACK CLOSING"),
}


@pytest.mark.parametrize("name", CASES)
def test_transitions_are_taken(name: str, place: Place) -> None:
    assert_takes(place, *CASES[name])


def test_every_transition_has_a_case() -> None:
    assert_complete(MACHINE, CASES, BY_CHANCE)
