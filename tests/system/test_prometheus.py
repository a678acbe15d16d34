"""A Prometheus of Debian's scrapes pooler: every metric arrives, and what dashboards ask is answered."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pooler.dev.processes import free_port
from pooler.monitor.metrics import GROUPS, full_name
from tests.support.http import ask
from tests.support.install import need
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler

ROOT = Path(__file__).resolve().parents[2]

METRICS = [(full_name(group, metric), metric.kind) for group in GROUPS for metric in group.metrics]

#: Series that are there only when there is a limit, or a client that is pinned: the tests see to both.
LIMITS = {
    "max_db_connections": 50,
    "max_db_client_connections": 50,
    "max_user_connections": 50,
    "max_user_client_connections": 50,
    "max_server_connections": 50,
}


NAMES = {name + end for name, _ in METRICS for end in ("", "_bucket", "_sum", "_count")}

RULES = ROOT / "etc/prometheus/pooler.rules.yml"


def panels() -> Iterator[tuple[str, str]]:
    """Titles of the dashboard, and what they ask, for all instances and databases."""
    board = json.loads((ROOT / "etc/grafana/pooler.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$(instance|database)", ".*", expression)


def alerts() -> Iterator[tuple[str, str]]:
    """Names and expressions."""
    return iter(re.findall(r"- alert: (\w+)\n +expr: (.*)", RULES.read_text()))


@dataclass
class Scraped:
    """A pooler, and a Prometheus that looks at it every second."""

    pooler: Pooler
    http_port: int
    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        where = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{where}", timeout=10) as f:
            answer = json.load(f)
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@pytest.fixture(scope="module")
def scraped(start_pooler: StartPooler, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    need("prometheus", "prometheus", "promtool")
    directory = tmp_path_factory.mktemp("prometheus")
    http_port, port = free_port(), free_port()
    pooler = start_pooler(http_listen_port=http_port, **LIMITS)
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: pooler\n"
        "    basic_auth: {username: bouncer}\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{http_port}']}}]\n"
    )
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        found = Scraped(pooler, http_port, port)
        try:
            with pooler.connect() as pinned:
                pinned.cursor().execute("SELECT pg_advisory_lock(4711)")
                wait_for(lambda: scrapes(found) >= 4, 60, "four scrapes")
                with pooler.connect() as other:
                    with pytest.raises(psycopg2.Error):
                        other.cursor().execute("SELECT 1/0")
                    for _ in range(400):
                        other.cursor().execute("SELECT 1")
                before = scrapes(found)
                wait_for(lambda: scrapes(found) >= before + 3, 60, "three more")
                yield found
        finally:
            process.terminate()
            process.wait(20)
            print((directory / "log").read_text()[-2000:])


def scrapes(found: Scraped) -> int:
    with contextlib.suppress(OSError):
        rows = found.query("count_over_time(up[10m]) and up == 1")
        return int(rows[0]["value"][1]) if rows else 0
    return 0


@pytest.mark.parametrize(("name", "kind"), METRICS)
def test_every_metric_has_values(scraped: Scraped, name: str, kind: str) -> None:
    questions = {"counter": f"sum(rate({name}[1m]))", "histogram": median(name, f"{name}_bucket")}
    rows = scraped.query(questions.get(kind, f"sum({name})"))
    assert rows, f"no {name}"
    assert float(rows[0]["value"][1]) >= 0


def median(name: str, buckets: str) -> str:
    return f"histogram_quantile(0.5, sum by (le) ({buckets})) + 0 * sum({name}_sum) + 0 * sum({name}_count)"


def test_quantiles_of_late(scraped: Scraped) -> None:
    (row,) = scraped.query(median("pooler_query_seconds", "rate(pooler_query_seconds_bucket[10m])"))
    assert 0 < float(row["value"][1]) < 10


def test_rates_are_those_of_what_was_done(scraped: Scraped) -> None:
    by_database = scraped.query("sum by (database) (increase(pgbouncer_stats_queries_pooled_total[10m]))")
    assert {row["metric"]["database"]: float(row["value"][1]) for row in by_database}["p0"] > 300


def test_questions_of_dashboards(scraped: Scraped) -> None:
    for question in (
        "sum by (database, user) (pgbouncer_pools_client_active_connections)",
        "sum(pgbouncer_pools_server_active_connections) by (database)"
        " + sum(pgbouncer_pools_server_idle_connections) by (database)",
        "rate(pgbouncer_stats_totals_queries_duration_seconds_total[1m])"
        " / rate(pgbouncer_stats_totals_queries_pooled_total[1m])",
        "pgbouncer_databases_current_connections / pgbouncer_databases_pool_size",
        "pooler_pool_servers / pooler_pool_servers_limit",
        'pgbouncer_client_connections{application_name!="x"}',
        'pooler_pinned_clients{reason="advisory_lock"} == 1',
    ):
        assert scraped.query(question), question


def test_every_panel_has_something_to_show(scraped: Scraped) -> None:
    for title, expression in panels():
        assert scraped.query(expression), f"{title}: {expression}"


def test_rules_are_right(scraped: Scraped) -> None:
    """And none has reason to fire."""
    result = subprocess.run(
        ["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for name, expression in alerts():
        assert scraped.query(expression) == [], name
        assert set(re.findall(r"\b(?:pooler|pgbouncer)_\w+", expression)) <= NAMES | {"pooler"}, name


def test_an_alert_fires(scraped: Scraped) -> None:
    """A worker is killed: its rule sees it."""
    expression = dict(alerts())["PoolerWorkerReplaced"].replace("[15m]", "[10m]")
    os.kill(scraped.pooler.show("workers")[0]["pid"], signal.SIGKILL)
    wait_for(lambda: bool(scraped.query(expression)), 30, "the alert")


def test_promtool_has_no_objection(scraped: Scraped, tmp_path: Path) -> None:
    text = ask(scraped.http_port, "/metrics", ("bouncer", "")).text
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
