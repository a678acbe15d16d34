"""SHOW HISTOGRAMS: how long things take, by pool, and logins by method: since the start, and of late."""

from __future__ import annotations

from collections.abc import Iterator

from pooler.admin.histograms import MEASURES, Histogram, histogram
from pooler.admin.model import Row, Sources, Value, columns, name_order

#: Column -> the share of all that are below it.
QUANTILES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}

_FIGURES = ", ".join(f"{name} int8" for name in ("count", *QUANTILES))
HISTOGRAM_COLUMNS = columns(
    f"database text, user text, measure text, method text, {_FIGURES}, "
    + ", ".join(f"recent_{figure}" for figure in _FIGURES.split(", "))
)


def histograms(sources: Sources) -> list[Row]:
    """Rows of SHOW HISTOGRAMS; where nothing was counted there is none."""
    return [*_pools(sources), *_logins(sources)]


def _pools(sources: Sources) -> Iterator[Row]:
    found = sources.tables.histograms()
    by_name = sorted(
        found, key=lambda pool: (name_order(found[pool]["database"]), name_order(found[pool]["user"]))
    )
    for pool in by_name:
        row = found[pool]
        for measure in MEASURES:
            now = histogram(row[measure])
            if now.count:
                before = sources.histograms.earlier(pool, measure)
                yield (
                    row["database"],
                    row["user"],
                    measure,
                    None,
                    *_figures(now),
                    *_figures(now.since(before)),
                )


def _logins(sources: Sources) -> Iterator[Row]:
    for method, raw in sources.tables.login_histograms().items():
        now = histogram(raw)
        if now.count:
            before = sources.histograms.earlier_login(method)
            yield None, None, "login", method, *_figures(now), *_figures(now.since(before))


def _figures(found: Histogram) -> tuple[Value, ...]:
    return found.count, *(found.quantile(share) for share in QUANTILES.values())
