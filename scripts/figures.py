"""Figures of programs that take turns: medians, ratios to PgBouncer turn by turn, the table and the JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.pooler import PgBouncer
from tests.support.postgres import Postgres
from tests.support.processes import cpu_s

BASE = "pgbouncer"  # what ratios are to

#: Attribute of a run, heading, format.
Figure = tuple[str, str, str]


@dataclass
class Cell:
    """All turns of one program on one workload; a figure that a run does not have is None."""

    workload: object
    program: str
    runs: list[Any] = field(default_factory=list)

    def median(self, figure: str) -> float | None:
        values = [getattr(run, figure) for run in self.runs]
        return statistics.median(values) if values and None not in values else None

    def ratios(self, base: Cell | None, figure: str) -> list[float]:
        """To the base's run of the same turn."""
        if base is None:
            return []
        pairs = [(getattr(a, figure), getattr(b, figure)) for a, b in zip(self.runs, base.runs, strict=True)]
        return [a / b for a, b in pairs if a is not None and b]

    def ratio(self, base: Cell | None, figure: str) -> float | None:
        """Median of the ratios to the base's run of the same turn."""
        ratios = self.ratios(base, figure)
        return statistics.median(ratios) if ratios else None


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def base_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """PgBouncer's cell of the same workload."""
    return next((c for c in cells if c.workload == cell.workload and c.program == BASE), None)


def markdown(cells: Sequence[Cell], figures: Sequence[Figure], quartiles: bool = False) -> str:
    """The table of docs/performance.md: medians, and in brackets the ratio to PgBouncer."""
    headings = ["workload", "program", *(heading for _, heading, _ in figures)]
    rows = [headings, ["---"] * 2 + ["---:"] * len(figures)]
    previous = None
    for cell in cells:
        row = [str(cell.workload) if cell.workload != previous else "", cell.program]
        previous = cell.workload
        base = base_of(cell, cells) if cell.program != BASE else None
        for figure, _, form in figures:
            value = cell.median(figure)
            text = form.format(value) if value is not None else "-"
            row.append(f"{text}{brackets(cell.ratios(base, figure), quartiles)}")
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def brackets(ratios: Sequence[float], quartiles: bool) -> str:
    """The ratio behind a figure: its median, and where they are asked for its quartiles, which need turns."""
    if not ratios:
        return ""
    if not quartiles or len(ratios) < 4:
        return f" ({statistics.median(ratios):.2f}×)"
    low, median, high = statistics.quantiles(ratios, n=4)
    return f" ({median:.2f}×, {low:.2f}–{high:.2f})"


class Machine:
    """How much of this machine's CPU time others have, from when it is made on."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._before = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds of all cores: busy, idle; and those of this process and of all that it has started."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        own_s = cpu_s(os.getpid()) + ended.ru_utime + ended.ru_stime
        return (sum(ticks) - idle) * tick_s, idle * tick_s, own_s

    def __str__(self) -> str:
        busy_s, idle_s, own_s = (b - a for a, b in zip(self._before, self._now(), strict=True))
        all_s = max(busy_s + idle_s, 0.01)  # it is told in ticks, of which there may be none yet
        busy, others = (100 * s / all_s for s in (busy_s, max(0.0, busy_s - own_s)))
        return (
            f"{os.cpu_count()} cores, {busy:.0f} % busy meanwhile, {others:.0f} % with what is none of this;"
            f" load average {self._load:.1f} before, {os.getloadavg()[0]:.1f} after"
        )


def versions_of(pg: Postgres) -> dict[str, str]:
    """What was measured, and on what."""
    from pooler import __version__

    found = {"pooler": __version__, "python": platform.python_version(), "kernel": platform.release()}
    found["postgresql"] = str(pg.sql("SHOW server_version")[0][0])
    if path := PgBouncer.find():
        found["pgbouncer"] = subprocess.run([path, "-V"], capture_output=True, text=True).stdout.split("\n")[
            0
        ]
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    found["cpu"] = f"{os.cpu_count()} x {model[1] if model else platform.machine()}"
    return found


def write_json(
    path: Path,
    cells: Sequence[Cell],
    figures: Sequence[Figure],
    versions: dict[str, str],
    settings: dict[str, Any],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results = []
    for cell in cells:
        base = base_of(cell, cells)
        results.append(
            {
                **asdict(cell),
                "median": {figure: cell.median(figure) for figure, _, _ in figures},
                "ratio": {figure: cell.ratio(base, figure) for figure, _, _ in figures},
            }
        )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"when": when, "versions": versions, "settings": settings, "results": results}
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"figures: {path}", file=sys.stderr)
