"""Whole test suites of drivers and frameworks, directly and through pooler with busy neighbours: scripts/suites.

Each suite runs twice directly, then through the targets asked for; what passes directly both times is expected to
pass through a pooler. Direct results are kept, so that a second run of the script measures the pooler alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pooler.dev.processes import Account, account, workplace
from tests.external.catalog import SUITES
from tests.external.fetch import Cache, FetchError
from tests.external.outcome import Run, Verdict, judge, losses, table
from tests.external.stage import ROOT, Conditions, Stage, set_up
from tests.external.suite import Suite

DIRECT_RUNS = 2

#: Debian's PostgreSQL has all extensions and belongs to the regression scripts that are to be had.
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/suites", description=(__doc__ or "").split("\n\n")[1])
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"default all: {' '.join(names)}")
    parser.add_argument("--pooler", action="store_true", help="through pooler (the default)")
    parser.add_argument("--pgbouncer", action="store_true", help="through Debian's PgBouncer, to compare")
    parser.add_argument("--direct", action="store_true", help="directly, even if there are results")
    parser.add_argument("--pool-size", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--neighbours", type=int, default=6, help="how many (default 6)")
    parser.add_argument("--style", choices=("harmful", "plain"), default="harmful", help="of the neighbours")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of pooler")
    parser.add_argument(
        "--only", default="", metavar="WORDS", help="further arguments of the suite's runner, e.g. -k"
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".suites", help="kept downloads and results")
    options = parser.parse_args(argv)
    if unknown := set(options.suites) - set(names):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


def main(argv: Sequence[str]) -> int:
    """Runs what was asked for, prints table and losses."""
    options = parse_arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: whatever runs is stopped
    if "POOLER_PGBIN" not in os.environ and (found := sorted(DEBIAN_POSTGRES.glob("*/bin/postgres"))):
        os.environ["POOLER_PGBIN"] = str(found[-1].parent)
    os.environ["PATH"] += os.pathsep + os.environ.get(
        "POOLER_PGBIN", ""
    )  # pg_config, for source distributions
    cache = Cache(options.work.resolve())
    targets = [name for name in ("pooler", "pgbouncer") if getattr(options, name)]
    if not targets and not options.direct:
        targets = ["pooler"]
    settings = dict(word.split("=", 1) for word in options.set)
    conditions = Conditions(options.pool_size, options.workers, options.neighbours, options.style, settings)
    verdicts: list[Verdict] = []
    for suite in SUITES:
        if not options.suites or suite.name in options.suites:
            try:
                verdicts += measure(suite, cache, conditions, targets, options)
            except FetchError as error:
                say(f"{suite.name} is left out: {error}")
    print(f"{losses(verdicts)}\n\n{table(verdicts)}", flush=True)
    return 0


def measure(
    suite: Suite, cache: Cache, conditions: Conditions, targets: Sequence[str], options: argparse.Namespace
) -> list[Verdict]:
    """One suite: the direct runs that are missing, then the targets."""
    cache.install(suite.requirements)
    source = suite.fetch(cache)
    results = cache.directory / "results"
    results.mkdir(exist_ok=True)
    more = options.only.split()
    direct = []
    for number in range(DIRECT_RUNS):
        path = results / f"{suite.name}-direct-{number + 1}.json"
        if options.direct or not path.exists():
            run(suite, "direct", cache, source, conditions, []).write(path)
        direct.append(Run.read(path))
    verdicts = []
    for target in targets:
        one = run(suite, target, cache, source, conditions, more)
        if more:  # a part of the suite: the rest was not asked for
            direct = [part_of(whole, set(one.outcomes)) for whole in direct]
        one.write(results / f"{suite.name}-{target}.json")
        verdicts.append(judge(one, direct))
        say(f"{suite.name}, {target}: {verdicts[-1].kept} of {len(verdicts[-1].expected)} kept")
    return verdicts


def part_of(whole: Run, tests: set[str]) -> Run:
    outcomes = {test: outcome for test, outcome in whole.outcomes.items() if test in tests}
    return Run(whole.suite, whole.target, outcomes, whole.reasons)


def run(
    suite: Suite, target: str, cache: Cache, source: Path, conditions: Conditions, more: Sequence[str]
) -> Run:
    """One run on a stage of its own."""
    owner = account()
    one = Run(suite.name, target)
    with (
        workplace(owner, "pooler-suites-") as work,
        set_up(
            target, conditions, owner, work, database=suite.database, sql=suite.sql, users=suite.users
        ) as stage,
    ):
        owner.give(work)
        say(f"{suite.name}, {target} ...")
        start = time.monotonic()
        output = execute(suite, stage, cache, source, one, more, owner)
        one.seconds = time.monotonic() - start
        suite.read(one, work / "report", output)
        kept = cache.directory / "results" / f"{suite.name}-{target}"
        kept.with_suffix(".out").write_text(output)
        if stage.bouncer:
            shutil.copy(stage.bouncer.log, kept.with_suffix(".log"))
    surprises = stage.notes.get("neighbours", {}).get("surprises", [])
    one.note += "".join(f"\n  neighbours, {count} times: {what}" for what, count in surprises)
    say(
        f"{suite.name}, {target}: {len(one.passed)} of {len(one.outcomes)} passed in {one.seconds:.0f} s{one.note}"
    )
    return one


def execute(
    suite: Suite, stage: Stage, cache: Cache, source: Path, one: Run, more: Sequence[str], owner: Account
) -> str:
    """The suite's process, ended when its time is over; what it printed."""
    command = suite.command(stage, cache, source, stage.work / "report")
    log = stage.work / "output"
    environment = {
        **os.environ,
        **stage.environment,
        **command.env,
        "SUITES_REPORT": str(stage.work / "report"),
    }
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*command.argv, *more],
            cwd=command.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(owner.identity() if command.as_owner else {}),
        )
        try:
            process.wait(suite.timeout_s)
        except subprocess.TimeoutExpired:
            one.note = f"not ready after {suite.timeout_s} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return log.read_text(errors="replace")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
