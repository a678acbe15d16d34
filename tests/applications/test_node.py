"""A shop on node-postgres, with its pool, named statements, cursors, COPY streams, notifications."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.applications.shop import CLIENTS, TENANTS, check_notes, check_orders
from tests.support.install import need, npm_packages
from tests.support.service import Service

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def modules() -> Path:
    """node_modules with the driver."""
    need("nodejs", "node", "nodejs")
    need("npm", "npm")
    return npm_packages(NODE / "package.json")


def run(service: Service, modules: Path, program: str) -> Any:
    """What one of the programs found."""
    result = subprocess.run(
        ["node", NODE / "shop.js", program],
        env={**os.environ, **service.environment(), "NODE_PATH": str(modules), "CLIENTS": str(CLIENTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


def test_orders(shop: Service, modules: Path) -> None:
    check_orders(shop, run(shop, modules, "orders"))


def test_tenants(shop: Service, modules: Path) -> None:
    assert run(shop, modules, "tenants") == TENANTS
    check_notes(shop, 10)


def test_named_statements(shop: Service, modules: Path) -> None:
    expected = [[number + n for n in range(10)] * 4 for number in range(CLIENTS)]
    assert run(shop, modules, "statements") == expected


def test_notifications(shop: Service, modules: Path) -> None:
    heard = run(shop, modules, "notifications")
    assert heard == [heard[0]] * (CLIENTS // 2)
    assert sorted(heard[0]) == sorted(
        f"{number}-{turn}" for number in range(CLIENTS // 2) for turn in range(8)
    )


def test_streams(shop: Service, modules: Path) -> None:
    assert run(shop, modules, "streams") == [400] * CLIENTS


def test_sessions(shop: Service, modules: Path) -> None:
    assert run(shop, modules, "sessions") == ["40s"] * CLIENTS
    assert shop.value("SELECT what FROM job") == str(CLIENTS * 5)
