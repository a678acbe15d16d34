"""TLS from clients: every mode from both sides, certificates right and wrong, much data, reloads."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account
from tests.support.certificates import Authority, Pair
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SHOWN = re.compile(r"TLSv1\.3/TLS_[A-Z0-9_]+$")


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "tls", owner)


@pytest.fixture(scope="module")
def stranger(work: Path, owner: Account, authority: Authority) -> Authority:
    """Signs certificates that nobody here trusts."""
    return Authority(work / "tls", owner, "stranger")


@pytest.fixture(scope="module")
def served(authority: Authority) -> Pair:
    return authority.sign("server", "/CN=pooler.example", "DNS:localhost,IP:127.0.0.1")


@pytest.fixture(scope="module")
def client(authority: Authority) -> Pair:
    return authority.sign("bouncer", "/O=Tests/CN=bouncer", ours=True)


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def shared(
    request: pytest.FixtureRequest, start_pooler: StartPooler, authority: Authority, served: Pair
) -> Pooler:
    return start_pooler(workers=request.param, client_tls_sslmode="prefer", **settings(authority, served))


def settings(authority: Authority, pair: Pair) -> dict[str, Any]:
    return {
        "client_tls_key_file": pair.key,
        "client_tls_cert_file": pair.cert,
        "client_tls_ca_file": authority.cert,
    }


@pytest.fixture
def pooler(shared: Pooler, authority: Authority, served: Pair) -> Pooler:
    """With its first settings, whatever the test before did."""
    first = {"client_tls_sslmode": "prefer", "auth_type": "trust", **settings(authority, served)}
    if any(shared.settings[name] != value for name, value in first.items()):
        shared.configure(**first)
    return shared


def uses_tls(pooler: Pooler, **values: Any) -> bool:
    """Whether a client with these parameters gets in encrypted, as both sides see it."""
    with psycopg.connect(pooler.dsn(**values), autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        pid = connection.info.backend_pid
        ours = connection.pgconn.ssl_in_use
        shown = [row["tls"] for row in pooler.show("clients", database="p0") if row["user"] == "bouncer"]
        assert any(SHOWN.match(text) for text in shown) == ours, (pid, shown)
        return bool(ours)


def refused(pooler: Pooler, **values: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(pooler.dsn(**values))
    return str(caught.value)


# Modes.


@pytest.mark.parametrize("mode", MODES[:4])
def test_modes_against_what_clients_want(pooler: Pooler, mode: str) -> None:
    if mode != pooler.settings["client_tls_sslmode"]:
        pooler.configure(client_tls_sslmode=mode)
    if mode == "require":
        assert "SSL required" in refused(pooler, sslmode="disable")
    else:
        assert not uses_tls(pooler, sslmode="disable")
    if mode == "disable":
        assert not uses_tls(pooler, sslmode="prefer")
        assert "server does not support SSL" in refused(pooler, sslmode="require")
    else:
        assert uses_tls(pooler, sslmode="prefer")
        assert uses_tls(pooler, sslmode="require")


@pytest.mark.parametrize("mode", MODES[4:])
def test_certificates_of_clients_are_demanded(
    pooler: Pooler, mode: str, client: Pair, stranger: Authority, authority: Authority
) -> None:
    shown: dict[str, Any] = {"sslmode": "require", "sslcert": client.cert, "sslkey": client.key}
    wrong = stranger.sign("bouncer", "/CN=bouncer", ours=True)
    old = authority.sign("old", "/CN=bouncer", days=-1, ours=True)
    with pooler.connect(user=SUPERUSER, dbname="pgbouncer", **shown) as console, console.cursor() as cursor:
        cursor.execute(f"SET client_tls_sslmode = '{mode}'")
        assert uses_tls_with(pooler, **shown)
        assert "SSL required" in refused(pooler, sslmode="disable")
        # TLS 1.3: the client learns of it only when it reads
        assert "certificate required" in refused(pooler, sslmode="require", sslcert="", sslkey="")
        for pair, problem in ((wrong, "self-signed|unable to get local issuer"), (old, "expired")):
            with pooler.expect_log(f"TLS handshake error: .*({problem})"):
                refused(pooler, sslmode="require", sslcert=pair.cert, sslkey=pair.key)
        cursor.execute("SET client_tls_sslmode = 'prefer'")


def uses_tls_with(pooler: Pooler, **values: Any) -> bool:
    with psycopg.connect(pooler.dsn(**values), autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        return bool(connection.pgconn.ssl_in_use)


def test_a_certificate_that_is_shown_is_verified_in_every_mode(
    pooler: Pooler, stranger: Authority, client: Pair
) -> None:
    wrong = stranger.sign("other", "/CN=bouncer", ours=True)
    assert uses_tls_with(pooler, sslmode="require", sslcert=client.cert, sslkey=client.key)
    with pooler.expect_log("TLS handshake error: certificate verify failed"):
        refused(pooler, sslmode="require", sslcert=wrong.cert, sslkey=wrong.key)


def test_clients_verify_us(pooler: Pooler, authority: Authority, stranger: Authority) -> None:
    assert uses_tls(pooler, sslmode="verify-full", sslrootcert=authority.cert)
    assert uses_tls(pooler, sslmode="verify-full", sslrootcert=authority.cert, host="localhost")
    assert "certificate verify failed" in refused(pooler, sslmode="verify-ca", sslrootcert=stranger.cert)


def test_direct_tls(pooler: Pooler) -> None:
    assert uses_tls(pooler, sslmode="require", sslnegotiation="direct")


def test_log_of_a_login(pooler: Pooler) -> None:
    with pooler.expect_log(r"login attempt: db=p0 user=bouncer tls=TLSv1\.3/TLS_\w+ replication=no"):
        uses_tls(pooler, sslmode="require")
    with pooler.expect_log(r"login attempt: db=p0 user=bouncer tls=no"):
        uses_tls(pooler, sslmode="disable")


def test_unix_sockets_have_no_tls(pooler: Pooler) -> None:
    with pooler.wire(unix=True) as wire:
        wire.send((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
        assert wire.read_exactly(1) == b"N"
    assert not uses_tls(pooler, host=pooler.directory, sslmode="prefer")


def test_console(pooler: Pooler) -> None:
    with (
        pooler.connect(dbname="pgbouncer", user=SUPERUSER, sslmode="require") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW CLIENTS")
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert any(SHOWN.match(row["tls"]) for row in rows if row["database"] == "pgbouncer")


# Versions and ciphers.


def test_protocols_and_ciphers(pooler: Pooler) -> None:
    with pooler.configured(client_tls_protocols="tlsv1.2", client_tls_ciphers="ECDHE+AESGCM"):
        with psycopg.connect(pooler.dsn(sslmode="require")) as connection:
            connection.execute("SELECT 1")
            (row,) = pooler.show("clients", database="p0")
            assert re.match(r"TLSv1\.2/ECDHE-ECDSA-AES\d+-GCM-SHA\d+", row["tls"])
        assert refused(pooler, sslmode="require", ssl_min_protocol_version="TLSv1.3")
    with (
        pooler.configured(
            client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256", client_tls_ecdhcurve="prime256v1"
        ),
        psycopg.connect(pooler.dsn(sslmode="require")) as connection,
    ):
        connection.execute("SELECT 1")
        (row,) = pooler.show("clients", database="p0")
        assert row["tls"].startswith("TLSv1.3/TLS_CHACHA20_POLY1305_SHA256")


# Data.


def test_much_data_both_ways_with_a_slow_reader(pooler: Pooler) -> None:
    rows = 200_000
    with psycopg.connect(pooler.dsn(sslmode="require"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS tls_copy (n int, t text)")
        connection.execute("TRUNCATE tls_copy")
        cursor = connection.cursor()
        sent = hashlib.sha256()
        with cursor.copy("COPY tls_copy FROM STDIN") as copy:
            for n in range(rows):
                line = f"{n}\t{'x' * (n % 97)}\n".encode()
                sent.update(line)
                copy.write(line)
        received = hashlib.sha256()
        with cursor.copy("COPY (SELECT * FROM tls_copy ORDER BY n) TO STDOUT") as copy:
            for reads, block in enumerate(copy, 1):
                received.update(block)
                if reads % 40_000 == 0:  # the pooler's writes get stuck meanwhile
                    threading.Event().wait(0.3)
        assert received.digest() == sent.digest()
        connection.execute("DROP TABLE tls_copy")


def test_messages_larger_than_a_record(pooler: Pooler) -> None:
    text = os.urandom(300_000).hex()
    with psycopg.connect(pooler.dsn(sslmode="require"), autocommit=True) as connection:
        for _ in range(3):
            assert connection.execute("SELECT %s::text", (text,)).fetchone() == (text,)


def test_pipelines_of_many_clients(pooler: Pooler) -> None:
    """More clients than servers, several queries in flight each: everybody gets his own replies."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(pooler.dsn(sslmode="require"), autocommit=True) as connection:
                for turn in range(20):
                    with connection.pipeline():
                        cursors = [
                            connection.execute("SELECT %s::int", (number * 1000 + i,)) for i in range(10)
                        ]
                        found = [cursor.fetchone() for cursor in cursors]
                    assert found == [(number * 1000 + i,) for i in range(10)], turn
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[:3]


def test_cancel(pooler: Pooler) -> None:
    """libpq 17 and later send a cancel request over TLS, too."""
    with psycopg.connect(pooler.dsn(sslmode="require"), autocommit=True) as connection:
        timer = threading.Timer(0.5, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


# Changes.


def test_changed_files_count_for_new_connections(pooler: Pooler, authority: Authority, served: Pair) -> None:
    other = authority.sign("server2", "/CN=second.example", "IP:127.0.0.1")
    texts = {path: path.read_bytes() for path in (served.cert, served.key)}
    with psycopg.connect(pooler.dsn(sslmode="require"), autocommit=True) as old:
        try:
            served.cert.write_bytes(other.cert.read_bytes())
            served.key.write_bytes(other.key.read_bytes())
            assert "pooler.example" in subject(pooler)
            pooler.reload()
            assert "second.example" in subject(pooler)
            assert old.execute("SELECT 1").fetchone() == (1,)
        finally:
            for path, text in texts.items():
                path.write_bytes(text)
        pooler.reload()
        assert "pooler.example" in subject(pooler)


def subject(pooler: Pooler) -> str:
    """Of the certificate that a new client is shown."""
    result = subprocess.run(
        ["openssl", "s_client", "-starttls", "postgres", "-connect", f"{pooler.host}:{pooler.port}"],
        input="", capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    found = re.search(r"^subject=.*$", result.stdout, re.MULTILINE)
    assert found, result.stdout + result.stderr
    return found[0]


def test_a_set_up_that_fails_leaves_the_old_one(pooler: Pooler, served: Pair, authority: Authority) -> None:
    wrong = authority.sign("mismatch", "/CN=x")
    with pooler.expect_log("TLS setup failed: .*mismatch"), pooler.expect_log("keeping old configuration"):
        pooler.configure(client_tls_key_file=wrong.key)
    assert uses_tls(pooler, sslmode="require")
    with pooler.expect_log("TLS setup failed: invalid client_tls_cert_file: .*No such file"):
        pooler.configure(client_tls_key_file=served.key, client_tls_cert_file="/nowhere.crt")
    assert uses_tls(pooler, sslmode="require")
    victim = pooler.workers()[0]
    os.kill(victim, 9)
    pooler.wait_for_workers(len(pooler.workers()) or int(str(pooler.settings["workers"])), without=victim)
    wait_for(lambda: len(pooler.workers()) == pooler.settings["workers"], 5, "the replacement")
    for _ in range(6):  # whichever worker: a new one has what counts, not what lies on the disk
        assert uses_tls(pooler, sslmode="require")


def test_set_on_the_console(pooler: Pooler) -> None:
    with pooler.connect(dbname="pgbouncer", user=SUPERUSER) as console, console.cursor() as cursor:
        cursor.execute("SET client_tls_protocols = 'tlsv1.2'")
        assert cursor.statusmessage == "SET client_tls_protocols=tlsv1.2"
        assert not console.notices
        assert refused(pooler, sslmode="require", ssl_min_protocol_version="TLSv1.3")
        cursor.execute("SET client_tls_protocols = 'nonsense'")
        assert "TLS settings could not be applied, still using old configuration" in console.notices[-1]
        assert refused(pooler, sslmode="require", ssl_min_protocol_version="TLSv1.3")
        cursor.execute("SET client_tls_protocols = 'secure'")
    assert uses_tls(pooler, sslmode="require", ssl_min_protocol_version="TLSv1.3")


def test_no_start_without_its_files(make_pooler: Any, authority: Authority, served: Pair) -> None:
    pooler = make_pooler(start=False, client_tls_sslmode="require", client_tls_key_file=served.key)
    pooler.launch()
    assert pooler.wait() == 1
    assert "client_tls_key_file and client_tls_cert_file must be set" in pooler.log.read_text()


# SCRAM, bound to the connection.


def test_channel_binding(pooler: Pooler) -> None:
    pooler.configure(auth_type="scram-sha-256")
    try:
        with psycopg.connect(
            pooler.dsn(user="suser", sslmode="require", channel_binding="require"), autocommit=True
        ) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(
            pooler.dsn(user="suser", sslmode="require", channel_binding="disable")
        ) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(pooler.dsn(user="suser", sslmode="disable")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert "password authentication failed" in refused(
            pooler, user="suser", sslmode="require", password="wrong"
        ) or "SASL authentication failed" in refused(
            pooler, user="suser", sslmode="require", password="wrong"
        )
    finally:
        pooler.passwords[SUPERUSER] = "secret"
        pooler.settings["auth_type"] = "trust"
        pooler.write_config()
        pooler.signal(signal.SIGHUP)  # the console's user has no password
        wait_for(lambda: pooler_trusts(pooler), 5, "trust again")


def pooler_trusts(pooler: Pooler) -> bool:
    try:
        return uses_tls_with(pooler, sslmode="require")
    except psycopg.OperationalError:
        return False
