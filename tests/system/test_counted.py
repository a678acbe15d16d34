"""Figures that only /metrics has: refused clients, by reason, and errors of PostgreSQL, by class."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg
import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import free_port
from tests.support.http import ask
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.system.conftest import GuardedPooler

ADMIN = (SUPERUSER, "superuser")


@pytest.fixture
def pooler(make_bouncer: Callable[..., Pooler]) -> Pooler:
    return make_bouncer(
        GuardedPooler,
        http_listen_port=free_port(),
        auth_type="md5",
        max_db_client_connections=2,
        databases={"p0": "", "p1": "", "down": "dbname=missing"},
        tcp_defer_accept=0,
    )


def counted(pooler: Pooler, family: str, label: str, **where: str) -> dict[str, float]:
    """Values of a counter by one label, without those that are 0."""
    text = ask(int(str(pooler.settings["http_listen_port"])), "/metrics", ADMIN).text
    (found,) = (one for one in families(text) if one.name == family)
    return {
        sample.labels[label]: sample.value
        for sample in found.samples
        if sample.value and where.items() <= sample.labels.items()
    }


def refused(pooler: Pooler, **values: Any) -> None:
    with pytest.raises(psycopg2.OperationalError):
        pooler.sql("SELECT 1", **values)


def refusals(pooler: Pooler) -> dict[str, float]:
    return counted(pooler, "pooler_login_refusals", "reason")


def expect_refusals(pooler: Pooler, **reasons: int) -> None:
    """The text is made anew after a tenth of a second only."""
    wait_for(lambda: refusals(pooler) == reasons, 5, f"{reasons}, not {refusals(pooler)}")


def test_refusals_by_reason(pooler: Pooler) -> None:
    expect_refusals(pooler)
    refused(pooler, password="wrong")
    refused(pooler, user="stranger", password="x")
    expect_refusals(pooler, password=2)
    refused(pooler, dbname="nowhere")
    expect_refusals(pooler, password=2, database=1)
    with pooler.connect(), pooler.connect():
        refused(pooler)
    pooler.console("DISABLE p1")
    refused(pooler, dbname="p1")
    refused(pooler, dbname="down")
    expect_refusals(pooler, password=2, database=1, limit=1, disabled=1, server=1)
    pooler.configure(client_tls_sslmode="disable", client_login_timeout=1)
    with pooler.wire():
        wait_for(lambda: refusals(pooler).get("timeout") == 1, 10, "a login to be late")
    with pooler.wire() as wire:
        wire.send(b"\x00\x00\x00\x08\x7f\x7f\x7f\x7f")
        wait_for(lambda: refusals(pooler).get("other") == 1, 10, "a packet that is none")


def test_a_refusal_behind_the_wait_for_a_server_is_not_the_servers(pooler: Pooler) -> None:
    """The first client of a pool waits for the pool's first server, and is then refused by pooler itself."""
    for _ in range(2):
        refused(pooler, options="-c log_connections=on")
    expect_refusals(pooler, other=2)


def test_errors_by_class(pooler: Pooler) -> None:
    def errors(database: str) -> dict[str, float]:
        return counted(pooler, "pooler_errors", "class", database=database, user="bouncer")

    texts = {
        "SELECT 1/0": "22",
        "SELECT * FROM missing": "42",
        "this is no SQL": "42",
        "SELECT nothing": "42",
        "DO $$BEGIN RAISE SQLSTATE 'ZZ123'; END$$": "other",
        "DO $$BEGIN RAISE 'x'; END$$": "P0",
    }
    with pooler.connect() as client, client.cursor() as cursor:
        for text in texts:
            with contextlib.suppress(psycopg2.Error):
                cursor.execute(text)
        for _ in range(3):
            cursor.execute("SELECT 1")
    assert errors("p0") == {"22": 1, "42": 3, "other": 1, "P0": 1}
    assert errors("p1") == {}


def test_errors_in_transactions(pooler: Pooler) -> None:
    with pooler.connect(autocommit=False) as client, client.cursor() as cursor:
        for _ in range(2):
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("SELECT 1/0")
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("SELECT 1")  # 25P02
            client.rollback()
    assert counted(pooler, "pooler_errors", "class", database="p0") == {"22": 2, "25": 2}


def test_an_error_that_the_client_does_not_hear_is_not_counted(pooler: Pooler) -> None:
    """A statement is run again where its table has changed: PostgreSQL's error (0A000) is pooler's to see."""
    pooler.sql("DROP TABLE IF EXISTS widened; CREATE TABLE widened (a int)")
    with psycopg.connect(pooler.dsn(), autocommit=True) as client:
        for _ in range(3):
            client.execute("SELECT * FROM widened", prepare=True)
        pooler.pg.sql("ALTER TABLE widened ADD b int", dbname="p0")
        found = client.execute("SELECT * FROM widened", prepare=True).description
    assert found is not None
    assert len(found) == 2
    assert "cached plan must not change result type" in pooler.pg.new_log()
    assert counted(pooler, "pooler_errors", "class", database="p0") == {}
