"""A pytest plugin: writes what became of each test to $SUITES_REPORT, a line as soon as it is known.

Runs inside a foreign suite, with the suite's own Python environment: nothing of ours is importable here.
"""

from __future__ import annotations

import json
import os
from typing import Any

_report = open(os.environ["SUITES_REPORT"], "a", buffering=1)  # noqa: SIM115  # until the process ends


def pytest_runtest_logreport(report: Any) -> None:
    """Set-up, call and tear-down of a test, and each of its subtests, come one by one."""
    if report.outcome == "passed" and report.when != "call":
        return  # says nothing about the test yet
    outcome = report.outcome
    if outcome == "skipped" and hasattr(report, "wasxfail"):
        outcome = "xfailed"
    reason = ""
    if outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        text = str(report.longrepr)
        reason = f"{crash.message if crash else text.splitlines()[-1]}\n\n{text[-3000:]}"
    _report.write(json.dumps({"test": report.nodeid, "outcome": outcome, "reason": reason}) + "\n")
