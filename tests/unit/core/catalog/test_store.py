"""Snapshots of catalogs in the shared tables: a test plays the workers that write and copy them."""

from __future__ import annotations

import pytest

from pooler.core._core import PlayedTables

SECOND_US = 1_000_000
BEGIN_US = 10**12
#: Nobody keeps a claim for so long without a sign of life.
LONG_US = 600 * SECOND_US
CAPACITY = 64


class Catalogs:
    """`database` and `other` are at one instance; workers 0 to 2."""

    def __init__(self) -> None:
        self.tables = t = PlayedTables(
            workers=3, slots=2, clients=2, databases=2, users=2, pools=2, instances=2
        )
        self.database, self.other, self.instance = t.database("db"), t.database("other"), t.instance("i")
        self.now = BEGIN_US

    def claim(self, worker: int, database: int | None = None) -> None:
        self.now += LONG_US
        where = self.database if database is None else database
        assert self.tables._catalog_claim(where, self.instance, worker, self.now)

    def reserve(self, worker: int, database: int | None = None, capacity: int = CAPACITY) -> memoryview:
        where = self.database if database is None else database
        extent = self.tables._catalog_reserve(where, worker, capacity)
        assert extent is not None
        return extent

    def write(self, worker: int, entries: bytes, database: int | None = None) -> None:
        """Reserves, writes and publishes."""
        self.reserve(worker, database, len(entries) // 16)[:] = entries
        self.publish(worker, database)

    def publish(self, worker: int, database: int | None = None) -> None:
        where = self.database if database is None else database
        self.tables._catalog_publish(where, worker, self.now)

    def read(self, database: int | None = None) -> tuple[int, int, bytes] | None:
        where = self.database if database is None else database
        found: tuple[int, int, bytes] | None = self.tables._catalog_follow(where)
        return found


@pytest.fixture
def catalogs() -> Catalogs:
    return Catalogs()


ENTRIES, OTHERS, NEW = bytes([1]) * 16 * CAPACITY, bytes([2]) * 16 * CAPACITY, bytes([3]) * 16 * CAPACITY


def test_all_see_what_one_has_written(catalogs: Catalogs) -> None:
    catalogs.claim(0)
    catalogs.write(0, ENTRIES)
    found = catalogs.read()
    assert found is not None
    assert found[1:] == (0, ENTRIES)


def test_each_snapshot_has_a_generation_of_its_own(catalogs: Catalogs) -> None:
    """Also if nothing else has happened between two of them: workers go by it."""
    seen = set()
    for n in range(8):
        catalogs.claim(0)
        catalogs.write(0, bytes([n + 1]) * 16 * CAPACITY)
        found = catalogs.read()
        assert found is not None
        seen.add(found[0])
    assert len(seen) == 8


def test_the_same_snapshot_keeps_its_generation(catalogs: Catalogs) -> None:
    """Verdicts that went by it stay good, and its second extent is free."""
    catalogs.claim(0)
    catalogs.write(0, ENTRIES)
    before = catalogs.read()
    for _ in range(3):
        catalogs.claim(0)
        catalogs.write(0, ENTRIES)
    assert catalogs.read() == before


@pytest.mark.parametrize("published", [False, True], ids=["writing", "published"])
@pytest.mark.parametrize("smaller", [False, True], ids=["same size", "smaller"])
def test_who_was_stopped_writes_into_nobodys_extent(
    catalogs: Catalogs, published: bool, smaller: bool
) -> None:
    """It wakes in the midst of a step when another has taken over: it cannot know yet."""
    catalogs.claim(0)
    stopped = catalogs.reserve(0)
    catalogs.claim(1)
    extent = catalogs.reserve(1, capacity=CAPACITY // 2 if smaller else CAPACITY)
    extent[:] = OTHERS[: len(extent)]
    if published:
        catalogs.publish(1)
    stopped[:] = ENTRIES
    if not published:
        catalogs.publish(1)
    found = catalogs.read()
    assert found is not None
    assert found[1:] == (1, OTHERS[: len(extent)])


def test_who_was_stopped_publishes_nothing(catalogs: Catalogs) -> None:
    catalogs.claim(0)
    catalogs.reserve(0)[:] = ENTRIES
    catalogs.claim(1)
    catalogs.write(1, OTHERS)
    before = catalogs.read()
    catalogs.publish(0)
    assert catalogs.read() == before
    assert not catalogs.tables._catalog_keep(catalogs.database, catalogs.instance, 0, catalogs.now)


def test_what_is_written_for_one_database_is_not_published_for_another(catalogs: Catalogs) -> None:
    """Both are read by the same worker."""
    catalogs.claim(0)
    catalogs.claim(0, catalogs.other)
    catalogs.reserve(0)[:] = ENTRIES
    catalogs.publish(0, catalogs.other)
    assert catalogs.read(catalogs.other) is None


def test_extents_are_free_again(catalogs: Catalogs) -> None:
    """Whether it was published and replaced, dropped, or its writer died; also of one that was stopped."""
    capacity = 1 << 20  # three of them fit into the store, and no fourth
    size = capacity * 16
    for n in range(6):
        catalogs.claim(0)
        extent = catalogs.reserve(0, capacity=capacity)
        extent[:1] = bytes([n + 1])
        assert len(extent) == size
        catalogs.publish(0)
        catalogs.claim(1)
        catalogs.reserve(1, capacity=capacity)
        catalogs.tables._catalog_drop(catalogs.database, 1)
        catalogs.claim(2)
        catalogs.reserve(2, capacity=capacity)
        catalogs.tables.worker_died(2)


def test_an_extent_is_its_writers_until_it_dies(catalogs: Catalogs) -> None:
    capacity = 1 << 20
    catalogs.claim(0)
    catalogs.reserve(0, capacity=capacity)
    catalogs.claim(1)
    catalogs.reserve(1, capacity=capacity)
    catalogs.claim(2)
    catalogs.reserve(2, capacity=capacity)
    catalogs.claim(2, catalogs.other)
    assert catalogs.tables._catalog_reserve(catalogs.other, 2, 2 * capacity) is None
    catalogs.tables.worker_died(0)
    catalogs.tables.worker_died(1)
    assert catalogs.tables._catalog_reserve(catalogs.other, 2, 2 * capacity) is not None
