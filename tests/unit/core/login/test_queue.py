"""Places at the login queue, the order of turns, clients that are sent away: at a time that the test says.

A client here is a socket; it says a part of its startup packet, and so has its turn, or waits for it, and has
proven who it is when it says the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pooler.config import Config, Database, Settings
from pooler.core import Relay, Tables
from pooler.core._core import Logins, login_network
from pooler.ipc import inbox
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.login_policy import login_policy
from pooler.worker.session_queries import QUESTIONS
from tests.support.wire import startup

#: Beyond what login_queue.c waits for a client that takes a place, and for one that is silent.
STALL_S, SILENT_S = 0.301, 2.001
TOO_MANY = "too many clients in their login (max_unauthenticated)"
TOO_SILENT = "too many silent connections from one address (max_silent_per_address)"
#: Descriptors of clients: none is used twice.
NUMBERS = itertools.count(300)
PACKET = startup("me", "d")


class Client:
    """One connection. Three origins can be had: an account, an address, and no address."""

    def __init__(self, bed: Bed, origin: str, says: bytes) -> None:
        self.bed = bed
        if origin == "address":
            with socket.create_server(("127.0.0.1", 0)) as server:
                self.peer = socket.create_connection(server.getsockname())
                theirs, _ = server.accept()
        else:
            theirs, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.fd = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, next(NUMBERS))
        theirs.close()
        if says:
            self.peer.send(says)
        bed.logins.accept(self.fd, origin == "account")
        bed.logins.run()

    def _facts(self) -> tuple[str, bool, int, int, str]:
        return self.bed.logins.all().get(self.fd, ("LOGIN_OVER", False, -1, 0, ""))

    @property
    def state(self) -> str:
        return self._facts()[0].removeprefix("LOGIN_")

    @property
    def started(self) -> bool:
        """It has, or had, its turn; and was not refused."""
        return self.state not in ("OUTSIDE", "QUEUED", "TOLD", "OVER")

    @property
    def row(self) -> int:
        return self._facts()[2]

    @property
    def id(self) -> int:
        return self._facts()[3]

    @property
    def fault(self) -> str:
        return self._facts()[4]

    def say(self, data: bytes) -> None:
        self.peer.send(data)
        self.bed.logins.run()

    def log_in(self) -> None:
        """The rest of its packet, after which its method asks for nothing."""
        self.say(PACKET[1:])

    def heard(self) -> bytes:
        try:
            return self.peer.recv(4096)
        except BlockingIOError:
            return b""


class Bed:
    """Logins at a worker with these settings."""

    def __init__(self, rows: int = 100, **settings: Any) -> None:
        self.tables = Tables(workers=1, slots=4, clients=rows)
        self._boxes = inbox.open_pair()
        ours, theirs = (box.fileno() for box in self._boxes)
        self.relay = Relay(self.tables, 0, ours, [theirs] * 2, (), (*QUESTIONS, *CATALOGS))
        self.logins = Logins(self.relay, 1000.0)
        self.clients: list[Client] = []
        self.lines = ""
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        """In force from now on."""
        settings = {"client_login_timeout": 0.0, "auth_type": "trust", **settings}
        config = Config(
            "p.ini",
            Settings(workers=1, **settings),
            databases={"d": Database("d")},
            userlist={"me": "secret"},
        )
        self.relay.set_policy(login_policy(config, None, (1, 2)))
        self.logins.obey()

    def come(self, origin: str = "account", says: bytes = PACKET[:1]) -> Client:
        client = Client(self, origin, says)
        self.clients.append(client)
        return client

    def wait(self, seconds: float) -> None:
        """What has been said meanwhile is read; nobody looks at the queue."""
        self.logins.now += seconds
        self.logins.run()

    def tick(self) -> None:
        self.logins.tick()
        self.logins.run()

    def log(self) -> str:
        self.lines += self.relay.log_lines().lines.decode()
        return self.lines

    def close(self) -> None:
        for client in self.clients:
            client.peer.close()
        for _ in range(3):  # those that are refused at a fixed pace are told first
            self.logins.now += 2
            self.logins.run()
            self.logins.clock()
        for box in self._boxes:
            box.close()


MakeBed = Callable[..., Bed]


@pytest.fixture
def make_bed() -> Iterator[MakeBed]:
    beds: list[Bed] = []

    def make(**settings: Any) -> Bed:
        beds.append(Bed(**settings))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()


def states(clients: list[Client]) -> list[str]:
    return [one.state for one in clients]


def test_turns_go_round_by_origin(make_bed: MakeBed) -> None:
    """A flood from one address does not stand in front of the client of another."""
    bed = make_bed(max_unauthenticated=1)
    first = bed.come("account")
    flood = [bed.come("account") for _ in range(20)]
    honest = bed.come("address")
    assert bed.logins.queue == (1, 0, 21)
    first.log_in()
    flood[0].log_in()
    assert honest.started
    honest.log_in()
    assert [one.started for one in flood] == [True, True] + 18 * [False], "first come, first served"


def test_silent_connections_take_no_place(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    silent = [bed.come(says=b"") for _ in range(10)]
    assert bed.come().started
    assert states(silent) == ["OUTSIDE"] * 10
    bed.wait(STALL_S)
    silent[3].say(PACKET[:1])
    bed.tick()
    assert [one.started for one in silent] == [number == 3 for number in range(10)]


def test_stalled_logins_take_no_place(make_bed: MakeBed) -> None:
    """However they are stalled: a byte now and then is no haste."""
    bed = make_bed(max_unauthenticated=2)
    stalled = [bed.come() for _ in range(2)]
    client = bed.come()
    for number in range(1, 4):
        assert not client.started
        bed.wait(0.12)
        for one in stalled:
            one.say(PACKET[number : number + 1])
        bed.tick()
    assert client.started
    assert states(stalled) == ["OPENING"] * 2
    assert bed.logins.queue == (3, 2, 0)


def test_the_newest_of_the_origin_with_most_make_room(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    silent = {}
    for name, origin in (("x1", "none"), ("y1", "address"), ("x2", "none"), ("x3", "none")):
        silent[name] = bed.come(origin)
        bed.wait(STALL_S)
        bed.tick()
    bed.wait(SILENT_S)
    bed.tick()
    assert states([*silent.values()]) == ["OPENING"] * 4, "there is room"
    bed.wait(0.02)  # who has to wait makes the queue be looked at, but not at every newcomer
    working = bed.come("account")
    waiting = bed.come("account")
    assert (working.state, waiting.state) == ("OPENING", "QUEUED")
    assert [name for name, one in silent.items() if one.fault == TOO_MANY] == ["x3"]
    bed.tick()
    assert [name for name, one in silent.items() if one.fault == TOO_MANY] == ["x2", "x3"]
    assert bed.log().count("clients are in their login (max_unauthenticated)") == 1


def test_an_origin_may_have_so_many_silent_connections(make_bed: MakeBed) -> None:
    """Outside and inside count together; the others are not touched."""
    bed = make_bed(max_silent_per_address=2)
    inside = bed.come("none")
    outside = [bed.come("none", says=b"") for _ in range(3)]
    other = bed.come("address", says=b"")
    bed.wait(STALL_S)
    bed.tick()
    assert inside.started, "that is no silence yet"
    bed.wait(SILENT_S)
    outside.append(bed.come("none", says=b""))
    bed.tick()
    faults = [one.fault for one in (inside, *outside)]
    assert faults == ["", "", TOO_SILENT, TOO_SILENT, ""]
    assert not other.fault
    assert bed.log().count("4 connections from  say nothing (max_silent_per_address)") == 1


def test_rows_are_given_up_for_who_speaks(make_bed: MakeBed) -> None:
    bed = make_bed(rows=3)
    few = bed.come("address", says=b"")
    many = [bed.come("none", says=b"") for _ in range(2)]
    newcomer = bed.come("none")
    assert (newcomer.started, many[0].row >= 0, many[1].row) == (True, True, -1)
    assert many[1].fault == TOO_MANY
    silent = bed.come("none", says=b"")
    assert "max_client_conn" in silent.fault, "it is the newest of them"
    other = bed.come("account")
    assert other.started
    assert (few.row < 0) != (many[0].row < 0)
    another = bed.come("account")
    assert another.started
    assert (few.row, many[0].row) == (-1, -1)
    last = bed.come("address")
    assert "max_client_conn" in last.fault, "there is none"


def test_rows_of_a_flood_that_speaks_are_given_up_for_others(make_bed: MakeBed) -> None:
    bed = make_bed(rows=3, max_unauthenticated=1)
    flood = [bed.come("none") for _ in range(3)]
    newcomer = bed.come("none")
    assert "max_client_conn" in newcomer.fault, "it is the newest of them"
    other = bed.come("address")
    assert [one.row >= 0 for one in flood] == [True, True, False]
    assert other.state == "QUEUED"


def test_row_of_a_silent_login_goes_to_who_speaks(make_bed: MakeBed) -> None:
    """Also of one that is inside, whose refusal needs none."""
    bed = make_bed(rows=8)
    inside = [bed.come() for _ in range(8)]
    bed.wait(STALL_S)
    bed.tick()
    row = inside[-1].row
    newcomer = bed.come()
    assert (newcomer.row, inside[-1].row) == (row, -1)
    assert TOO_MANY.encode() in inside[-1].heard()
    inside[-1].peer.close()
    bed.logins.run()
    assert inside[-1].state == "OVER"
    assert newcomer.started


def test_no_more_logins_at_once_than_allowed(make_bed: MakeBed) -> None:
    """The third waits until one of the two is through, or gone."""
    bed = make_bed(max_unauthenticated=2)
    one, two, three, four = clients = [bed.come() for _ in range(4)]
    assert states(clients) == ["OPENING", "OPENING", "QUEUED", "QUEUED"]
    one.peer.close()
    bed.logins.run()
    assert states([three, four]) == ["OPENING", "QUEUED"]
    two.log_in()
    assert states([two, four]) == ["ASKING", "OPENING"]
    assert bed.logins.queue == (2, 0, 0)


def test_limit_that_is_raised_lets_in_who_waits(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    _, two, three = (bed.come() for _ in range(3))
    bed.configure(max_unauthenticated=2)
    assert (two.started, three.started) == (True, False)
    bed.configure(max_unauthenticated=0)
    assert three.started


def test_who_waits_at_the_door_can_be_ended(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1, client_login_timeout=30.0)
    _, two, three = (bed.come() for _ in range(3))
    outside = bed.come(says=b"")
    assert bed.tables.kill_client(two.row, two.id, "admin forced disconnect")
    bed.logins.obey()
    assert b"admin forced disconnect" in two.heard()
    bed.wait(31)
    bed.logins.clock()
    assert b"client_login_timeout" in three.heard()
    assert b"client_login_timeout" in outside.heard()
    assert bed.logins.queue == (0, 0, 0)


def test_the_first_reason_counts(make_bed: MakeBed) -> None:
    bed = make_bed()
    client = bed.come()
    for text in ("admin forced disconnect", "database removed"):
        assert bed.tables.kill_client(client.row, client.id, text)
        bed.logins.obey()
    told = client.heard()
    assert b"admin forced disconnect" in told
    assert b"removed" not in told


def test_an_order_for_a_client_that_left_does_not_meet_the_next_one(make_bed: MakeBed) -> None:
    """Its row is used again by the time the order is looked at."""
    bed = make_bed(rows=1)
    first = bed.come()
    row, number = first.row, first.id
    assert bed.tables.kill_client(row, number, "admin forced disconnect")
    first.peer.close()
    bed.logins.run()
    second = bed.come()
    assert second.row == row
    assert second.id != number
    bed.logins.obey()
    assert second.started


def test_who_was_told_is_forgotten_after_a_second(make_bed: MakeBed) -> None:
    """It keeps its connection until it has closed, or so long."""
    bed = make_bed(max_silent_per_address=1)
    bed.come(says=b"")
    told = bed.come(says=b"")
    bed.wait(SILENT_S)
    bed.tick()
    assert told.state == "TOLD"
    told.say(b"more")
    bed.wait(0.9)
    bed.logins.clock()
    assert told.state == "TOLD"
    bed.wait(0.2)
    bed.logins.clock()
    bed.logins.run()
    assert told.state == "OVER"


def test_before_there_is_a_configuration_all_wait(make_bed: MakeBed) -> None:
    bed = make_bed()
    with contextlib.closing(socket.socket(socket.AF_UNIX)):
        fresh = Relay(bed.tables, 0, bed._boxes[0].fileno(), [0] * 2, (), (*QUESTIONS, *CATALOGS))
    logins = Logins(fresh, 1000.0)
    ours, theirs = socket.socketpair()
    theirs.send(PACKET[:1])
    fd = ours.detach()
    logins.accept(fd, True)
    logins.run()
    logins.tick()
    assert logins.all()[fd][0] == "LOGIN_OUTSIDE"
    config = Config("p.ini", Settings(workers=1, auth_type="trust"))
    fresh.set_policy(login_policy(config, None, (1, 2)))
    logins.obey()
    logins.run()
    assert logins.all()[fd][0] == "LOGIN_OPENING"
    theirs.close()
    logins.run()
    assert not logins.all()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("127.0.0.1", "127.9.9.9", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_networks(one: str, other: str, same: bool) -> None:
    """What one machine may have many of counts as one."""
    assert (login_network(one) == login_network(other)) is same
