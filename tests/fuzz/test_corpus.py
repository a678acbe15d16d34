"""What coverage-guided fuzzing of the parsers has found, read again (scripts/sanitize: of the core)."""

from __future__ import annotations

import pytest

from tests.fuzz.parsers import CORPUS, TARGETS


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_corpus(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[target](path.read_bytes())
