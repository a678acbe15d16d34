"""Names of hosts, with a real DNS server that the test makes change its mind, fall silent, and come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.nameserver import NameServer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import startup

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WHERE = "SELECT host(inet_server_addr())"
NAME = "db.example.test"


@pytest.fixture(scope="module")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """A PostgreSQL with several addresses, in place of the session's."""
    directory = make_directory(work / "dns", owner, 0o755)
    pg = Postgres(owner, directory, listen_addresses=f"{FIRST},{SECOND},{THIRD}")
    pg.create()
    yield pg
    pg.stop()


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with NameServer() as server:
        server.names[NAME] = [FIRST]
        yield server


@pytest.fixture
def named(
    make_pooler: Callable[..., Pooler], dns: NameServer, work: Path, owner: Account
) -> Callable[..., Pooler]:
    """pooler that asks the server of the test for where its databases are."""

    def make(databases: dict[str, str] | None = None, **settings: object) -> Pooler:
        conf = dns.resolv_conf(work, owner)
        return make_pooler(databases=databases or {"p0": f"host={NAME}"}, resolv_conf=conf, **settings)

    return make


def place(pooler: Pooler, database: str = "p0") -> str:
    """The address of a new server."""
    pooler.console(f"RECONNECT {database}")
    ((found,),) = pooler.sql(WHERE, dbname=database)
    return str(found)


@pytest.mark.parametrize("workers", [1, 3])
def test_one_answer_is_for_all_until_it_is_old(
    named: Callable[..., Pooler], dns: NameServer, workers: int
) -> None:
    pooler = named(workers=workers, dns_max_ttl=1000)
    for _ in range(6):
        assert place(pooler) == FIRST
    assert dns.asked[NAME] == 2  # A and AAAA
    (row,) = pooler.show("dns_hosts")
    assert (row["hostname"], row["addrs"]) == (NAME, FIRST)
    assert 900 < row["ttl"] <= 1000
    counts = {row["list"]: row["items"] for row in pooler.show("lists")}
    assert (counts["dns_names"], counts["dns_zones"], counts["dns_pending"]) == (1, 0, 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_addresses_of_a_name_take_turns(named: Callable[..., Pooler], dns: NameServer, workers: int) -> None:
    dns.names[NAME] = [FIRST, SECOND, THIRD]
    pooler = named(workers=workers)
    found = [place(pooler) for _ in range(6)]
    assert found[:3] == found[3:]
    assert set(found) == {FIRST, SECOND, THIRD}
    (row,) = pooler.show("dns_hosts")
    assert set(row["addrs"].split(",")) == {FIRST, SECOND, THIRD}


def test_a_changed_address_makes_servers_obsolete(named: Callable[..., Pooler], dns: NameServer) -> None:
    """Whoever opens a server after the time is up finds out, and says so for all databases at that name."""
    both = {"p0": f"host={NAME}", "p1": f"host={NAME}", "p2": f"host={FIRST}"}
    pooler = named(both, workers=2, dns_max_ttl=1, pool_mode="session")
    pooler.sql("SELECT 1", dbname="p2")
    with pooler.connect() as busy, busy.cursor() as cursor:
        cursor.execute(WHERE)
        assert pooler.sql(WHERE) == [(FIRST,)]
        assert [row["addr"] for row in pooler.show("servers", database="p0")] == [FIRST] * 2
        dns.names[NAME] = [SECOND]
        wait_for(lambda: place(pooler, "p1") == SECOND, 10, "the new address")
        wait_for(lambda: len(pooler.show("servers", database="p0")) == 1, 5, "the end of the idle one")
        assert pooler.show("servers", database="p0")[0]["close_needed"] == 1
        cursor.execute(WHERE)
        assert cursor.fetchall() == [(FIRST,)]  # in use: it stays as long
    wait_for(lambda: not pooler.show("servers", database="p0"), 5, "the end of the other one")
    reasons = ("database configuration changed", "obsolete connection")  # of the idle one, of the busy one

    def told() -> bool:
        logged = pooler.log.read_text()
        return all(f"closing because: {reason}" in logged for reason in reasons)

    wait_for(told, 5, "two obsolete ones in the log")
    assert len(pooler.show("servers", database="p2")) == 1  # the same address, but not by that name


def stays(pooler: Pooler, result: str) -> bool:
    """A new server is where it was; whether a look-up has failed by now."""
    assert place(pooler) == FIRST
    return f"DNS lookup failed: {NAME}: {result}" in pooler.log.read_text()


def test_an_outage_of_the_dns_harms_nobody(named: Callable[..., Pooler], dns: NameServer) -> None:
    """Open connections go on, and new ones go where the last answer led."""
    pooler = named(workers=2, dns_max_ttl=1, dns_nxdomain_ttl=1)
    with pooler.connect() as connection, connection.cursor() as cursor:
        cursor.execute(WHERE)
        dns.silent = True
        wait_for(lambda: stays(pooler, "result="), 20, "a look-up that failed")
        for _ in range(200):
            cursor.execute(WHERE)
            assert cursor.fetchall() == [(FIRST,)]
        dns.names[NAME] = [SECOND]
        dns.silent = False
        wait_for(lambda: place(pooler) == SECOND, 15, "the new address")


def test_nxdomain_keeps_the_last_good_address(named: Callable[..., Pooler], dns: NameServer) -> None:
    pooler = named(dns_max_ttl=1, dns_nxdomain_ttl=1)
    assert place(pooler) == FIRST
    del dns.names[NAME]
    wait_for(lambda: stays(pooler, "result=NXDOMAIN"), 20, "a look-up that failed")
    assert stays(pooler, "result=NXDOMAIN")
    assert pooler.show("dns_hosts")[0]["addrs"] == FIRST


def test_a_name_that_never_was(named: Callable[..., Pooler], dns: NameServer) -> None:
    """Clients wait; the failure is remembered for dns_nxdomain_ttl; when the name is there they get in."""
    pooler = named({"p0": "host=late.example.test"}, dns_nxdomain_ttl=3, query_wait_timeout=60)
    with pooler.expect_log("closing because: server DNS lookup failed"), pooler.wire(timeout_s=30) as wire:
        wire.send(startup())
        wait_for(lambda: dns.asked["late.example.test"] == 1, 5, "the first look-up")
        dns.names["late.example.test"] = [SECOND]
        wire.receive_until("Z")
        assert wire.rows(WHERE) == [[SECOND.encode()]]


def test_it_is_told_to_whoever_waits_too_long(named: Callable[..., Pooler]) -> None:
    pooler = named({"p0": "host=nowhere.example.test"}, query_wait_timeout=1)
    with pooler.expect_log("server DNS lookup failed"), pooler.wire() as wire:
        wire.send(startup())
        wire.expect_error("08P01", "query_wait_timeout")


def test_a_dead_resolver_delays_no_login(named: Callable[..., Pooler], dns: NameServer) -> None:
    """Many names that nobody answers for; clients of another database come and go meanwhile."""
    lost = {f"d{n}": f"host=h{n}.lost.test dbname=p0" for n in range(20)}
    pooler = named({"p0": f"host={FIRST}", **lost}, workers=1, query_wait_timeout=60)
    dns.silent = True
    wires = [pooler.wire() for _ in lost]
    for wire, name in zip(wires, lost, strict=True):
        wire.send(startup("suser", name))
    for wire in wires:
        wire.close()
        with pooler.connect(user="suser") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def test_a_changed_serial_of_the_zone(named: Callable[..., Pooler], dns: NameServer) -> None:
    """Names are asked for anew at once, however long their answers would have been good."""
    pooler = named(workers=2, dns_max_ttl=1000, dns_zone_check_period=1)
    assert place(pooler) == FIRST
    known = [{"zonename": "example.test", "serial": 1, "count": 1}]  # serial 0 until it was asked for
    wait_for(lambda: pooler.show("dns_zones") == known, 5, "the zone with its serial")
    dns.names[NAME] = [THIRD]
    dns.serial = 2
    with pooler.expect_log(
        "closing because: (obsolete connection|database configuration changed)", timeout_s=10
    ):
        pass
    assert "zone 'example.test' serial changed: old=1 new=2" in pooler.log.read_text()
    assert pooler.sql(WHERE) == [(THIRD,)]
    assert {row["list"]: row["items"] for row in pooler.show("lists")}["dns_zones"] == 1


def test_the_systems_resolver(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler(databases={"p0": "host=localhost"})
    assert pooler.sql("SELECT 1") == [(1,)]
    (row,) = pooler.show("dns_hosts")
    assert row["hostname"] == "localhost"
    assert FIRST in row["addrs"].split(",")


def test_names_of_the_hosts_file_come_before_the_servers(
    named: Callable[..., Pooler], dns: NameServer
) -> None:
    pooler = named({"p0": "host=localhost"})
    assert pooler.sql("SELECT 1") == [(1,)]
    assert not dns.asked


def test_names_in_a_list(named: Callable[..., Pooler], dns: NameServer) -> None:
    dns.names["other.example.test"] = [SECOND]
    pooler = named({"p0": f"host=gone.example.test,{NAME},other.example.test"}, dns_nxdomain_ttl=1000)
    assert {place(pooler) for _ in range(6)} == {FIRST, SECOND}
    assert dns.asked["gone.example.test"] == 1
