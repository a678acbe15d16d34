"""Clients of our own (auth_query): they count in their pool, which is one of its own, and nowhere else."""

from __future__ import annotations

import pytest

from pooler.core import LoginVerdict
from pooler.core._core import PlayedTables


def tables() -> PlayedTables:
    made = PlayedTables(workers=2, slots=4, clients=8, databases=4, users=4, pools=4, instances=2)
    for worker in range(2):
        made.worker_starting(worker, 1000 + worker)
    return made


def pools(t: PlayedTables) -> tuple[int, int, int, int]:
    """Rows of database and user, the clients' pool and the one of auth_query."""
    database, user, instance = t.database("d"), t.user("u"), t.instance("h:1")
    mine, auth = (t.open_pool(database, user, instance, auth=kind) for kind in (False, True))
    return database, user, mine, auth


def counts(t: PlayedTables) -> tuple[int, int, int]:
    """Clients of the database, of the user, and rows in use that anybody is shown."""
    (database,), (user,) = t.databases(), t.users()
    return database["client_count"], user["client_count"], t.counts()["used_clients"]


def test_pools_are_apart_and_shown_as_one() -> None:
    t = tables()
    _, _, mine, auth = pools(t)
    assert mine != auth
    assert [t.is_auth_pool(pool) for pool in (mine, auth)] == [False, True]
    assert len(t.pools()) == 1
    t.set_pool_secret(mine, b"secret")
    assert (t.pool_secret(mine), t.pool_secret(auth)) == (b"secret", None)
    t.set_pool_secret(mine, b"")
    assert t.pool_secret(mine) is None
    with pytest.raises(ValueError, match="too long"):
        t.set_pool_secret(mine, b"x" * 2049)


def test_no_limit_counts_them() -> None:
    t = tables()
    database, user, mine, auth = pools(t)
    t.set_global_limits(1, False)
    t.set_database(database, 0, 1)
    t.set_user(user, 0, 1)
    client = t.client_new(0)
    assert t.client_login(client, database, user, mine) is LoginVerdict.OK
    before = counts(t)
    own = [t.client_new(worker) for worker in (0, 1)]
    for row in own:
        assert t.client_login(row, database, user, auth, own=True) is LoginVerdict.OK
    assert counts(t) == before
    assert [row["own"] for row in t.clients()] == [False, True, True]
    (shown,) = t.pools()
    assert shown["clients"] == 1, "of the pool's own number"
    t._rebuild()
    assert counts(t) == before
    another = t.client_new(0)
    assert t.client_login(another, database, user, mine) is not LoginVerdict.OK, (
        "the limits hold for others as before"
    )
    for row in own:
        t.client_free(row)
    assert counts(t) == before
    t._rebuild()
    assert counts(t) == before


def test_disabled_database() -> None:
    t = tables()
    database, user, _, auth = pools(t)
    t.set_disabled(database, True)
    assert t.client_login(t.client_new(0), database, user, auth, own=True) is LoginVerdict.DISABLED


def test_pool_is_not_forgotten_under_them() -> None:
    t = tables()
    database, user, _, auth = pools(t)
    for row, set_row in ((database, t.set_database), (user, t.set_user)):
        set_row(row, 0, 0, kept=False)
    own = t.client_new(0)
    assert t.client_login(own, database, user, auth, own=True) is LoginVerdict.OK
    for at_us in (10**13, 2 * 10**13):
        t.forget(1.0, 1.0, at_us)
    assert t.pool_rows() == [auth]
    t.client_free(own)
    for at_us in (3 * 10**13, 4 * 10**13):
        t.forget(1.0, 1.0, at_us)
    assert t.pool_rows() == []


def test_cancel_keys() -> None:
    """The whole secret, as long as the client's protocol has it."""
    t = tables()
    short, long = t.client_new(0), t.client_new(0)
    pid, secret = t.client_key(short)
    key = secret.to_bytes(4, "big")
    assert t.cancel_key_fits(pid, key)
    long_pid, long_key = t.client_key(long)[0], t.client_long_key(long)
    assert len(long_key) == 32
    assert t.cancel_key_fits(long_pid, long_key)
    for index in range(32):
        bent = bytearray(long_key)
        bent[index] ^= 0x80
        assert not t.cancel_key_fits(long_pid, bytes(bent))
    for wrong in (b"", key[:3], key + b"\0", long_key[:4], long_key[:31], long_key + b"\0", bytes(256)):
        assert not t.cancel_key_fits(pid, wrong)
        assert not t.cancel_key_fits(long_pid, wrong)
    for nobody in (0, 0xFFFFF, 0xFFFFFFFF):
        assert not t.cancel_key_fits(nobody, long_key)
        assert t.cancel_instance(nobody, long_key) == -1


def test_where_a_cancel_request_goes() -> None:
    """Its instance is known before anything is done for it; a wrong key leads nowhere."""
    t = tables()
    database, user, mine, _ = pools(t)
    elsewhere = t.open_pool(database, user, t.instance("h:2"))
    for pool, instance in ((mine, t.instance("h:1")), (elsewhere, t.instance("h:2"))):
        row = t.client_new(0)
        pid, secret = t.client_key(row)
        key = secret.to_bytes(4, "big")
        assert t.cancel_instance(pid, key) == -1, "it is in its login"
        assert t.client_login(row, database, user, pool) is LoginVerdict.OK
        assert t.cancel_instance(pid, key) == instance
        assert t.cancel_instance(pid, bytes(4)) == -1
