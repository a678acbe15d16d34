"""Every transition of a client that the table has is taken by real connections, and no other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support import transitions
from tests.support.fakeserver import PATIENCE_S, FakeServer, Peer
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.transitions import Cases, Place, assert_complete, assert_takes, machine
from tests.support.wire import FLUSH, SYNC, TERMINATE, Wire, bind, execute, message, parse, query, startup

MACHINE = machine("client")

BY_CHANCE = {
    ("LOGGED_IN", "CLOSED"),  # there is no memory for it
    ("DROPPING", "CLOSED"),  # lasts from one turn of the relay's loop to the next
}


class FakePostgres(transitions.FakePostgres):
    """One whose first connection ends at what fits the pattern; the others are let in when they may be."""

    def __init__(self, pattern: str = "never") -> None:
        super().__init__(pattern)
        self.may_log_in = threading.Event()
        self.logins = 0

    def log_in(self, peer: Peer) -> None:
        self.logins += 1
        if self.logins > 1:
            self.may_log_in.wait(PATIENCE_S)
        super().log_in(peer)

    def met(self, peer: Peer, answer: bytes) -> bool:
        self.may_log_in.set()
        return self.logins == 1


def before(place: Place, fake: FakeServer, **settings: object) -> Pooler:
    """In most cases nothing of a session is looked after: pooler has no requests of its own then."""
    return place.before(fake, **{"session_state": "off", **settings})


def kill(pooler: Pooler, wire: Wire) -> None:
    """By the console, while it is not read."""
    port = wire.socket.getsockname()[1]
    (row,) = (row for row in pooler.show("clients") if row["port"] == port)
    pooler.console(f"KILL_CLIENT {row['id']}")


def cancel(pooler: Pooler, wire: Wire) -> None:
    with pooler.wire() as other:
        other.send(wire.cancel_request())
        other.expect_closed()


def wait_for_waiting(pooler: Pooler, database: str = "p0") -> None:
    wait_for(lambda: pooler.pool(database)["cl_waiting"] == 1, 5, "a client in the queue")


# The cases.


def two_clients_and_one_server(place: Place) -> None:
    pooler = place.pooler(session_state="off")
    with pooler.wire().login() as one, pooler.wire().login() as other:
        wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "an idle server")
        one.rows("BEGIN")
        other.send(query("SELECT 1"))
        wait_for_waiting(pooler)
        one.rows("COMMIT")
        other.receive_until("Z")
        one.rows("BEGIN")
        one.close()
        other.close()


def new_startup_values(place: Place) -> None:
    pooler = place.pooler()
    with pooler.wire().login() as first:
        first.rows("SELECT 1")
    wait_for(lambda: pooler.pool()["sv_idle"] == 1, 5, "an idle server")
    with pooler.wire() as wire:
        wire.login(TimeZone="Asia/Tokyo").rows("SELECT 1")


def startup_values_that_are_refused(place: Place) -> None:
    pooler = place.pooler()
    with pooler.wire() as wire:
        wire.send(startup(options="-c work_mem=much"))
        wire.receive_until("E")


def replication(place: Place) -> None:
    with FakeServer({"*": FakePostgres().script()}) as fake, before(place, fake).wire() as wire:
        wire.send(startup(SUPERUSER, "f", replication="database"))
        wire.receive_until("Z")


def beside_a_login(place: Place, after: Callable[[Pooler, FakePostgres, Wire], None]) -> None:
    """A client that is not greeted yet, while the only server is logging in."""
    server = FakePostgres()
    with FakeServer({"*": server.script()}) as fake:
        pooler = before(place, fake, query_wait_notify=1)
        with pooler.wire() as wire:
            wire.login(database="f").rows("SELECT 1")
        pooler.console("RECONNECT f")
        wait_for(lambda: not pooler.show("slots", database="f"), 5, "the end of the first server")
        with pooler.wire(timeout_s=8) as wire:
            after(pooler, server, wire)
            server.may_log_in.set()


def greeted_late(place: Place) -> None:
    def after(_pooler: Pooler, server: FakePostgres, wire: Wire) -> None:
        wire.send(startup(database="f", TimeZone="Asia/Tokyo"))
        wait_for(lambda: server.logins == 2, 5, "a login")
        server.may_log_in.set()
        wire.receive_until("Z")

    beside_a_login(place, after)


def let_in_and_canceled(place: Place) -> None:
    def after(pooler: Pooler, _server: FakePostgres, wire: Wire) -> None:
        wire.login(database="f", TimeZone="Asia/Tokyo").expect("N")
        cancel(pooler, wire)
        wait_for(lambda: ("WAITING", "IDLE") in place.taken(), 5, "nothing to be canceled")

    beside_a_login(place, after)


def let_in_with_what_is_no_message(place: Place) -> None:
    """It came behind the startup packet."""

    def after(pooler: Pooler, _server: FakePostgres, wire: Wire) -> None:
        wire.send(startup(database="f", TimeZone="Asia/Tokyo") + b"Q\0\0\0\3")
        wire.read_login().expect("N")
        cancel(pooler, wire)
        wait_for(lambda: ("DROPPING", "LEAVING") in place.taken(), 5, "its end")

    beside_a_login(place, after)


def hanging_up_early(place: Place) -> None:
    def after(_pooler: Pooler, server: FakePostgres, wire: Wire) -> None:
        wire.send(startup(database="f", TimeZone="Asia/Tokyo"))
        wait_for(lambda: server.logins == 2, 5, "a login")
        wire.close()
        wait_for(lambda: ("GREETING_WAITING", "CLOSED") in place.taken(), 5, "its end")

    beside_a_login(place, after)


def kills(place: Place) -> None:
    """Of one that is idle, one that waits, and one that is skipping."""
    pooler = place.pooler()
    with pooler.wire().login() as holder, pooler.wire().login() as idle:
        kill(pooler, idle)
        holder.rows("BEGIN")
        with pooler.wire().login() as waiting:
            waiting.send(query("SELECT 1"))
            wait_for_waiting(pooler)
            kill(pooler, waiting)
            waiting.receive_until("E")
        with pooler.wire().login() as skipping:
            skipping.send(parse("SELECT 1"))
            wait_for_waiting(pooler)
            cancel(pooler, skipping)
            skipping.receive_until("E")
            kill(pooler, skipping)
            skipping.receive_until("E")


def canceled_in_the_queue(place: Place) -> None:
    pooler = place.pooler()
    with pooler.wire().login() as holder, pooler.wire().login() as wire:
        holder.rows("BEGIN")
        extended = parse("SELECT 1")
        for data, end in ((query("SELECT 1"), b""), (extended, SYNC), (extended, TERMINATE)):
            wire.send(data)
            wait_for_waiting(pooler)
            cancel(pooler, wire)
            wire.receive_until("E")
            wire.send(end)
            if end != TERMINATE:
                wire.receive_until("Z")
        wire.expect_closed()


def a_sync_behind_a_query(place: Place) -> None:
    """Which may begin a COPY."""
    with place.pooler().wire().login() as wire:
        wire.send(query("SELECT 1") + SYNC)
        wire.receive_until("Z")
        wire.receive_until("Z")
        wire.rows("BEGIN")
        wire.send(query("SELECT 1") + SYNC)
        wire.receive_until("Z")
        wire.receive_until("Z")


def a_server_that_ends_behind_a_query(place: Place) -> None:
    server = FakePostgres("last")
    with FakeServer({"*": server.script()}) as fake, before(place, fake).wire() as wire:
        wire.login(database="f").rows("BEGIN")
        wire.send(query("last") + SYNC)
        wire.receive_until("E")


def an_execute_in_a_pipeline(place: Place) -> None:
    """Its statement has to be prepared on another server first: what that fails with is not the client's."""
    pooler = place.pooler(max_prepared_statements=10)
    with pooler.wire().login() as wire:
        wire.send(parse("SELECT 1", "one") + SYNC)
        wire.receive_until("Z")
        pooler.console("RECONNECT")
        wire.rows("BEGIN")
        wire.send(parse("SELECT 2") + bind() + execute() + FLUSH)
        wire.receive_until("C")
        wire.send(query("EXECUTE one") + TERMINATE)
        wire.receive_until("Z")


def a_server_that_ends_at(
    pattern: str, session_state: str, said: str, behind: str
) -> Callable[[Place], None]:
    """It ends between two clients, before anything of the second one was sent."""

    def case(place: Place) -> None:
        with FakeServer({"*": FakePostgres(pattern).script()}) as fake:
            pooler = place.before(fake, session_state=session_state)
            with pooler.wire().login(database="f") as one, pooler.wire().login(database="f") as other:
                one.rows(said)
                other.rows(behind)

    return case


def a_server_that_takes_no_settings(place: Place) -> None:
    server = FakePostgres("(?i)^SET|set_config")
    with FakeServer({"*": server.script()}) as fake, before(place, fake).wire() as wire:
        wire.login(database="f", TimeZone="Asia/Tokyo")


def a_failed_copy(place: Place) -> None:
    """No Sync was read behind the failure."""
    with place.pooler().wire().login() as wire:
        wire.rows("BEGIN")
        wire.rows("CREATE TEMP TABLE copied (n int)")
        wire.send(parse("COPY copied FROM STDIN") + bind() + execute() + FLUSH)
        wire.receive_until("G")
        wire.send(SYNC + message("d", b"none\n"))
        wire.receive_until("E")
        wire.send(parse("SELECT 1") + SYNC)
        wire.receive_until("Z")


def a_broken_statement(place: Place) -> None:
    with place.pooler().wire().login(user=SUPERUSER) as wire:
        wire.send(query("SELECT pg_terminate_backend(pg_backend_pid())"))
        wire.receive_until("E")
        wire.expect_closed()


CASES: Cases = {
    "one server": (
        two_clients_and_one_server,
        "LOGGED_IN IDLE SERVED IDLE WAITING SERVED LEAVING CLOSED, IDLE LEAVING",
    ),
    "startup values": (new_startup_values, "LOGGED_IN GREETING SERVED"),
    "refused values": (startup_values_that_are_refused, "GREETING CLOSED"),
    "replication": (replication, "LOGGED_IN SERVED"),
    "greeted late": (greeted_late, "LOGGED_IN GREETING_WAITING GREETING"),
    "let in": (let_in_and_canceled, "GREETING_WAITING WAITING IDLE"),
    "let in with no message": (let_in_with_what_is_no_message, "DROPPING LEAVING"),
    "hanging up early": (hanging_up_early, "GREETING_WAITING CLOSED"),
    "kills": (kills, "IDLE CLOSED, WAITING CLOSED, WAITING SKIPPING CLOSED"),
    "canceled": (canceled_in_the_queue, "WAITING DROPPING IDLE, WAITING SKIPPING IDLE, SKIPPING LEAVING"),
    "Sync behind a query": (a_sync_behind_a_query, "SERVED HELD SERVED, HELD IDLE"),
    "end behind a query": (a_server_that_ends_behind_a_query, "HELD CLOSED"),
    "EXECUTE": (an_execute_in_a_pipeline, "HELD LEAVING"),
    "sequences": (
        a_server_that_ends_at("DISCARD SEQUENCES", "auto", "SELECT nextval('s')", "SELECT lastval()"),
        "HELD WAITING",
    ),
    "reset": (a_server_that_ends_at("RESET ALL", "strict", "SELECT 1", "SELECT 1"), "SERVED WAITING"),
    "settings": (a_server_that_takes_no_settings, "GREETING GREETING_WAITING"),
    "COPY": (a_failed_copy, "SERVED SKIPPING SERVED"),
    "end in a statement": (a_broken_statement, "SERVED CLOSED"),
}


@pytest.mark.parametrize("name", CASES)
def test_transitions_are_taken(name: str, place: Place) -> None:
    assert_takes(place, *CASES[name])


def test_every_transition_has_a_case() -> None:
    assert_complete(MACHINE, CASES, BY_CHANCE)
