"""What unknown users are asked is as lasting as what known ones are: over workers, and over their end."""

from __future__ import annotations

from tests.fault.conftest import GuardedPooler, MakeShared
from tests.support.hostile import Scram
from tests.support.pooler import Pooler


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
    pooler.reload()
    assert {user: salt_of(pooler, user) for user in users} == first
