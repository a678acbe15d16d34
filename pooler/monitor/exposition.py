"""The text of /metrics: Prometheus's own format or OpenMetrics, as the request wants it.

What clients choose (application names, databases of `*`) must not fill a Prometheus: of each kind the first
http_metrics_limit names have series of their own, as long as they are there, and all others are added up
under the name `other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pooler.admin.histograms import Histogram
from pooler.monitor.metrics import GROUPS, Group, Metric, full_name
from pooler.monitor.names import readable
from pooler.monitor.snapshot import Snapshot

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

OTHER = "other"

#: What OpenMetrics leaves out of the name of a family, and has in those of its samples.
SUFFIXES = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}

#: Upper bounds of the buckets that are shown, as powers of two of microseconds: from 64 us to four minutes.
POWERS = range(6, 29)
BOUNDS = tuple((2 * power, repr((1 << power) / 1e6)) for power in POWERS)

COST = Metric("metrics_collect_seconds", "seconds", "Time that it took to collect all of this.")

Labels = tuple[str, ...]


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics 1.0.0 to plain text."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        given = dict(word.split("=", 1) for word in parameters if "=" in word)
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            continue
        if kind in best and (kind == "text/plain" or given.get("version", "1.0.0") == "1.0.0"):
            best[kind] = max(best[kind], quality)
    return best["application/openmetrics-text"] > 0 and max(best, key=lambda kind: best[kind]) != "text/plain"


class Names:
    """Which labels have series of their own; kept from one scrape to the next, so that counters only grow."""

    def __init__(self) -> None:
        self._admitted: dict[str, dict[Labels, None]] = {}

    def admit(self, group: str, labels: Iterable[Labels], limit: int) -> Mapping[Labels, None]:
        """Those of a group that have, among the labels that are there now."""
        there = dict.fromkeys(labels)
        before = (one for one in self._admitted.get(group, ()) if one in there)
        admitted = dict.fromkeys(islice(before, limit))
        for one in there:
            if len(admitted) >= limit:
                break
            admitted[one] = None
        self._admitted[group] = admitted
        return admitted


class Exposition:
    """Makes the text; a second request within KEPT_S gets the same one."""

    #: Asking twice within this time would tell nothing new, and many who ask cost no more than one.
    KEPT_S = 0.1

    def __init__(self, snapshot: Callable[[], Snapshot], limit: Callable[[], int]) -> None:
        self._snapshot = snapshot
        self._limit = limit
        self._names = Names()
        self._kept: dict[str, tuple[float, bytes]] = {}

    def text(self, accept: str) -> tuple[bytes, str]:
        """(the text, its type) for an Accept header."""
        kind = OPENMETRICS if wants_openmetrics(accept) else PROMETHEUS
        made_at, kept = self._kept.get(kind, (0.0, b""))
        now = time.monotonic()
        if not kept or now - made_at > self.KEPT_S:
            kept = "".join(self._lines(kind == OPENMETRICS)).encode()
            self._kept[kind] = now, kept
        return kept, kind

    def _lines(self, openmetrics: bool) -> Iterator[str]:
        """Each with its end."""
        began = time.perf_counter()
        snapshot = self._snapshot()
        for group in GROUPS:
            yield from self._group(group, snapshot, openmetrics)
        yield _head("pooler_metrics_collect_seconds", COST, openmetrics)
        yield f"pooler_metrics_collect_seconds {time.perf_counter() - began!r}\n"
        if openmetrics:
            yield "# EOF\n"

    def _group(self, group: Group, snapshot: Snapshot, openmetrics: bool) -> Iterator[str]:
        rows = group.rows(snapshot)
        labels = [tuple(_label(row[name]) for name in group.labels) for row in rows]
        if group.bounded:
            admitted = self._names.admit(full_name(group, group.metrics[0]), labels, self._limit())
            other = (OTHER,) * len(group.labels)
            labels = [one if one in admitted else other for one in labels]
        shown = {one: _shown(group.labels, one) for one in labels}
        for metric in group.metrics:
            name = full_name(group, metric)
            yield _head(name, metric, openmetrics)
            for one, value in _values(metric, labels, rows).items():
                if metric.kind == "histogram":
                    yield _buckets(name, shown[one], value)
                else:
                    yield f"{name}{shown[one]} {value!r}\n"


def _values(metric: Metric, labels: list[Labels], rows: list[Mapping[str, Any]]) -> dict[Labels, Any]:
    """The values of one metric, those with the same labels made one."""
    values: dict[Labels, Any] = {}
    for one, row in zip(labels, rows, strict=True):
        value = row[metric.column]
        if metric.kind == "histogram":
            if not value.count:
                continue
        elif metric.limit and not value:
            continue
        else:
            value *= metric.factor
        if one not in values:
            values[one] = value
        elif metric.fold == "sum":
            values[one] += value
        else:
            values[one] = max(values[one], value)
    return values


def _buckets(name: str, labels: str, value: Histogram) -> str:
    """The lines of one histogram: times of at most a bound are those of the buckets below it."""
    before = f"{labels[:-1]}," if labels else "{"
    lines, passed, seen = [], 0, 0
    for bucket, bound in BOUNDS:
        seen += sum(value.counts[passed:bucket])
        passed = bucket
        lines.append(f'{name}_bucket{before}le="{bound}"}} {seen}\n')
    count = seen + sum(value.counts[passed:])
    lines.append(f'{name}_bucket{before}le="+Inf"}} {count}\n')
    lines.append(f"{name}_sum{labels} {value.sum_us / 1e6!r}\n{name}_count{labels} {count}\n")
    return "".join(lines)


def _head(name: str, metric: Metric, openmetrics: bool) -> str:
    kind: str = metric.kind
    if openmetrics:
        name = name.removesuffix(SUFFIXES[kind])
    elif kind == "info":
        kind = "gauge"
    return f"# HELP {name} {metric.text}\n# TYPE {name} {kind}\n"


def _label(value: object) -> str:
    return "" if value is None else readable(str(value))


_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def _shown(names: Labels, values: Labels) -> str:
    """The labels behind a name."""
    if not names:
        return ""
    pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in zip(names, values, strict=True))
    return f"{{{pairs}}}"
