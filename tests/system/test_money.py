"""Money transfers while workers and backends die and PostgreSQL restarts: the sum stays, commits too."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest

from tests.support.bank import Bank
from tests.support.health import (
    LimitWatch,
    assert_consistent,
    assert_no_bugs,
    kill_worker,
    wait_for_replacement,
    wait_until_slots_work,
)
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres

#: What a client may be told during all this.
EXPECTED = (
    "server conn crashed?",
    "terminating connection",
    "server closed the connection",
    "Connection refused",
)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_transfers_under_chaos(make_pooler: Callable[..., Pooler], pg: Postgres, mode: str) -> None:
    pooler = make_pooler(workers=3, databases={"p0": f"pool_size=6 pool_mode={mode}"})
    chance = random.Random(mode)
    bank = Bank(pg, pooler.dsn, tellers=6)
    with LimitWatch(pg) as watch, bank:
        bank.wait_for_commits(50)
        for number in range(18):
            _trouble(pooler, pg, number, chance)
            bank.wait_for_commits(20)
    bank.check()
    assert watch.most <= 6
    strange = [text for text in bank.failures if not any(known in text for known in EXPECTED)]
    assert not strange, strange[:5]
    assert_consistent(pooler, pg)
    wait_until_slots_work(pooler, 6)
    assert_no_bugs(pooler)


def _trouble(pooler: Pooler, pg: Postgres, number: int, chance: random.Random) -> None:
    if number % 9 == 8:
        pg.restart(signal.SIGQUIT if number > 9 else signal.SIGINT)
    elif number % 3 == 0:
        victim = chance.randrange(3)
        wait_for_replacement(pooler, victim, of=kill_worker(pooler, victim))
    elif number % 3 == 1:
        backends = pg.backends()
        if backends:
            pg.sql("SELECT pg_terminate_backend(%s)", (chance.choice(backends),))
    else:
        pooler.signal(signal.SIGHUP)
