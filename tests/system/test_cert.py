"""Certificates instead of passwords: as auth_type, by rules, with names mapped; and rules that go by TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account
from tests.support.certificates import Authority, Pair
from tests.support.crowd import refusal
from tests.support.pooler import Pooler
from tests.support.shared import StartPooler

FAILED = "certificate authentication failed"
REJECTED = "login rejected"
NO_METHOD = "no authentication method is found"

#: Keeps the console reachable, where certificates are not demanded.
HEAD = f"host pgbouncer {SUPERUSER} 127.0.0.1/32 trust\n"


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "cert", owner)


@pytest.fixture(scope="module")
def pairs(work: Path, owner: Account, authority: Authority) -> dict[str, Pair]:
    """By what is in them; "stranger" says that it is bouncer, and nobody trusts it."""
    names = {"bouncer": "/CN=bouncer", "mapped": "/O=Tests/CN=bouncer@tests", "other": "/CN=somebody"}
    names |= {"admin": f"/CN={SUPERUSER}", "unknown": "/CN=unknown", "nameless": "/O=Tests"}
    made = {name: authority.sign(name, subject, ours=True) for name, subject in names.items()}
    stranger = Authority(work / "cert", owner, "stranger")
    return {**made, "stranger": stranger.sign("bouncer", "/CN=bouncer", ours=True)}


class Certified(Pooler):
    """Its own orders come with the administrator's certificate."""

    admin: ClassVar[dict[str, Any]] = {}

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords["bouncer"] = "right"

    def dsn(self, **values: object) -> str:
        known = self.admin if values.get("dbname") == "pgbouncer" else {}
        return super().dsn(**{**known, **values})


def shows(pair: Pair) -> dict[str, Any]:
    return {"sslmode": "require", "sslcert": pair.cert, "sslkey": pair.key}


#: No certificate, whatever lies in somebody's home.
NONE = {"sslmode": "require", "sslcert": "", "sslkey": ""}


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(
    request: pytest.FixtureRequest,
    start_pooler: StartPooler,
    authority: Authority,
    pairs: dict[str, Pair],
    work: Path,
    owner: Account,
) -> Pooler:
    served = authority.sign("server", "/CN=pooler.example", "DNS:localhost,IP:127.0.0.1")
    Certified.admin = shows(pairs["admin"])
    (hba := work / "cert" / "hba").write_text(HEAD)
    (ident := work / "cert" / "ident").write_text("m bouncer@tests bouncer\nr /^(.*)@tests$ \\1\n")
    owner.give(hba)
    owner.give(ident)
    return start_pooler(
        kind=Certified,
        workers=request.param,
        auth_type="cert",
        client_tls_sslmode="verify-full",
        client_tls_key_file=served.key,
        client_tls_cert_file=served.cert,
        client_tls_ca_file=authority.cert,
        auth_hba_file=hba,
        auth_ident_file=ident,
    )


def enters(pooler: Pooler, **values: Any) -> bool:
    with psycopg.connect(pooler.dsn(**values), autocommit=True) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def rule(pooler: Pooler, rules: str, mode: str = "prefer") -> None:
    Path(str(pooler.settings["auth_hba_file"])).write_text(HEAD + rules)
    pooler.configure(auth_type="hba", client_tls_sslmode=mode)


def only_certificates(pooler: Pooler) -> None:
    if pooler.settings["auth_type"] != "cert":
        pooler.configure(auth_type="cert", client_tls_sslmode="verify-full")


def test_as_auth_type(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    """A certificate is all that is asked for; its common name has to be the user's, who has to be known."""
    only_certificates(pooler)
    for _ in range(4):
        assert enters(pooler, **shows(pairs["bouncer"]), password="wrong")
    assert enters(pooler, **shows(pairs["bouncer"]), sslnegotiation="direct")
    for name in ("other", "mapped"):
        with pooler.expect_log("TLS certificate name mismatch"):
            assert FAILED in refusal(pooler.dsn(**shows(pairs[name])))
    with pooler.expect_log("TLS client certificate required"):
        assert FAILED in refusal(pooler.dsn(**shows(pairs["nameless"])))
    assert FAILED in refusal(pooler.dsn(**shows(pairs["unknown"]), user="unknown")), "not in auth_file"
    assert "certificate required" in refusal(pooler.dsn(**NONE))
    with pooler.expect_log("TLS handshake error: certificate verify failed"):
        refusal(pooler.dsn(**shows(pairs["stranger"])))
    assert "SSL required" in refusal(pooler.dsn(sslmode="disable"))


def test_console(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    only_certificates(pooler)
    dsn = pooler.dsn(dbname="pgbouncer", user=SUPERUSER, **shows(pairs["bouncer"]))
    assert FAILED in refusal(dsn)
    assert pooler.show("version")


def test_by_rule(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    """A rule demands what is not demanded from all; who has none is not let in by the next rule."""
    for mode in ("prefer", "verify-ca"):
        rule(pooler, "hostssl all bouncer all cert\nhost all all all trust\n", mode)
        assert enters(pooler, **shows(pairs["bouncer"]))
        with pooler.expect_log("TLS certificate name mismatch"):
            assert FAILED in refusal(pooler.dsn(**shows(pairs["other"])))
    rule(pooler, "host all bouncer all cert\n")
    with pooler.expect_log("TLS client certificate required"):
        assert FAILED in refusal(pooler.dsn(**NONE))
    with pooler.expect_log("TLS connection required"):
        assert FAILED in refusal(pooler.dsn(sslmode="disable"))
    with pooler.expect_log("TLS handshake error: certificate verify failed"):
        refusal(pooler.dsn(**shows(pairs["stranger"])))


def test_mapped_names(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    for name in ("m", "r"):
        rule(pooler, f"hostssl all all all cert map={name}\n")
        assert enters(pooler, **shows(pairs["mapped"]))
        with pooler.expect_log(f"ident map: {name} does not have a match", count=2):
            assert FAILED in refusal(pooler.dsn(**shows(pairs["bouncer"])))
            assert FAILED in refusal(pooler.dsn(**shows(pairs["mapped"]), user="muser"))


def test_nobody_is_asked_without_authorities(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    """What cannot be verified does not count."""
    authorities = pooler.settings["client_tls_ca_file"]
    try:
        rule(pooler, "hostssl all all all cert\n")
        pooler.configure(client_tls_ca_file=None)
        with pooler.expect_log("TLS client certificate required", count=2):
            for name in ("bouncer", "stranger"):
                assert FAILED in refusal(pooler.dsn(**shows(pairs[name])))
    finally:
        pooler.configure(client_tls_ca_file=authorities)
    assert enters(pooler, **shows(pairs["bouncer"]))


def test_rules_go_by_tls(pooler: Pooler) -> None:
    rule(pooler, "hostssl all all all trust\nhostnossl all all all reject\n")
    assert enters(pooler, **NONE)
    assert REJECTED in refusal(pooler.dsn(sslmode="disable"))
    rule(pooler, "hostnossl all all all trust\n")
    assert enters(pooler, sslmode="disable")
    assert NO_METHOD in refusal(pooler.dsn(**NONE))
    assert NO_METHOD in refusal(pooler.dsn(**NONE, sslnegotiation="direct"))
    rule(pooler, "host all all all trust\n")
    assert enters(pooler, **NONE)
    assert enters(pooler, sslmode="disable")


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_passwords_over_tls(pooler: Pooler, method: str) -> None:
    """SCRAM is bound to the connection then."""
    rule(pooler, f"hostssl all all all {method}\n")
    binding = {"channel_binding": "require"} if method == "scram-sha-256" else {}
    assert enters(pooler, **NONE, **binding, password="right")
    assert "authentication failed" in refusal(pooler.dsn(**NONE, **binding, password="wrong"))


def test_set_that_would_leave_certificates_unchecked(pooler: Pooler, pairs: dict[str, Pair]) -> None:
    """auth_type=cert and a weaker sslmode exclude each other, in whatever order they are set."""
    rule(pooler, "")
    with pytest.raises(Exception, match="auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"):
        pooler.console("SET auth_type = 'cert'")
    only_certificates(pooler)
    with pooler.expect_log("TLS setup failed: auth_type=cert requires"):
        pooler.console("SET client_tls_sslmode = 'prefer'")
    assert enters(pooler, **shows(pairs["bouncer"]))
    assert "certificate required" in refusal(pooler.dsn(**NONE))
    pooler.reload()
