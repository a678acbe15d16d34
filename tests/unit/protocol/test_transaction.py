"""The relay's table: complete, and with the numbers the compiled core was written for."""

from __future__ import annotations

from pooler.protocol import transaction
from pooler.protocol.transaction import Effect, FrontEffect

#: The contract with pooler/core/io/message_table.h: order and number of every name.
BACKEND_ORDER = """
    NOTHING POP_PARSE POP_BIND POP_CLOSE ROWDESC NODATA COMMAND EMPTY SUSPENDED ERROR READY
    COPY_IN COPY_OUT COPY_BOTH PARAMETER NOTICE NOTIFY FUNCTION PARAMDESC COPY_DATA COPY_DONE FORBIDDEN
"""
FRONTEND_ORDER = """
    QUERY PARSE BIND DESCRIBE EXECUTE CLOSE SYNC FLUSH FUNCTION
    COPY_DATA COPY_DONE COPY_FAIL TERMINATE FORBIDDEN
"""


def test_numbers_are_the_contract() -> None:
    assert {effect.name: effect.value for effect in Effect} == {
        n: i for i, n in enumerate(BACKEND_ORDER.split())
    }
    assert {effect.name: effect.value for effect in FrontEffect} == {
        n: i for i, n in enumerate(FRONTEND_ORDER.split())
    }


def test_tables_have_an_entry_for_each_byte() -> None:
    for table, allowed, forbidden in (
        (transaction.backend_effects(), b"123ACDEGHINSTVWZcdnst", Effect.FORBIDDEN),
        (transaction.frontend_effects(), b"BCDEFHPQSXcdf", FrontEffect.FORBIDDEN),
    ):
        assert len(table) == 256
        assert {code for code in range(256) if table[code] != forbidden} == set(allowed)


def test_each_effect_is_reached() -> None:
    assert set(transaction.backend_effects()) == {int(effect) for effect in Effect}
    assert set(transaction.frontend_effects()) == {int(effect) for effect in FrontEffect}


def test_messages_of_the_login_are_forbidden_later() -> None:
    assert {transaction.backend_effect(code) for code in b"RKvp"} == {Effect.FORBIDDEN}
    assert transaction.frontend_effect(ord("p")) is FrontEffect.FORBIDDEN


def test_core_has_the_same_table() -> None:
    import importlib

    import pytest

    try:
        core = importlib.import_module("pooler.core")
    except ImportError:
        pytest.skip("the compiled core is not built")
    if not hasattr(core, "backend_effects"):
        pytest.skip("the compiled core is not built")
    assert list(core.backend_effects()) == transaction.backend_effects()
    assert list(core.frontend_effects()) == transaction.frontend_effects()
