"""Alembic through the pooled URL: up, down, up again, and several migrators at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from tests.support.crowd import at_once
from tests.support.processes import wait_for
from tests.support.service import Service

INI = Path(__file__).parent / "alembic_shop/alembic.ini"


@pytest.fixture(autouse=True)
def empty(service: Service) -> None:
    service.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_up_and_down(service: Service, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", service.url(f"postgresql+{driver}"))
    config = Config(INI)
    command.upgrade(config, "head")
    assert service.value("SELECT version_num FROM alembic_version") == "0003"
    assert service.value("SELECT count(*) FROM customer WHERE email = 'c' || id || '@example.org'") == 20
    assert service.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_customer_name'::regclass")
    command.check(config)
    command.downgrade(config, "-1")
    assert service.value("SELECT to_regclass('ix_customer_name')") is None
    command.downgrade(config, "base")
    assert service.value("SELECT count(*) FROM alembic_version") == 0
    assert service.value("SELECT to_regclass('customer')") is None
    command.upgrade(config, "+2")
    command.upgrade(config, "head")
    command.stamp(config, "0002")
    assert service.value("SELECT version_num FROM alembic_version") == "0002"


def test_several_migrators(service: Service) -> None:
    """Deployments that start together: one does the work, the others find it done."""

    def deploy(_: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "alembic", "-c", INI, "upgrade", "head"],
            env={**os.environ, "DATABASE_URL": service.url("postgresql+psycopg")},
            check=True,
            timeout=100,
        )

    at_once(3, deploy)
    assert service.value("SELECT version_num FROM alembic_version") == "0003"
    assert service.value("SELECT count(*) FROM customer") == 20
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    wait_for(lambda: service.value(locks) == 0, 10, "servers cleaned behind their clients")
