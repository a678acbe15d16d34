"""What each message means for the relay: each byte, both directions."""

from __future__ import annotations

import pytest

from pooler.core._core import backend_effects, frontend_effects

BACKEND = {
    "1": "POP_PARSE", "2": "POP_BIND", "3": "POP_CLOSE",
    "A": "NOTIFY", "C": "COMMAND", "D": "NOTHING", "E": "ERROR", "G": "COPY_IN", "H": "COPY_OUT",
    "I": "EMPTY", "N": "NOTICE", "S": "PARAMETER", "T": "ROWDESC", "V": "FUNCTION", "W": "COPY_BOTH",
    "Z": "READY", "c": "COPY_DONE", "d": "COPY_DATA", "n": "NODATA", "s": "SUSPENDED", "t": "PARAMDESC",
}  # fmt: skip

FRONTEND = {
    "B": "BIND", "C": "CLOSE", "D": "DESCRIBE", "E": "EXECUTE", "F": "FUNCTION", "H": "FLUSH", "P": "PARSE",
    "Q": "QUERY", "S": "SYNC", "X": "TERMINATE", "c": "COPY_DONE", "d": "COPY_DATA", "f": "COPY_FAIL",
}  # fmt: skip


@pytest.mark.parametrize("code", range(256), ids=lambda code: f"{code:#04x}")
def test_backend_byte(code: int) -> None:
    assert backend_effects()[code] == BACKEND.get(chr(code), "FORBIDDEN")


@pytest.mark.parametrize("code", range(256), ids=lambda code: f"{code:#04x}")
def test_frontend_byte(code: int) -> None:
    assert frontend_effects()[code] == FRONTEND.get(chr(code), "FORBIDDEN")


def test_messages_of_the_login_are_forbidden_later() -> None:
    assert {backend_effects()[code] for code in b"RKvp"} == {"FORBIDDEN"}
    assert frontend_effects()[ord("p")] == "FORBIDDEN"
