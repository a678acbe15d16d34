"""Histograms of a running pooler: what takes long is found there, in its pool and in no other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as families

from pooler.dev.processes import free_port
from tests.support.http import ask
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.system.conftest import GuardedPooler

MakePooler = Callable[..., Pooler]

#: What a test sleeps, and the bucket that has it, in microseconds.
SLEEP = "SELECT pg_sleep(0.3)"
LEAST_US = 262_144


def rows(pooler: Pooler, measure: str, **where: Any) -> list[dict[str, Any]]:
    return pooler.show("histograms", measure=measure, **where)


def test_each_measure_has_what_took_long(make_pooler: MakePooler) -> None:
    pooler = make_pooler(databases={"p0": "pool_size=1", "p1": ""})
    with pooler.connect(dbname="p1") as other, other.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pooler.connect(autocommit=False) as holder, pooler.connect() as waiter:
        begun = threading.Event()

        def wait() -> None:
            begun.set()
            waiter.cursor().execute("SELECT 1")

        with holder.cursor() as cursor:
            cursor.execute("SELECT 1")
            thread = threading.Thread(target=wait)
            thread.start()
            begun.wait(5)
            wait_for(lambda: pooler.pool()["cl_waiting"] == 1, 5, "the other to wait")
            cursor.execute(SLEEP)
            holder.commit()
        thread.join(10)
    for measure in ("query", "transaction", "wait"):
        (row,) = rows(pooler, measure, database="p0", user="bouncer")
        assert row["count"] >= 2, row
        assert row["p999_us"] >= LEAST_US, row
        assert row["recent_count"] == row["count"]
        for other_row in rows(pooler, measure, database="p1"):
            assert other_row["p999_us"] < LEAST_US, "not of this pool"
    (row,) = rows(pooler, "dial", database="p0")
    assert row["count"] == 1
    assert row["p50_us"] > 0


def test_logins_by_method(make_bouncer: Callable[..., Pooler]) -> None:
    pooler = make_bouncer(GuardedPooler, auth_type="md5")
    before = {row["method"]: row["count"] for row in rows(pooler, "login")}
    for user in ("puser", "puser", "muser"):
        pooler.sql("SELECT 1", user=user)
    after = {row["method"]: row["count"] for row in rows(pooler, "login")}
    assert set(after) == {"md5"}
    assert after["md5"] - before["md5"] == 3 + 1  # and that of this console session


def test_they_are_metrics(make_pooler: MakePooler) -> None:
    pooler = make_pooler(http_listen_port=free_port())
    with pooler.connect() as client, client.cursor() as cursor:
        cursor.execute(SLEEP)
        for _ in range(9):
            cursor.execute("SELECT 1")
    text = ask(int(str(pooler.settings["http_listen_port"])), "/metrics", ("bouncer", "")).text
    found = {family.name: family for family in families(text)}
    for name in ("client_wait", "query", "transaction", "server_dial", "login"):
        assert found[f"pooler_{name}_seconds"].type == "histogram"
    samples = [
        sample
        for sample in found["pooler_query_seconds"].samples
        if sample.labels.get("database") == "p0" and sample.labels["user"] == "bouncer"
    ]
    buckets = {float(s.labels["le"]): s.value for s in samples if s.name.endswith("_bucket")}
    assert list(buckets) == sorted(buckets)
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets[0.262144], buckets[float("inf")]) == (9, 10)
    (count,) = (s.value for s in samples if s.name.endswith("_count"))
    (total,) = (s.value for s in samples if s.name.endswith("_sum"))
    assert (count, 0.3 <= total < 10) == (10, True)
