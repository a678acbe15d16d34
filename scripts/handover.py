"""The price of a change of clients: CPU time of PostgreSQL's backend and of pooler per transaction.

Two clients send the same statement in turn, through one server, so each transaction changes its client; then
one client sends all of them. It counts CPU time, not time that passes: other work shows less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from pooler.dev.processes import account, workplace  # noqa: E402
from tests.support.pooler import Pooler  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402
from tests.support.processes import descendants  # noqa: E402
from tests.support.wire import SYNC, Wire, bind, execute, parse, query  # noqa: E402

STATES = ("off", "auto", "strict")
TEXT = "SELECT abalance FROM pgbench_accounts WHERE aid = 1"
WAYS = {
    "simple": query(TEXT),
    "extended": parse(TEXT) + bind() + execute() + SYNC,
    "prepared": bind(name="s") + execute() + SYNC,
}


def cpu_us(pids: Sequence[int]) -> float:
    """CPU time of processes with all their threads."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def turn(pooler: Pooler, wires: Sequence[Wire], message: bytes, count: int) -> tuple[float, float]:
    """CPU time per transaction in microseconds: of the only backend, of pooler."""
    for wire in wires:
        wire.send(parse(TEXT, "s") + SYNC)
        wire.receive_until("Z")
    backends = [int(row["remote_pid"]) for row in pooler.show("servers", database="p0")]
    family = [pooler.pid, *descendants(pooler.pid)]
    before = cpu_us(backends), cpu_us(family)
    for number in range(count):
        wire = wires[number % len(wires)]
        wire.send(message)
        wire.receive_until("Z")
    after = cpu_us(backends), cpu_us(family)
    return (after[0] - before[0]) / count, (after[1] - before[1]) / count


def measure(poolers: dict[str, Pooler], clients: int, way: str, turns: int, count: int) -> Iterator[str]:
    """One row for each session_state: medians over turns."""
    found: dict[str, list[tuple[float, float]]] = {state: [] for state in poolers}
    for _ in range(turns):
        for state, pooler in poolers.items():
            wires = [pooler.wire().login(database="p0") for _ in range(clients)]
            found[state].append(turn(pooler, wires, WAYS[way], count))
            for wire in wires:
                wire.close()
    for state, pairs in found.items():
        postgres, own = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        yield f"| {way} | {'changes' if clients > 1 else 'stays'} | {state} | {postgres:.0f} | {own:.0f} |"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/handover", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=2000, help="of each turn")
    options = parser.parse_args(argv)
    owner = account()
    with workplace(owner, "pooler-handover-") as work:
        pg = Postgres(owner, work)
        pg.create()
        pg.pgbench_tables()
        pg.sql("GRANT SELECT ON pgbench_accounts TO bouncer", dbname="p0")
        poolers = {
            state: Pooler(pg, owner, work / state, {"p0": "pool_size=1"}, workers=1, session_state=state)
            for state in STATES
        }
        try:
            for pooler in poolers.values():
                pooler.start()
            print("| protocol | client | session_state | PostgreSQL, µs | pooler, µs |")
            print("|---|---|---|---|---|")
            for clients in (2, 1):
                for way in WAYS:
                    for line in measure(poolers, clients, way, options.turns, options.transactions):
                        print(line, flush=True)
        finally:
            for pooler in poolers.values():
                pooler.stop()
            pg.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
