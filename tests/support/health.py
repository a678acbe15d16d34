"""Whether a pooler came through: nothing leaked, no worker lost, no bug logged; what PostgreSQL saw."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import psycopg2

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import open_descriptors, wait_for

#: How the log names a fault of the program itself.
BUG = re.compile(r"ERROR bug\b.*|Traceback.*|Segmentation fault.*")

SEEN = """SELECT count(*) FROM pg_stat_activity
          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = %s"""


def bugs(pooler: Pooler) -> list[str]:
    """Lines of log and output that admit a bug."""
    texts = [path.read_text(errors="replace") for path in (pooler.log, pooler.out) if path.exists()]
    return [match[0] for text in texts for match in BUG.finditer(text)]


def assert_no_bugs(pooler: Pooler) -> None:
    assert pooler.is_running, pooler.story()
    assert not bugs(pooler), bugs(pooler)


def restarts(pooler: Pooler) -> int:
    """How often workers were replaced so far."""
    return sum(row["restarts"] for row in pooler.show("workers"))


def slots(pooler: Pooler, database: str = "p0") -> list[dict[str, Any]]:
    """Every row that counts against the limits of the database."""
    return pooler.show("slots", database=database)


def assert_consistent(pooler: Pooler, pg: Postgres, database: str = "p0", timeout_s: float = 5) -> None:
    """Slots, servers, backends and counters agree, and no client is left but the console's."""
    seen: dict[str, object] = {}

    def agree() -> bool:
        held = slots(pooler, database)
        servers = pooler.show("servers", database=database)
        lists = {row["list"]: row["items"] for row in pooler.show("lists")}
        (listed,) = pooler.show("databases", name=database)
        seen.update(
            slots=[(row["slot"], row["state"]) for row in held],
            servers=[(row["state"], row["remote_pid"]) for row in servers],
            backends=sorted(pg.backends(database)),
            counted=listed["current_connections"],
            clients=listed["current_client_connections"],
            used=lists["used_clients"],
        )
        pids = sorted(row["backend_pid"] or 0 for row in held)
        return (
            pids == seen["backends"] == sorted(row["remote_pid"] or 0 for row in servers)
            and len(pids) == seen["counted"]
            and seen["clients"] == 0
            and seen["used"] in (0, 1)
        )

    try:
        wait_for(agree, timeout_s)
    except AssertionError:
        keys = ("type", "database", "user", "state", "connect_time", "request_time", "wait", "worker")
        sockets = [[row[key] for key in keys] for row in pooler.show("sockets")]
        raise AssertionError(f"slots, servers, backends, counters: {seen}; sockets: {sockets}") from None


#: The console's own connection, by which the workers are found, is gone within this.
SETTLE_S = 0.15


def descriptor_counts(pooler: Pooler) -> dict[str, int]:
    """How many descriptors the master and each worker have open, at the least within a moment."""
    pids = {"master": pooler.pid, **{f"worker {n}": pid for n, pid in worker_pids(pooler).items()}}
    counts = dict.fromkeys(pids, 1_000_000)
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        for name, pid in pids.items():
            counts[name] = min(counts[name], len(open_descriptors(pid)))
        time.sleep(0.01)
    return counts


def wait_for_descriptors(pooler: Pooler, before: Mapping[str, int], timeout_s: float = 20) -> None:
    """Every process has as many descriptors open as it had before."""
    try:
        wait_for(lambda: descriptor_counts(pooler) == before, timeout_s)
    except AssertionError:
        pids = (pooler.pid, *worker_pids(pooler).values())
        now = {pid: sorted(open_descriptors(pid).items()) for pid in pids}
        raise AssertionError(
            f"descriptors: {before} before, {descriptor_counts(pooler)} now: {now}"
        ) from None


def wait_until_empty(pooler: Pooler, pg: Postgres, database: str = "p0", timeout_s: float = 20) -> None:
    """Closes all servers of the database and waits until every row is free again."""
    pooler.console("RECONNECT")
    wait_for(lambda: not slots(pooler, database), timeout_s, f"the end of all slots of {database}")
    wait_for(lambda: not pg.backends(database), timeout_s, f"the end of all backends of {database}")


def wait_until_slots_work(pooler: Pooler, size: int, database: str = "p0", timeout_s: float = 2) -> None:
    """`size` transactions can be open at once: no slot of the pool is lost."""
    wires = [pooler.wire(timeout_s=timeout_s) for _ in range(size)]
    try:
        for wire in wires:
            wire.login(database=database)
            wire.rows("BEGIN; SELECT 1")
        for wire in wires:
            wire.rows("COMMIT")
    finally:
        for wire in wires:
            wire.close()


def process_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def in_group(pgid: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and process_alive(int(entry)):
            try:
                if os.getpgid(int(entry)) == pgid:
                    found.append(int(entry))
            except ProcessLookupError:
                continue
    return found


class LimitWatch:
    """Samples pg_stat_activity in a tight loop from a thread: `most` is what PostgreSQL ever saw at once."""

    def __init__(self, pg: Postgres, database: str = "p0") -> None:
        self.pg = pg
        self.database = database
        self.most = 0
        self.samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="limit watch")

    def __enter__(self) -> LimitWatch:
        self._thread.start()
        wait_for(lambda: self.samples, 10, "the first sample")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self.pg.connect() as connection, connection.cursor() as cursor:
                    while not self._stop.is_set():
                        cursor.execute(SEEN, (self.database,))
                        (count,) = cursor.fetchone() or (0,)
                        self.most = max(self.most, count)
                        self.samples += 1
            except psycopg2.Error:
                continue  # PostgreSQL restarts: there is nothing to count until it is back


def worker_pids(pooler: Pooler, timeout_s: float = 5) -> dict[int, int]:
    """Process ids of the workers by number, from the shared table (titles are set a moment later).

    Waits until each number has a process: 0 would be ourselves to os.kill().
    """
    found: dict[int, int] = {}

    def complete() -> bool:
        found.update({row["worker"]: row["pid"] for row in pooler.show("workers")})
        return all(pid > 0 for pid in found.values())

    wait_for(complete, timeout_s, "a process for each worker")
    return found


def kill_worker(pooler: Pooler, number: int, signum: signal.Signals = signal.SIGKILL) -> int:
    """Sends a worker a signal; its process id."""
    pid = worker_pids(pooler)[number]
    os.kill(pid, signum)
    return pid


def wait_until_nobody_reads(pg: Postgres, database: str = "p0") -> None:
    """A backend waits until what it has written is read, and not only for a moment."""
    text = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event = 'ClientWrite'"
    streak = 0

    def lasts() -> bool:
        nonlocal streak
        streak = streak + 1 if pg.sql(text, (database,)) else 0
        return streak > 15

    wait_for(lasts, 10, "a server that nobody reads")


def wait_for_replacement(pooler: Pooler, number: int, of: int, timeout_s: float = 3) -> None:
    """Another process has taken the number of the dead one and gives signs of life."""

    def replaced() -> bool:
        (row,) = pooler.show("workers", worker=number)
        return row["pid"] not in (0, of) and process_alive(row["pid"]) and row["heartbeat_age_ms"] < 2000

    wait_for(replaced, timeout_s, f"the replacement of worker {number}")
