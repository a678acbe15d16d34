"""What became of the tests of a suite: read from a run's report, compared with direct runs, put into a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: A test that passes; every other word (failed, error, skipped, ...) is as good as any other.
PASSED = "passed"


@dataclass
class Run:
    """One run of one suite against one target."""

    suite: str
    target: str
    outcomes: dict[str, str] = field(default_factory=dict)  # test: what became of it
    reasons: dict[str, str] = field(
        default_factory=dict
    )  # test: its error in a line or two, an empty line, all of it
    seconds: float = 0.0
    note: str = ""  # what went wrong with the run as a whole

    @property
    def passed(self) -> set[str]:
        return {test for test, outcome in self.outcomes.items() if outcome == PASSED}

    def add(self, test: str, outcome: str, reason: str = "") -> None:
        """A test reported several times (set-up, parts, tear-down) has passed if all of it did."""
        if self.outcomes.get(test, PASSED) == PASSED:
            self.outcomes[test] = outcome
            if outcome != PASSED:
                self.reasons[test] = reason

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.__dict__, indent=1))

    @classmethod
    def read(cls, path: Path) -> Run:
        return cls(**json.loads(path.read_text()))


def read_report(run: Run, report: Path) -> None:
    """Adds the JSON lines that the reporters write, one as soon as a test has ended: a killed run keeps its first part."""
    if not report.exists():
        return
    with open(report, errors="replace") as file:
        for line in file:
            if line.endswith("\n"):
                entry = json.loads(line)
                run.add(entry["test"], entry["outcome"], entry.get("reason", ""))


@dataclass(frozen=True)
class Verdict:
    """A run through a pooler beside the direct runs of the same suite."""

    run: Run
    expected: frozenset[str]  # pass directly, every time

    @property
    def lost(self) -> list[str]:
        return sorted(self.expected - self.run.passed)

    @property
    def kept(self) -> int:
        return len(self.expected & self.run.passed)

    @property
    def kept_percent(self) -> float:
        return 100 * self.kept / len(self.expected) if self.expected else 100.0

    def reason(self, test: str) -> str:
        """Why a test was lost, on one line."""
        outcome = self.run.outcomes.get(test, "did not run")
        return f"{outcome}: {first_lines(self.run.reasons.get(test, ''))}".rstrip(": ")


def first_lines(text: str) -> str:
    """What stands before the first empty line, on one line."""
    return " ".join(text.split("\n\n", 1)[0].split())[:300]


def judge(run: Run, direct: Sequence[Run]) -> Verdict:
    """Compares with all direct runs: a test that failed in one of them is no measure of a pooler."""
    passed = [one.passed for one in direct]
    return Verdict(run, frozenset(set.intersection(*passed)) if passed else frozenset())


def table(verdicts: Iterable[Verdict]) -> str:
    """A row per suite and target, and the mean of each target at the end."""
    lines = [
        "| suite | target | passed directly | kept | kept % | s |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    percents: dict[str, list[float]] = {}
    for verdict in verdicts:
        run = verdict.run
        percents.setdefault(run.target, []).append(verdict.kept_percent)
        cells = [run.suite, run.target, str(len(verdict.expected)), str(verdict.kept)]
        lines.append("| " + " | ".join([*cells, f"{verdict.kept_percent:.2f}", f"{run.seconds:.0f}"]) + " |")
    for target, values in percents.items():
        lines.append(f"| **mean** | {target} | | | **{sum(values) / len(values):.2f}** | |")
    return "\n".join(lines)


def losses(verdicts: Iterable[Verdict]) -> str:
    """Every test lost, with the end of its error."""
    lines = []
    for verdict in verdicts:
        run = verdict.run
        if run.note or verdict.lost:
            lines.append(
                f"\n{run.suite}, {run.target}: {len(verdict.lost)} lost{', ' if run.note else ''}{run.note}"
            )
        missing = [test for test in verdict.lost if test not in run.outcomes]
        lines += [f"  {test}\n      {verdict.reason(test)}" for test in verdict.lost if test in run.outcomes]
        if missing:
            lines.append(f"  {len(missing)} did not run: {', '.join(missing[:3])} ...")
    return "\n".join(lines)
