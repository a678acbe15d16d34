"""Settings of a client that a server does not take: for a reason of the moment, or for what they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.fakeserver import READY, FakeServer, Script, error, usual_answer
from tests.support.pooler import Pooler
from tests.support.wire import LoginRefused, message, query
from tests.system.conftest import MakeShared

#: Errors of the moment: who asks again may be served.
PASSING = ("57014", "57P05", "55P03", "40001", "53200", "58030", "XX000", "25006", "08006")

#: Of the value itself.
LASTING = ("22023", "42704", "3F000")


def refusing(sqlstate: str, times: int) -> Script:
    """Refuses the settings of clients so often, over all of its connections."""
    refused = 0

    def answers(kind: bytes, body: bytes) -> bytes:
        nonlocal refused
        if kind == b"Q" and b"app.own" in body and refused < times:
            refused += 1
            return error(f"SERROR\0VERROR\0C{sqlstate}\0Mnot now\0\0".encode()) + READY
        if kind == b"Q" and body.startswith(b"SET SESSION AUTHORIZATION DEFAULT;RESET ALL;SET default"):
            return b"".join(message("C", tag) for tag in ("SET", "RESET", "SET", "SET")) + READY
        if kind == b"Q" and body.startswith(b"DISCARD ALL"):
            return message("C", "DISCARD ALL") + READY
        return usual_answer(kind, body)

    return lambda peer: peer.answer(answers)


SCRIPTS: dict[str, Script] = {
    **{f"twice_{code.lower()}": refusing(code, 2) for code in PASSING},
    "always_passing": refusing("57014", 1 << 30),
    **{f"always_{code.lower()}": refusing(code, 1 << 30) for code in LASTING},
    "once_lasting": refusing("22023", 1),
}


@pytest.fixture(scope="module")
def pooler(make_shared: MakeShared) -> Iterator[Pooler]:
    with FakeServer(SCRIPTS) as fake:
        place = f"host=127.0.0.1 port={fake.port} pool_size=1"
        databases = dict.fromkeys(SCRIPTS, place)
        yield make_shared(workers=1, databases=databases)


def somebody(pooler: Pooler, database: str) -> str:
    """What becomes of a client whose settings its server refuses, when another one had that before."""
    with pooled(pooler, database) as before:
        assert before.query("SELECT 1")[-1].type == "Z"
    with pooler.wire() as wire:
        try:
            wire.login(database=database, options="-c app.own=1")
        except LoginRefused as refused:
            return refused.error.fields["C"]
        wire.send(query("SELECT 1"))
        got = wire.receive()
        while got.type == "S":
            got = wire.receive()
        return got.fields["C"] if got.type == "E" else "served"


@pytest.mark.parametrize("code", PASSING)
def test_an_error_of_the_moment_is_none_of_the_client(pooler: Pooler, code: str) -> None:
    assert somebody(pooler, f"twice_{code.lower()}") == "served"


def test_it_does_not_try_for_ever(pooler: Pooler) -> None:
    assert somebody(pooler, "always_passing") == "57014"


@pytest.mark.parametrize("code", LASTING)
def test_what_a_new_server_refuses_is_refused(pooler: Pooler, code: str) -> None:
    assert somebody(pooler, f"always_{code.lower()}") == code


def test_what_a_used_server_refuses_a_new_one_may_take(pooler: Pooler) -> None:
    assert somebody(pooler, "once_lasting") == "served"
