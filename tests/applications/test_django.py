"""A Django site: migrated through the pooled URL, then used by many customers over persistent connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.applications.shop import CLIENTS
from tests.support.service import Service

HERE = Path(__file__).parent

#: What a site may ask of psycopg; each changes what goes over the wire.
OPTIONS: dict[str, dict[str, object]] = {
    "persistent": {},
    "prepared": {"server_side_binding": True, "prepare_threshold": 1, "assume_role": "bouncer"},
    "pool_of_its_own": {"pool": {"min_size": 2, "max_size": 6}, "options": "-c statement_timeout=30s"},
}


def manage(service: Service, *commands: str, **options: object) -> str:
    """Output of management commands, run one after the other."""
    environment = {
        **os.environ,
        **service.environment(),
        "PYTHONPATH": str(HERE),
        "DATABASE_OPTIONS": json.dumps(options),
    }
    arguments = " -- ".join(commands).split()
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", HERE / "django_shop/manage.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def applied(service: Service) -> list[str]:
    rows = service.sql("SELECT name FROM django_migrations WHERE app = 'store' ORDER BY id")
    return [row[0] for row in rows]


def columns(service: Service) -> list[tuple[str, str]]:
    return service.sql(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = 'store_product' ORDER BY ordinal_position"
    )


def test_migrations(service: Service) -> None:
    """Forth, back to nothing, and forth again; each step through the pooled URL."""
    service.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    output = manage(service, "migrate -v1", "showmigrations store", "makemigrations --check --dry-run")
    assert "Applying store.0004_index... OK" in output
    assert "[X] 0003_changes" in output
    assert "No changes detected" in output
    assert applied(service) == ["0001_initial", "0002_products", "0003_changes", "0004_index"]
    assert service.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_quantity'::regclass")
    assert columns(service)[2:] == [("price", "numeric"), ("stock", "integer"), ("tags", "ARRAY")]
    manage(service, "migrate store 0001")
    assert columns(service)[2:] == [("price", "integer"), ("stock", "integer")]
    assert service.value("SELECT count(*) FROM store_product") == 0
    manage(service, "migrate store zero")
    assert columns(service) == []
    output = manage(service, "migrate", "inspectdb store_line", "dumpdata store.product")
    assert "class StoreLine" in output
    assert len(json.loads(output.splitlines()[-1])) == 8


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_customers(service: Service, options: dict[str, object]) -> None:
    output = manage(service, "migrate -v0", f"serve_customers {CLIENTS}", **options)
    assert json.loads(output) == [{"orders": [2] * 6, "total": 30}] * CLIENTS
    assert service.value("SELECT 80000 - sum(stock) FROM store_product") == CLIENTS * 30
