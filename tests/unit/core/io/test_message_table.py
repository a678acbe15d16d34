"""The compiled relay has the tables of pooler/protocol/transaction.py: each byte, both directions."""

from __future__ import annotations

import pytest

from pooler.core import backend_effects, frontend_effects
from pooler.protocol import transaction
from pooler.protocol.transaction import Effect, FrontEffect


@pytest.mark.parametrize("code", range(256), ids=lambda code: f"{code:#04x}")
def test_backend_byte(code: int) -> None:
    assert Effect(backend_effects()[code]) is transaction.backend_effect(code)


@pytest.mark.parametrize("code", range(256), ids=lambda code: f"{code:#04x}")
def test_frontend_byte(code: int) -> None:
    assert FrontEffect(frontend_effects()[code]) is transaction.frontend_effect(code)


def test_tables_are_whole() -> None:
    assert backend_effects() == transaction.backend_effects()
    assert frontend_effects() == transaction.frontend_effects()
