"""The long run of the conformance suite, for scripts/conformance: every script in every pool, then chance.

First the scripts among neighbours of PostgreSQL itself, which have to show nothing; then through poolers of
all sizes; then generated conversations from other seeds, until the time is over. What differs is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

from pooler.dev.processes import account, workplace
from tests.protocol.conformance.case import Case, Part
from tests.protocol.conformance.cases import SCRIPTS, Script
from tests.protocol.conformance.cases.known import is_expected, tolerated
from tests.protocol.conformance.generated import conversations
from tests.protocol.conformance.run import assert_same, difference
from tests.protocol.conformance.world import POOL, SIZES, Direct, Pooled, pooled_world
from tests.support.postgres import Postgres
from tests.support.shared import running_pooler

#: Conversations from one seed: few, so that the time is kept.
EXAMPLES = 20


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--only", default="", help="scripts whose name contains this")
    parser.add_argument("--seconds", type=float, default=60.0, help="for generated conversations, per pool")
    parser.add_argument("--seed", type=int, default=None, help="the first one (default: by chance)")
    parser.add_argument("--directly", action="store_true", help="also among neighbours of PostgreSQL itself")
    return parser.parse_args()


def report(where: str, name: str, found: str) -> int:
    """Prints a difference; how many that is."""
    if found:
        print(f"{where}: {name}{found}", flush=True)
    return bool(found)


def directly(direct: Direct, scripts: dict[str, Script]) -> int:
    """The harness: neighbours of PostgreSQL itself change nothing."""
    count = 0
    for name, script in scripts.items():
        with contextlib.closing(direct.gang(script.case.user)) as gang:
            expected = direct.run(script.scenes, script.case)
            found = difference(expected, direct.run(script.scenes, script.case, gang))
            count += report("directly", name, found)
    return count


def written(
    direct: Direct, pooled: Pooled, scripts: dict[str, Script], where: str, quiet: bool = False
) -> int:
    """All scripts for which the pool has servers enough; how many differ."""
    count = 0
    for name, script in scripts.items():
        if script.case.servers <= pooled.servers:
            expected = direct.run(script.scenes, script.case)
            found = difference(expected, pooled.run(script.scenes, script.case, quiet))
            known = tolerated(name)
            if not (known and is_expected(found, known)):
                count += report(where, name, found)
    return count


def generated(direct: Direct, pooled: Pooled, first: int, seconds: float) -> int:
    """Conversations from one seed after the other; 1 after the first that differs, made short."""
    deadline, number = time.monotonic() + seconds, first
    while time.monotonic() < deadline:
        for clients in ["a"] if pooled.servers == 1 else ["a", "abc"]:
            try:
                converse(direct, pooled, clients, number)
            except AssertionError as error:
                print(f"again with: scripts/conformance --only nothing --seed {number}\n{error}")
                print("\n".join(getattr(error, "__notes__", [])), flush=True)
                return 1
        number += 1
    return 0


def converse(direct: Direct, pooled: Pooled, clients: str, number: int) -> None:
    """Conversations from one seed."""

    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(conversations(clients))
    def run(parts: list[Part]) -> None:
        case = Case(tuple(parts), notified_late=True)
        for protocol in ("simple", "extended"):
            scenes = case.scenes(protocol)
            assert_same(direct.run(scenes, case), pooled.run(scenes, case))

    run()


def run_all(work: Path, options: argparse.Namespace) -> int:
    """Everything; how many differences there are."""
    owner = account()
    pg = Postgres(owner, work)
    pg.create()
    first = random.randrange(10**9) if options.seed is None else options.seed
    scripts = {name: script for name, script in SCRIPTS.items() if options.only in name}
    try:
        direct = Direct(pg)
        count = directly(direct, scripts) if options.directly else 0
        for size in SIZES:
            databases = {POOL: f"dbname=p0 pool_size={size.servers}"}
            with (
                running_pooler(pg, owner, work, workers=size.workers, databases=databases) as pooler,
                pooled_world(pooler, direct, size.servers) as pooled,
            ):
                count += written(direct, pooled, scripts, str(size))
                count += written(direct, pooled, scripts, f"{size}, quiet neighbours", quiet=True)
                count += generated(direct, pooled, first, options.seconds)
            print(f"{size}: {len(scripts)} scripts, {count} differences so far", flush=True)
        return count
    finally:
        pg.stop()


def main() -> int:
    """Makes the work place, runs, cleans up."""
    options = arguments()
    with workplace(account(), "pooler-conformance-") as work:
        return 1 if run_all(work, options) else 0


if __name__ == "__main__":
    sys.exit(main())
