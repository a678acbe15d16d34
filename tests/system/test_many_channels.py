"""Channels are shared by all databases: those of one leave space for the others'."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tests.support.pooler import Pooler
from tests.support.wire import query

#: Of all databases, and of one client before it keeps a server.
CHANNELS, OF_A_CLIENT = 4096, 128


def test_one_database_leaves_half_of_what_is_left(make_pooler: Callable[..., Pooler]) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=5", "p1": "pool_size=1"})
    with contextlib.ExitStack() as stack:
        for number in range(CHANNELS // OF_A_CLIENT + 1):
            wire = stack.enter_context(pooler.wire())
            wire.login().send(*(query(f"LISTEN c_{number}_{one}") for one in range(OF_A_CLIENT)))
            for _ in range(OF_A_CLIENT):
                wire.receive_until("Z")
            if pooler.show("pins", database="p0"):
                break
        assert len(pooler.show("listeners", database="p0")) == CHANNELS // 2
        first, second = (stack.enter_context(pooler.wire()).login(database="p1") for _ in range(2))
        first.query("LISTEN news")
        second.query("NOTIFY news, 'heard'")  # there is one server
        (news,) = first.expect("A")
        assert news.body.endswith(b"news\0heard\0")
        assert not pooler.show("pins", database="p1")
