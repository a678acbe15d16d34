"""Reports of `pooler check`: text, JSON, exit codes."""

from __future__ import annotations

import json

import pytest

from pooler.check.report import Finding, Report
from pooler.errors import Problem


def report(*findings: tuple[str, str]) -> Report:
    return Report(
        "p.ini", [Finding(topic, Problem("p.ini", 3, "text", severity)) for topic, severity in findings]
    )


@pytest.mark.parametrize(
    ("findings", "plain", "strict"),
    [
        ([], 0, 0),
        ([("differs", "note"), ("fact", "note"), ("advice", "note")], 0, 0),
        ([("advice", "warning")], 0, 2),
        ([("unsafe", "warning")], 0, 2),
        ([("unused", "warning")], 0, 2),
        ([("server", "warning")], 2, 2),
        ([("login", "warning")], 2, 2),
        ([("dropped", "warning")], 2, 2),
        ([("error", "error"), ("server", "warning")], 1, 1),
    ],
)
def test_exit_codes(findings: list[tuple[str, str]], plain: int, strict: int) -> None:
    assert (report(*findings).exit_code(), report(*findings).exit_code(strict=True)) == (plain, strict)


def test_text_has_the_worst_first() -> None:
    told = report(("differs", "note"), ("unsafe", "warning"), ("login", "warning"), ("error", "error"))
    text = told.text(pgbouncer=True)
    assert text.splitlines()[0] == "p.ini: pooler would not start with it"
    headings = [line for line in text.splitlines()[1:] if line.endswith(":") or "on purpose" in line]
    assert headings == [
        "Errors: pooler would not start:", "Logins that cannot work:", "Unsafe:",
        "Differs from PgBouncer, on purpose:",
    ]  # fmt: skip
    assert "  p.ini:3: warning: text" in text
    assert "PgBouncer" not in told.text()


def test_json() -> None:
    told = json.loads(report(("unsafe", "warning")).json())
    assert told["starts"] is True
    assert told["findings"] == [
        {"topic": "unsafe", "file": "p.ini", "line": 3, "severity": "warning", "text": "text"}
    ]
