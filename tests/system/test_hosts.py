"""Where PostgreSQL is: lists of hosts, sockets, IPv6; whose turn it is, and what is done when one fails."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.pooler import Pooler
from tests.support.postgres import HBA, Postgres
from tests.support.wire import startup

FIRST, SECOND, THIRD, DEAD = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9"
WHERE = "SELECT host(inet_server_addr())"
NEW = "new connection to server"


@pytest.fixture(scope="module")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """A PostgreSQL with several addresses and an abstract socket, in place of the session's."""
    addresses = f"{FIRST},{SECOND},{THIRD},::1"
    directory = make_directory(work / "hosts", owner, 0o755)
    pg = Postgres(owner, directory, listen_addresses=addresses)
    name = f"@pooler-test-{pg.port}"
    pg.cluster.settings = {**pg.cluster.settings, "unix_socket_directories": f"{pg.socket_dir},{name}"}
    pg.cluster.hba = (*HBA, "host all all ::1/128 trust")
    pg.create()
    yield pg
    pg.stop()


def places(pooler: Pooler, count: int, database: str = "p0") -> list[str]:
    """The address of each of so many new servers, in the order in which they were opened.

    None else is opened meanwhile where the pool has one at most: on a busy machine a client may get a second
    one while the first answers a piece of a look at the catalogs.
    """
    found = []
    for _ in range(count):
        pooler.console(f"RECONNECT {database}")
        ((place,),) = pooler.sql(WHERE, dbname=database)
        found.append(place)
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_hosts_take_turns_over_all_workers(make_pooler: Callable[..., Pooler], workers: int) -> None:
    hosts = [FIRST, SECOND, THIRD]
    pooler = make_pooler(workers=workers, databases={"p0": f"host={','.join(hosts)} pool_size=1"})
    found = places(pooler, 9)
    at = hosts.index(found[0])
    assert found == [hosts[(at + n) % 3] for n in range(9)]


def test_each_database_has_its_own_turns(make_pooler: Callable[..., Pooler]) -> None:
    hosts = f"host={FIRST},{SECOND} pool_size=1"
    pooler = make_pooler(databases={"p0": hosts, "p1": hosts})
    found = [(*places(pooler, 1), *places(pooler, 1, "p1")) for _ in range(4)]
    assert found == [(FIRST, FIRST), (SECOND, SECOND)] * 2


@pytest.mark.parametrize("balance", ["round-robin", "disable"])
def test_the_next_one_is_tried_when_one_fails(make_pooler: Callable[..., Pooler], balance: str) -> None:
    keys = f"host={DEAD},{SECOND},{THIRD} load_balance_hosts={balance}"
    pooler = make_pooler(databases={"p0": keys}, query_wait_timeout=20)
    with pooler.expect_log("connect failed: .*; trying 4 127.0.0.2"):
        found = places(pooler, 6)
    assert DEAD not in found
    if balance == "disable":
        assert found == [SECOND] * 6  # one that works is kept
    else:
        assert set(found) == {SECOND, THIRD}


def test_disable_goes_on_after_a_failed_login(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """A host that takes connections and says nothing is left for the next one, too."""
    with socket.create_server((DEAD, pg.port)) as deaf:
        deaf.listen(8)
        keys = f"host={DEAD},{FIRST} load_balance_hosts=disable"
        pooler = make_pooler(databases={"p0": keys}, server_connect_timeout=1, query_wait_timeout=30)
        with pooler.expect_log("closing because: connect timeout", 1):
            assert places(pooler, 4) == [FIRST] * 4


def test_a_connect_that_hangs(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Nobody takes the connection: the text is PgBouncer's for one that fails."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((DEAD, pg.port))
        full.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((DEAD, pg.port))
        keys = f"host={DEAD},{FIRST} load_balance_hosts=disable"
        pooler = make_pooler(databases={"p0": keys}, server_connect_timeout=1, query_wait_timeout=30)
        with pooler.expect_log("closing because: connect failed", 1):
            assert places(pooler, 2) == [FIRST] * 2


def test_a_name_that_leads_nowhere_is_passed_over(make_pooler: Callable[..., Pooler]) -> None:
    keys = f"host=nowhere.example.test,{FIRST} load_balance_hosts=disable"
    pooler = make_pooler(databases={"p0": keys}, query_wait_timeout=20)
    with pooler.expect_log("S-.*: p0/bouncer@nowhere.* closing because: server DNS lookup failed", 1):
        assert places(pooler, 4) == [FIRST] * 4


def test_all_dead(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler(databases={"p0": f"host={DEAD},127.0.0.8"}, query_wait_timeout=2)
    with pooler.expect_log("closing because: connect failed"), pooler.wire() as wire:
        wire.send(startup())
        wire.expect_error("08P01", "query_wait_timeout")


def test_sockets_and_addresses_of_all_kinds(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pooler = make_pooler(
        databases={
            "directory": f"host={pg.socket_dir} dbname=p0",
            "abstract": f"host=@pooler-test-{pg.port} dbname=p0",
            "v6": "host=::1 dbname=p0",
            "mixed": f"host={pg.socket_dir},::1,{SECOND},@pooler-test-{pg.port} dbname=p0",
        },
    )
    assert pooler.sql(WHERE, dbname="directory") == [(None,)]
    assert pooler.sql(WHERE, dbname="abstract") == [(None,)]
    assert pooler.sql(WHERE, dbname="v6") == [("::1",)]
    found = Counter(places(pooler, 8, "mixed"))
    turns: dict[str | None, int] = {None: 4, "::1": 2, SECOND: 2}  # but that one may answer pooler meanwhile
    assert found.keys() == turns.keys()
    assert all(abs(count - turns[place]) <= 1 for place, count in found.items()), found
    v6 = f"v6/bouncer@[::1]:{pg.port} {NEW} (from [::1]:"
    assert v6 in pooler.log.read_text()
    assert {(row["addr"], row["port"]) for row in pooler.show("servers", database="v6")} == {("::1", pg.port)}


def test_what_the_console_shows(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pooler = make_pooler(
        databases={
            "p0": f"host={FIRST},{SECOND}",
            "p1": f"host={FIRST},{SECOND} load_balance_hosts=disable",
            "p2": f"host={FIRST} load_balance_hosts=disable",
        }
    )
    for name, hosts, balance in (
        ("p0", f"{FIRST},{SECOND}", "round-robin"),
        ("p1", f"{FIRST},{SECOND}", "disable"),
        ("p2", FIRST, None),
    ):
        pooler.sql("SELECT 1", dbname=name)
        (row,) = pooler.show("databases", name=name)
        assert (row["host"], row["load_balance_hosts"]) == (hosts, balance)
        assert pooler.pool(name)["load_balance_hosts"] == balance


def test_the_limit_of_an_instance_holds_over_a_list(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pooler = make_pooler(
        databases={"p0": f"host={FIRST},{SECOND}"}, max_server_connections=2, pool_mode="session"
    )
    with pooler.connect() as one, pooler.connect() as two:
        one.cursor().execute("SELECT 1")
        two.cursor().execute("SELECT 1")
        assert len(pg.backends()) == 2
        pooler.configure(query_wait_timeout=1)
        with pooler.wire() as wire:
            wire.login()
            wire.send(b"Q\0\0\0\x0dSELECT 1\0")
            wire.expect_error("08P01", "query_wait_timeout")


def test_a_list_that_changed_by_reload_is_left(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler(databases={"p0": f"host={FIRST},{SECOND}"})
    pooler.sql("SELECT 1")
    pooler.databases["p0"] = f"host={THIRD}"
    with pooler.expect_log("closing because: (obsolete connection|database configuration changed)"):
        pooler.configure()
        assert pooler.sql(WHERE) == [(THIRD,)]
