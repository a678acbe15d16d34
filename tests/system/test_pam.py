"""auth_type pam and rules with it, by the real libpam: Debian's modules, and a service file of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.crowd import at_once, refusal
from tests.support.pooler import Pooler
from tests.support.shared import StartPooler

FAILED = "PAM authentication failed"
SERVICE = Path("/etc/pam.d/pgbouncer")

PERMIT = "auth required pam_permit.so\naccount required pam_permit.so\n"
DENY = "auth required pam_deny.so\naccount required pam_permit.so\n"
CLOSED = "auth required pam_permit.so\naccount required pam_deny.so\n"
BROKEN = "auth required pam_no_such_module.so\n"

#: What a module is told; exits with another number for each thing that is wrong.
SCRIPT = """#!/bin/sh
read password
[ "$PAM_USER" = bouncer ] || exit 1
[ "$password" = "sesame 'ü" ] || exit 3
[ "$PAM_SERVICE" = pgbouncer ] || exit 5
[ -z "$PAM_RUSER$PAM_TTY" ] || exit 6
[ "$PAM_TYPE" = auth ] || exit 7
[ "$PAM_RHOST" = 127.0.0.1 ] || [ "$PAM_RHOST" = unix ] || exit 8
"""
PASSWORD = "sesame 'ü"


@pytest.fixture(scope="module")
def service() -> Iterator[Path]:
    """The service file, which only root can write; what was there comes back."""
    assert os.geteuid() == 0, f"{SERVICE} has to be written: run this test as root"
    before = SERVICE.read_text() if SERVICE.exists() else None
    yield SERVICE
    if before is None:
        SERVICE.unlink(missing_ok=True)
    else:
        SERVICE.write_text(before)


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler, service: Path) -> Pooler:
    rules = f"host all {SUPERUSER} all trust\nhost all all all pam\nlocal all all pam\n"
    made = start_pooler(
        workers=request.param,
        auth_type="trust",
        databases={"p0": "", "p1": "user=bouncer", "asks": "dbname=p0 user=bouncer auth_user=postgres"},
    )
    made._write(made.directory / "hba", rules)
    made.configure(auth_type="hba", auth_hba_file=made.directory / "hba")
    return made


def enters(pooler: Pooler, password: str = "x", user: str = "bouncer", **values: Any) -> bool:
    return pooler.sql("SELECT 1", user=user, password=password, **{"dbname": "p1", **values}) == [(1,)]


def test_permit_and_deny(pooler: Pooler, service: Path) -> None:
    """The file counts at once; who is not in auth_file gets in, too: PAM knows its users itself."""
    service.write_text(PERMIT)
    assert enters(pooler)
    assert enters(pooler, user="nobody_knows")
    service.write_text(DENY)
    with pooler.expect_log(r"WARNING pam_authenticate\(\) failed: Authentication failure"):
        assert FAILED in refusal(pooler.dsn(password="x", dbname="p1"))


def test_account_that_is_closed(pooler: Pooler, service: Path) -> None:
    service.write_text(CLOSED)
    with pooler.expect_log(r"WARNING pam_acct_mgmt\(\) failed: "):
        assert FAILED in refusal(pooler.dsn(password="x", dbname="p1"))


def test_service_that_is_broken_or_missing(pooler: Pooler, service: Path) -> None:
    service.write_text(BROKEN)
    with pooler.expect_log(r"WARNING pam_\w+\(\) failed: "):
        assert FAILED in refusal(pooler.dsn(password="x", dbname="p1"))
    service.write_text(PERMIT)
    assert enters(pooler)


def test_what_modules_are_told(pooler: Pooler, service: Path, tmp_path: Path) -> None:
    """User, password, service and where the client is; and what a module says is logged."""
    script = pooler.directory / "check.sh"
    pooler._write(script, SCRIPT)
    service.write_text(
        f"auth required pam_exec.so expose_authtok /bin/sh {script}\naccount required pam_permit.so\n"
    )
    quoted = PASSWORD.replace("'", "\\'")
    assert enters(pooler, quoted)
    assert enters(pooler, quoted, host=pooler.directory)
    with pooler.expect_log(r"WARNING pam_conversation\(\): PAM error: .* failed: exit code 3"):
        assert FAILED in refusal(pooler.dsn(password="wrong", dbname="p1"))
    with pooler.expect_log(r"failed: exit code 1"):
        assert FAILED in refusal(pooler.dsn(user="other", password=quoted, dbname="p1"))


def test_empty_password(pooler: Pooler, service: Path) -> None:
    service.write_text(PERMIT)
    with pooler.wire() as wire, pytest.raises(AssertionError, match=FAILED):
        wire.login("bouncer", "p1", "")


def test_password_serves_at_postgres(pooler: Pooler, service: Path) -> None:
    """Also the second time, by whatever worker, and it is not the next user's."""
    service.write_text(PERMIT)
    del pooler.passwords["suser"]
    pooler.configure()
    for _ in range(3):
        assert enters(pooler, "sfoo", "suser", dbname="p0")
    pooler.console("RECONNECT p0")
    assert enters(pooler, "sfoo", "suser", dbname="p0")


def test_psycopg3_and_psql(pooler: Pooler, service: Path) -> None:
    service.write_text(PERMIT)
    with psycopg.connect(pooler.dsn(password="x", dbname="p1")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    dsn = "dbname=p1 user=bouncer password=x"
    assert pooler.run_program("psql", "-XAtc", "SELECT 42", dsn).strip() == "42"


def test_crowd(pooler: Pooler, service: Path) -> None:
    """Many at once, in threads: each with its own conversation."""
    script = pooler.directory / "own.sh"
    pooler._write(script, '#!/bin/sh\nread p\nsleep 0.05\n[ "$p" = "word of $PAM_USER" ]\n')
    service.write_text(
        f"auth required pam_exec.so expose_authtok /bin/sh {script}\naccount required pam_permit.so\n"
    )

    def one(number: int) -> bool:
        user, password = f"user{number}", f"word of user{number}"
        if number % 3:
            return enters(pooler, password, user)
        return FAILED not in refusal(pooler.dsn(user=user, password=f"{password} no", dbname="p1"))

    assert at_once(24, one) == [number % 3 != 0 for number in range(24)]


def test_globally(pooler: Pooler, service: Path) -> None:
    """As auth_type it does not go together with auth_user, as in PgBouncer."""
    service.write_text(PERMIT)
    pooler.configure(auth_type="pam")
    assert enters(pooler)
    assert pooler.sql("SELECT 1", user=SUPERUSER, password="x", dbname="p1") == [(1,)]
    with pooler.expect_log("PAM can't be used together with database authentication"):
        assert "bouncer config error" in refusal(pooler.dsn(password="x", dbname="asks"))
    service.write_text(DENY)
    assert FAILED in refusal(pooler.dsn(password="x", dbname="p1"))
    service.write_text(PERMIT)  # by which the console can be reached
