"""The stage of one run: a fresh PostgreSQL, perhaps a pooler in front of it, and busy neighbours beside the suite."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account
from tests.external import neighbours
from tests.support.pooler import Bouncer, PgBouncer, Pooler
from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]

OTHER_DATABASE = "suite_other"  # for frameworks that test with two

#: What the suites' own set-up instructions ask for, and places for their clients.
POSTGRES_SETTINGS = {
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "log_connections": "off",
    "log_disconnections": "off",
}

#: Through PgBouncer nothing would start without them.
PGBOUNCER_SETTINGS = {"ignore_startup_parameters": "extra_float_digits,options,search_path,jit,intervalstyle"}

TARGETS = ("direct", "pooler", "pgbouncer")


@dataclass(frozen=True)
class Conditions:
    """What the runs have in common."""

    pool_size: int = 10
    workers: int = 2
    neighbours: int = 6
    style: str = "harmful"
    settings: dict[str, str] = field(default_factory=dict)  # of pooler


@dataclass
class Stage:
    """What a suite is told."""

    pg: Postgres
    host: str
    port: int
    work: Path
    owner: Account
    database: str
    bouncer: Bouncer | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """libpq's variables: every driver understands them."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": "unused",
            "PGDATABASE": self.database,
        }


@contextlib.contextmanager
def set_up(
    target: str,
    conditions: Conditions,
    owner: Account,
    work: Path,
    *,
    database: str,
    sql: Sequence[str],
    users: Sequence[str],
) -> Iterator[Stage]:
    """The stage for one run; `users` may log in through the pooler beside the superuser."""
    pg = Postgres(owner, work, **POSTGRES_SETTINGS)
    with contextlib.ExitStack() as stack:
        pg.create()
        stack.callback(pg.stop)
        if database != "postgres":
            pg.sql(f"CREATE DATABASE {database} TEMPLATE template0")
        pg.sql(f"CREATE DATABASE {OTHER_DATABASE} TEMPLATE template0")
        for text in sql:
            pg.sql(text, dbname=database)
        pg.sql(neighbours.PREPARATION, dbname=database)
        stage = Stage(pg, pg.host, pg.port, work, owner, database)
        if target != "direct":
            bouncer = make_bouncer(target, conditions, pg, owner, work / "bouncer", users)
            stack.callback(bouncer.stop)
            bouncer.start()
            stage.bouncer = bouncer
            stage.host, stage.port = bouncer.host, bouncer.port
        with busy(stage, conditions):
            yield stage


def make_bouncer(
    target: str, conditions: Conditions, pg: Postgres, owner: Account, directory: Path, users: Sequence[str]
) -> Bouncer:
    """The pooler, not started: any database, transaction mode, servers in turn so that they change hands."""
    settings: dict[str, Any] = {
        "max_client_conn": 1000,
        "default_pool_size": conditions.pool_size,
        "server_round_robin": 1,
        "query_wait_timeout": 60,
    }
    databases = {"*": ""}
    bouncer: Bouncer
    if target == "pooler":
        settings |= {"workers": conditions.workers, **conditions.settings}
        bouncer = Pooler(pg, owner, directory, databases, **settings)
    else:
        settings |= PGBOUNCER_SETTINGS
        bouncer = PgBouncer(pg, owner, directory, databases, **settings)
    bouncer.passwords |= dict.fromkeys(users, "")
    return bouncer


@contextlib.contextmanager
def busy(stage: Stage, conditions: Conditions) -> Iterator[None]:
    """The neighbours, from here to the end of the block; what surprised them is noted."""
    if not conditions.neighbours:
        yield
        return
    conninfo = f"host={stage.host} port={stage.port} user={SUPERUSER} dbname={stage.database}"
    command = [sys.executable, "-m", "tests.external.neighbours", conninfo]
    process = subprocess.Popen(
        [*command, str(conditions.neighbours), conditions.style],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=20)
            stage.notes["neighbours"] = json.loads(output)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            stage.notes["neighbours"] = {"surprises": [["hung", 1]]}
