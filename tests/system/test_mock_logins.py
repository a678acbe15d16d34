"""What unknown users are asked is as lasting as what known ones are: over workers, and over their end."""

from __future__ import annotations

import time

import pytest

from tests.support.hostile import Scram
from tests.support.pooler import Pooler
from tests.support.wire import message, startup
from tests.system.conftest import GuardedPooler, MakeShared

#: PACE_US of core/login/refusal.c.
PACE_S = 0.05


def salt_of(pooler: Pooler, user: str) -> bytes:
    with pooler.wire() as wire:
        Scram(user, "x").start(wire)
        (request,) = wire.expect("R")
        return dict(part.split(b"=", 1) for part in request.body[4:].split(b","))[b"s"]


def test_salts_are_stable(make_shared: MakeShared) -> None:
    """Else a user who does not exist is told from one with a stored secret by asking twice."""
    pooler = make_shared(
        GuardedPooler, workers=3, auth_type="scram-sha-256", databases={"p0": "user=bouncer"}
    )
    users = ("nobody_a", "nobody_b")
    first = {user: salt_of(pooler, user) for user in users}
    assert len(set(first.values())) == 2
    for number in range(3):
        for user in users:
            assert {salt_of(pooler, user) for _ in range(6)} == {first[user]}
        pooler.wait_for_workers(3)
        killed = pooler.kill_worker(number)
        pooler.wait_for_workers(3, without=killed)
    assert {user: salt_of(pooler, user) for user in users} == first
    pooler.passwords |= {"one_more": "secret"}
    pooler.configure()
    assert {user: salt_of(pooler, user) for user in users} == first
    pooler.stop()
    pooler.start()
    assert {user: salt_of(pooler, user) for user in users} == first


def test_users_with_plain_passwords_keep_their_salt(make_shared: MakeShared) -> None:
    """They have none stored: it is made like that of a user who does not exist."""
    pooler = make_shared(GuardedPooler, workers=1, auth_type="scram-sha-256")
    first = salt_of(pooler, "bouncer")
    pooler.passwords |= {"one_more": "secret"}
    pooler.configure()
    assert salt_of(pooler, "bouncer") == first


@pytest.mark.parametrize("user", ["bouncer", "nobody_a"])
def test_refusals_come_at_a_pace(make_shared: MakeShared, user: str) -> None:
    """How long the keys of a password took to be derived is not told: an unknown user has none."""
    pooler = make_shared(GuardedPooler, workers=1, auth_type="scram-sha-256")
    sent_s = 0.0

    def wrong(proof: bytes) -> bytes:
        nonlocal sent_s
        sent_s = time.monotonic()
        return proof

    with pooler.wire() as wire:
        scram = Scram(user, "x", {"final": wrong})
        scram.start(wire)
        scram.finish(wire)
        (error,) = wire.expect("E")
        assert time.monotonic() - sent_s >= PACE_S
    assert error.fields["M"] == "SASL authentication failed"


@pytest.mark.parametrize("user", ["bouncer", "nobody_a"])
@pytest.mark.parametrize("method", ["md5", "plain"])
def test_refusals_by_other_methods_come_at_that_pace(make_shared: MakeShared, method: str, user: str) -> None:
    pooler = make_shared(GuardedPooler, workers=1, auth_type=method)
    with pooler.wire() as wire:
        wire.send(startup(user))
        wire.expect("R")
        sent_s = time.monotonic()
        wire.send(message("p", "md5" + "0" * 32 if method == "md5" else "wrong"))
        told = wire.expect_error()
        assert time.monotonic() - sent_s >= PACE_S
    assert told["M"] == "password authentication failed"
