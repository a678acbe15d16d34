"""A shop on JDBC: statements prepared at their fifth use, autosave, fetch sizes, batches, COPY."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.shop import CLIENTS, TENANTS, check_notes, check_orders
from tests.support.java import compiled
from tests.support.service import Service

SOURCE = Path(__file__).parent / "jdbc/Shop.java"

#: Short programs: starting quickly is worth more than running fast.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path with the driver and the compiled shop."""
    return compiled(SOURCE, tmp_path_factory.mktemp("jdbc"))


@pytest.fixture(scope="module")
def program(service: Service, classes: str) -> Iterator[subprocess.Popen[str]]:
    """The running shop, which is told what to do."""
    url = f"jdbc:postgresql://{service.host}:{service.port}/{service.database}?user=bouncer&sslmode=disable"
    command = [*JAVA, "-cp", classes, "Shop", url, str(CLIENTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


Program = subprocess.Popen[str]


def run(program: Program, name: str) -> list[str]:
    """What each of the clients found."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{name}\n")
    program.stdin.flush()
    watchdog = threading.Timer(60, program.kill)
    watchdog.start()
    lines = list(iter(program.stdout.readline, "\n"))
    watchdog.cancel()
    failed = [line.replace(" | ", "\n") for line in lines if not line.startswith("found ")]
    assert not failed, "".join(failed)
    return [line.removeprefix("found ").strip() for line in lines]


def test_orders(shop: Service, program: Program) -> None:
    assert run(program, "orders") == ["12"] * CLIENTS
    check_orders(shop, CLIENTS * 12)


def test_autosave(shop: Service, program: Program) -> None:
    assert run(program, "autosave") == ["4"] * CLIENTS
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 8


def test_tenants(shop: Service, program: Program) -> None:
    assert run(program, "tenants") == TENANTS
    check_notes(shop, 10)


def test_cursors(shop: Service, program: Program) -> None:
    assert run(program, "cursors") == ["1000"] * CLIENTS


def test_batches(shop: Service, program: Program) -> None:
    assert run(program, "batches") == ["720"] * CLIENTS
    assert shop.value("SELECT count(*) FROM job") == CLIENTS * 720


def test_copies(shop: Service, program: Program) -> None:
    assert run(program, "copies") == ["500"] * CLIENTS


def test_notifications(shop: Service, program: Program) -> None:
    half = CLIENTS // 2
    heard = run(program, "notifications")
    assert heard == [heard[0]] * half + [""] * half
    assert sorted(heard[0].split()) == sorted(
        f"{n}-{turn}" for n in range(half, CLIENTS) for turn in range(8)
    )


def test_sessions(shop: Service, program: Program) -> None:
    assert run(program, "sessions") == ["public"] * CLIENTS
