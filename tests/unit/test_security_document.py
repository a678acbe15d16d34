"""SECURITY.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tests_that_it_names() -> None:
    path = ""
    named = re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text())
    assert len([name for name in named if any(name)]) > 15
    for file, test in named:
        path = file or path
        text = (ROOT / path).read_text() if path else ""
        assert not test or f"def {test}(" in text, (path, test)
