"""What scripts/bench reads of the programs that it runs, and the table that it makes of their figures."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts import bench, connect, pgbouncer, scale
from scripts.figures import BASE, Cell, Machine, markdown, write_json
from tests.support import login_load

LINE = (
    '{"logins": 30, "began": 100.5, "ended": 102.0, "p50_ms": 1.5, "p99_ms": 9.0, "max_ms": 9.5, '
    '"derived": 1, "methods": {"scram-sha-256": 30}}\n'
)

PGBENCH = """transaction type: select.sql
number of clients: 8
number of transactions actually processed: 1212
number of failed transactions: 0 (0.000%)
latency average = 6.6 ms
average connection time = 6.1 ms
tps = 1205.441593 (including reconnection times)
"""


def test_line_of_the_logins() -> None:
    found = login_load.parse(LINE)
    assert (found.logins, found.per_s, found.p50_ms, found.p99_ms) == (30, 20.0, 1.5, 9.0)
    assert found.methods == {"scram-sha-256": 30}


@pytest.mark.parametrize("line", ["", "logins: no", LINE.replace('"derived": 1, ', "")])
def test_other_lines_are_errors(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        login_load.parse(line)


def test_output_of_pgbench() -> None:
    assert connect.parse_pgbench(PGBENCH) == (1212, 1205.441593)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("processed: 1212", "processed: 0"),
        ("failed transactions: 0", "failed transactions: 3"),
        ("including reconnection times", "without initial connection time"),  # it was no -C
        ("number of transactions", "number of"),
    ],
)
def test_other_outputs_are_errors(text: str, other: str) -> None:
    with pytest.raises(SystemExit):
        connect.parse_pgbench(PGBENCH.replace(text, other))


def test_engines() -> None:
    """Each way carries all messages, or the program ends with an error; a machine may forbid rings."""
    script = Path(connect.__file__).with_name("engines")
    result = subprocess.run([script, "3"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    heading, _, *rows = result.stdout.splitlines()
    assert heading == "| messages | way | ns per message |"
    ways = 2 if "no io_uring" in result.stderr else 5
    assert len(rows) == 2 * 4 * ways
    assert sum(row.endswith(" (1.00x) |") and "epoll, recv, send" in row for row in rows) == 8


def cells() -> list[Cell]:
    load = connect.Load("trust", 8, "tcp")
    ours = [connect.Run(800.0, 200.0, 4.0, 9.0) for _ in range(5)]
    base = [connect.Run(100.0 * n, 1000.0, 2.0, 9.0) for n in (1, 2, 4, 8, 1)]
    return [Cell(load, BASE, list(base)), Cell(load, "pooler, 1 worker", list(ours))]


def test_table() -> None:
    """Medians, in brackets the ratios' median and quartiles; the ratio is taken turn by turn."""
    assert markdown(cells(), connect.FIGURES, quartiles=True).split("\n") == [
        "| workload | program | CPU µs/login | logins/s | p50 ms | p99 ms |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| trust, 8 clients, tcp | pgbouncer | 200 | 1000 | 2.00 | 9.00 |",
        "|  | pooler, 1 worker | 800 (4.00×, 1.50–8.00) | 200 (0.20×, 0.20–0.20)"
        " | 4.00 (2.00×, 2.00–2.00) | 9.00 (1.00×, 1.00–1.00) |",
    ]


def test_table_without_some_figures() -> None:
    """pgbench tells no times from connect to the first row."""
    load = connect.Load("cert", 1, "tcp", "pgbench")
    found = markdown([Cell(load, BASE, [connect.Run(100.0, 1000.0)])], connect.FIGURES, quartiles=True)
    assert found.endswith("| cert, 1 client, tcp, pgbench -C | pgbouncer | 100 | 1000 | - | - |")


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "made" / "connect.json", cells(), connect.FIGURES, {"pooler": "1"}, {"turns": 5})
    found = json.loads((tmp_path / "made" / "connect.json").read_text())
    assert found["results"][1]["ratio"]["cpu_us"] == 4.0
    assert found["results"][1]["workload"]["login"] == "trust"
    assert len(found["results"][0]["runs"]) == 5


def test_what_is_measured_by_default() -> None:
    options = bench.parse_arguments(["--connect"])
    assert (options.turns, options.clients, options.logins) == (7, [1, 8, 64], list(connect.LOGINS))
    loads = [load for name in options.logins for load in connect.loads(name, options)]
    assert len(loads) == len(set(loads)) == 2 * 3 * (5 * 2 + 3)  # drivers, clients; TLS has no unix sockets
    assert bench.parse_arguments(["--connect", "--turns", "3"]).turns == 3
    assert bench.parse_arguments([]).clients == [1, 32, 200]


@pytest.mark.parametrize(
    "more", [["--logins", "trust,other"], ["--drivers", "psql"], ["--tls"], ["--session-state"]]
)
def test_what_cannot_be_measured_is_said(more: list[str]) -> None:
    with pytest.raises(SystemExit, match="--connect"):
        bench.main(["--connect", *more])


def test_a_program_to_measure_beside(tmp_path: Path) -> None:
    path = tmp_path / "pgbouncer"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    assert pgbouncer.program(str(path)) == path
    with pytest.raises(SystemExit, match="no program"):
        pgbouncer.program(str(tmp_path / "other"))


def test_share_of_others() -> None:
    assert "busy meanwhile" in str(Machine())


def test_all_servers_are_shared_out_over_the_databases_of_scale() -> None:
    options = scale.arguments(["--servers", "500", "--databases", "200"])
    sizes = [int(keys.rpartition("=")[2]) for keys in scale.databases_of(options).values()]
    assert (len(sizes), sum(sizes), set(sizes)) == (200, 500, {2, 3})


def test_a_row_of_scale_has_a_cell_for_each_heading() -> None:
    load = scale.Load(3.2, 40.0, None, (0.2, 0.9, 3.0), None)
    row = scale.row("pgbouncer", 1000, scale.Rest(812.4, 0.05), load)
    assert row == "| pgbouncer | 1000 | 812 | 0.050 | 3.2 | 40 | - | 0.20 | 0.90 | 3.00 | - |"
    assert row.count("|") == len(scale.HEADINGS) + 1
