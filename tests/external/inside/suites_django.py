"""Settings and test runner for Django's own tests: one database that is there already, results to $SUITES_REPORT.

Runs inside a foreign suite, with the suite's own Python environment: nothing of ours is importable here.
"""

from __future__ import annotations

import json
import os
import traceback
import unittest
from typing import Any

from django.test.runner import DiscoverRunner


def _database(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "NAME": name,
        "TEST": {"NAME": name},
    }


DATABASES = {"default": _database(os.environ["PGDATABASE"]), "other": _database("suite_other")}
SECRET_KEY = "no secret"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "suites_django.Runner"


class Result(unittest.TextTestResult):
    """Writes a line for each test; subtests count as their test."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.report = open(os.environ["SUITES_REPORT"], "a", buffering=1)  # noqa: SIM115  # until the end

    def tell(self, test: Any, outcome: str, error: Any = None) -> None:
        reason = f"{error[1]!r}\n\n{''.join(traceback.format_exception(*error))[-3000:]}" if error else ""
        self.report.write(json.dumps({"test": test.id(), "outcome": outcome, "reason": reason}) + "\n")

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self.tell(test, "passed")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.tell(test, "failed", err)

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.tell(test, "failed", err)

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self.tell(test, "skipped")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.tell(test, "xfailed")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell(test, "failed", err)


class Runner(DiscoverRunner):  # type: ignore[misc]
    """Django's runner with results of ours."""

    def get_resultclass(self) -> type[Result]:
        return Result
