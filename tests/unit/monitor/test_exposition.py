"""The text of /metrics: both formats as their parsers read them, and which names it has."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from pooler.admin.averages import StatsSampler
from pooler.admin.model import Sources
from pooler.admin.show import VERSION_TEXT
from pooler.config import Config
from pooler.config.model import Database
from pooler.core import Tables
from pooler.monitor.exposition import OPENMETRICS, PROMETHEUS, Exposition, Names, wants_openmetrics
from pooler.monitor.health import Health
from pooler.monitor.metrics import GROUPS, full_name
from pooler.monitor.snapshot import Facts, Snapshot

SIZES = {"slots": 64, "clients": 64, "databases": 64, "users": 64, "pools": 64, "instances": 8}

#: pgbouncer_exporter 0.12 as its code has it, and what its README and dashboards call the counters.
EXPORTER = """
pgbouncer_up() pgbouncer_version_info(version)
pgbouncer_config_{max_client_connections max_user_connections}()
pgbouncer_{databases users pools free_clients used_clients login_clients free_servers used_servers
    cached_dns_names cached_dns_zones in_flight_dns_queries}()
pgbouncer_databases_{pool_size reserve_pool max_connections current_connections paused
    disabled}(name host port database force_user pool_mode)
pgbouncer_{stats_totals stats}_{queries_pooled_total queries_duration_seconds_total received_bytes_total
    queries_total sent_bytes_total client_wait_seconds_total sql_transactions_pooled_total
    server_in_transaction_seconds_total client_parses_total server_parses_total binds_total
    server_assignments_total}(database)
pgbouncer_pools_{client_active_connections client_active_cancel_connections client_waiting_connections
    client_waiting_cancel_connections server_active_connections server_active_cancel_connections
    server_being_canceled_connections server_idle_connections server_used_connections
    server_testing_connections server_login_connections client_maxwait_seconds}(database user)
pgbouncer_client_connections(database user application_name state)
"""


def exporters() -> dict[str, set[str]]:
    """Its names, each with its labels."""
    found: dict[str, set[str]] = {}
    for pattern, labels in re.findall(r"(\S+(?:\{[^}]*\}\w*)*)\(([^)]*)\)", EXPORTER):
        parts = [
            part.split() if index % 2 else [part] for index, part in enumerate(re.split(r"[{}]", pattern))
        ]
        for words in itertools.product(*parts):
            found["".join(words)] = set(labels.split())
    return found


def exposition(databases: dict[str, Database] | None = None, limit: int = 1000) -> Exposition:
    tables = Tables(workers=2, **SIZES)
    config = Config("p.ini", databases=databases or {"db": Database("db", host="h")})
    health: Any = Health(tables)
    sources = Sources(tables, config, health, StatsSampler(0, tables.stats()), 1.0)
    return Exposition(lambda: Snapshot(sources, Facts(1e9, 3)), lambda: limit)


def samples(text: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for family in plain(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def parsed(text: str) -> list[Any]:
    """OpenMetrics."""
    return list(openmetrics(text))  # type: ignore[no-untyped-call]


def test_the_exporter_has_no_name_that_is_missing() -> None:
    declared = {full_name(group, metric): set(group.labels) for group in GROUPS for metric in group.metrics}
    assert {name: labels for name, labels in declared.items() if name.startswith("pgbouncer_")} == exporters()
    assert len(exporters()) == 14 + 6 + 24 + 12 + 2


def test_no_name_is_declared_twice() -> None:
    names = Counter(full_name(group, metric) for group in GROUPS for metric in group.metrics)
    assert names.most_common(1)[0][1] == 1


def test_labels_are_none_of_prometheus_s() -> None:
    assert not {label for group in GROUPS for label in group.labels} & {"instance", "job", "le", "quantile"}


def test_names_tell_their_kind() -> None:
    for group in GROUPS:
        for metric in group.metrics:
            assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
            assert metric.name.endswith("_info") == (metric.kind == "info"), metric.name
            assert metric.text.endswith("."), metric.name
            assert (metric.kind != "histogram") or metric.name.endswith("_seconds"), metric.name


def test_both_formats_say_the_same() -> None:
    made = exposition()
    (text, kind), (other, other_kind) = made.text(""), made.text("application/openmetrics-text")
    assert (kind, other_kind) == (PROMETHEUS, OPENMETRICS)
    assert other.endswith(b"# EOF\n")
    one = {(s.name, *sorted(s.labels.items())): s.value for f in plain(text.decode()) for s in f.samples}
    two = {(s.name, *sorted(s.labels.items())): s.value for f in parsed(other.decode()) for s in f.samples}
    assert one.keys() == two.keys()
    assert one["pooler_start_time_seconds",] == 1e9
    assert one["pooler_monitor_restarts_total",] == 3
    assert one["pgbouncer_version_info", ("version", VERSION_TEXT)] == 1
    assert one["pgbouncer_databases_pool_size", ("database", ""), ("force_user", ""), ("host", "h"),
               ("name", "db"), ("pool_mode", ""), ("port", "5432")] == 20  # fmt: skip


def test_no_limit_is_no_series() -> None:
    found = samples(exposition({"db": Database("db", max_db_connections=7)}).text("")[0].decode())
    limits = {s.labels["database"]: s.value for s in found["pooler_database_servers_limit"]}
    assert limits == {"db": 7}
    assert "pooler_database_clients_limit" not in found


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ü", "a\udcffb", "{}", "a,b"])
def test_any_name_can_be_read_back(name: str) -> None:
    for text, read in ((exposition({name: Database(name)}).text(accept)[0].decode(), read) for accept, read in
                       (("", plain), ("application/openmetrics-text", parsed))):  # fmt: skip
        shown = {
            s.labels["name"] for f in read(text) if f.name == "pgbouncer_databases_paused" for s in f.samples
        }
        assert shown == {name.replace("\udcff", "\\xff"), "pgbouncer"}


def test_more_names_than_the_limit_are_added_up() -> None:
    databases = {f"d{n:02}": Database(f"d{n:02}", pool_size=n) for n in range(10)}
    found = samples(exposition(databases, limit=4).text("")[0].decode())
    sizes = {s.labels["name"]: s.value for s in found["pgbouncer_databases_pool_size"]}
    assert sizes == {
        "d00": 0,
        "d01": 1,
        "d02": 2,
        "d03": 3,
        "other": 4 + 5 + 6 + 7 + 8 + 9 + 2,
    }  # + the console's
    (other,) = (s for s in found["pgbouncer_databases_pool_size"] if s.labels["name"] == "other")
    assert set(other.labels.values()) == {"other"}


def test_a_name_keeps_its_series_while_it_is_there() -> None:
    names = Names()
    assert set(names.admit("x", [("b",), ("c",)], 2)) == {("b",), ("c",)}
    assert set(names.admit("x", [("a",), ("b",), ("c",)], 2)) == {("b",), ("c",)}
    assert set(names.admit("x", [("a",), ("c",), ("d",)], 2)) == {("a",), ("c",)}
    assert set(names.admit("y", [("d",)], 2)) == {("d",)}
    assert len(names.admit("x", [("a",), ("c",)], 1)) == 1


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=0.0.1", False),
        (  # Prometheus 2.42
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        (";,;=;q", False),
    ],
)
def test_the_format_is_the_request_s_choice(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) == wanted


def test_asking_twice_at_once_costs_once() -> None:
    made = exposition()
    assert made.text("")[0] is made.text("*/*")[0]
    made.KEPT_S = 0
    assert made.text("")[0] is not made.text("")[0]
