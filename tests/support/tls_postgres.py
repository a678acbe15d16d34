"""PostgreSQL with TLS: Debian's, because the embedded one is built without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.certificates import Pair
from tests.support.install import need
from tests.support.postgres import Postgres


def tls_postgres(owner: Account, work: Path, pair: Pair, authorities: Path) -> Postgres:
    """A running one that shows the certificate and asks clients for theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POOLER_PGBIN", os.environ.get("POOLER_PGBIN") or str(debians_programs()))
        pg = Postgres(
            owner,
            make_directory(work / "tlspg", owner),
            ssl="on",
            ssl_cert_file=str(pair.cert),
            ssl_key_file=str(pair.key),
            ssl_ca_file=str(authorities),
        )
    pg.create()
    return pg


def debians_programs() -> Path:
    """The directory of its newest, which is installed where there is none."""
    found = _programs()
    if not found:
        need("postgresql", "/usr/lib/postgresql/none")
        found = _programs()
    return found[-1]


def _programs() -> list[Path]:
    """Debian's, the newest last."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(
        (path for path in found if (path / "postgres").exists()), key=lambda path: int(path.parent.name)
    )
