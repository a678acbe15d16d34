"""HTTP of a running pooler: who may ask, what is told, what it bears, and that no client depends on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account, free_port
from pooler.monitor.api import SHOWN
from tests.support.bank import Bank
from tests.support.certificates import Authority
from tests.support.http import Reply, ask, monitor_pid, raw
from tests.support.pooler import EXTENDED, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import open_descriptors, wait_for
from tests.support.restart import Restarts
from tests.support.stored_secrets import scram_secret
from tests.system.conftest import MakeShared

MakePooler = Callable[..., Pooler]

CLOSE = b"Host: x\r\nConnection: close\r\n\r\n"
ADMIN = ("postgres", "")


class Guarded(Pooler):
    """Its users have passwords: in clear, as a SCRAM verifier, and a stored MD5 that is not theirs."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, auth_type="md5", stats_users="puser, suser, muser", **keywords)
        self.passwords |= {"suser": scram_secret("sfoo"), "muser": "md5" + "0" * 32, "postgres": "root"}

    def pg_password(self, user: str) -> str:
        return "root" if user == "postgres" else super().pg_password(user)


class Asked:
    """A pooler and its port of HTTP."""

    def __init__(self, pooler: Pooler) -> None:
        self.pooler = pooler

    @property
    def port(self) -> int:
        return int(str(self.pooler.settings["http_listen_port"]))

    def get(self, path: str, login: tuple[str, str] | None = None, **more: Any) -> Reply:
        return ask(self.port, path, login, **more)


@pytest.fixture
def asked(make_pooler: MakePooler) -> Asked:
    return Asked(make_pooler(http_listen_port=free_port()))


@pytest.fixture(scope="module")
def guarded(make_shared: MakeShared) -> Asked:
    return Asked(make_shared(Guarded, http_listen_port=free_port()))


# -- health


def test_health_needs_no_login(guarded: Asked) -> None:
    for path in ("/healthz", "/readyz"):
        assert (guarded.get(path).status, guarded.get(path).text) == (200, "ok\n")
        head = guarded.get(path, method="HEAD")
        assert (head.status, head.text, head.headers["Content-Length"]) == (200, "", "3")


def test_not_ready_while_paused(asked: Asked) -> None:
    asked.pooler.console("PAUSE")
    assert (asked.get("/readyz").status, asked.get("/readyz").text) == (503, "paused\n")
    assert asked.get("/healthz").status == 200
    asked.pooler.console("RESUME")
    assert asked.get("/readyz").status == 200
    with asked.pooler.connect(dbname="pgbouncer", user="postgres") as console:
        console.cursor().execute("SUSPEND")
        assert asked.get("/readyz").text == "suspended\n"


def test_not_ready_while_it_ends(asked: Asked) -> None:
    with asked.pooler.connect() as client:
        client.cursor().execute("SELECT 1")
        asked.pooler.signal(signal.SIGTERM)
        wait_for(lambda: asked.get("/readyz").status == 503, 5, "not to be ready")
        assert asked.get("/readyz").text == "shutting down\n"
        assert asked.get("/metrics", ADMIN).status == 200
    assert asked.pooler.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        asked.get("/healthz")


def test_a_stopped_worker_is_told(make_pooler: MakePooler) -> None:
    asked = Asked(make_pooler(http_listen_port=free_port(), worker_timeout=0))
    stopped, other = asked.pooler.show("workers")
    os.kill(stopped["pid"], signal.SIGSTOP)
    try:
        wait_for(lambda: asked.get("/healthz").status == 503, 30, "its silence to be told")
        assert asked.get("/healthz").text.startswith(f"worker {stopped['worker']}: silent for ")
        assert asked.get("/readyz").status == 200, f"worker {other['worker']} serves"
    finally:
        os.kill(stopped["pid"], signal.SIGCONT)
    wait_for(lambda: asked.get("/healthz").status == 200, 10, "it to be well again")


def test_a_stopped_master_is_told(asked: Asked) -> None:
    asked.get("/healthz")  # there is a monitor
    asked.pooler.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: asked.get("/healthz").status == 503, 30, "its silence to be told")
        assert asked.get("/healthz").text.startswith("master: silent for ")
    finally:
        asked.pooler.signal(signal.SIGCONT)
    wait_for(lambda: asked.get("/healthz").status == 200, 10, "it to be well again")


# -- access


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("puser", "pfoo", 200),  # in clear
        ("suser", "sfoo", 200),  # a SCRAM verifier
        ("postgres", "root", 200),  # one of admin_users
        ("muser", "mfoo", 401),  # the stored secret is another's
        ("puser", "wrong", 401),
        ("suser", "wrong", 401),
        ("puser", "", 401),
        ("bouncer", "", 401),  # no user of the console
        ("stranger", "pfoo", 401),
    ],
)
def test_users_of_the_console_log_in(guarded: Asked, user: str, password: str, status: int) -> None:
    for _ in range(2):  # what was right is remembered, what was wrong is not
        reply = guarded.get("/metrics", (user, password))
        assert reply.status == status
        assert ("pgbouncer_up 1" in reply.text) == (status == 200)
    if status == 401:
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="pooler", charset="UTF-8"'


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Basic cHVzZXI=", "Bearer cHVzZXI6cGZvbw=="])
def test_other_headers_let_nobody_in(guarded: Asked, header: str) -> None:
    assert guarded.get("/metrics", Authorization=header).status == 401


def test_a_new_password_counts_after_a_reload(make_bouncer: Callable[..., Any]) -> None:
    asked = Asked(make_bouncer(Guarded, http_listen_port=free_port()))
    assert asked.get("/metrics", ("puser", "pfoo")).status == 200
    asked.pooler.passwords["puser"] = "another"
    asked.pooler.configure()
    wait_for(lambda: asked.get("/metrics", ("puser", "pfoo")).status == 401, 5, "the old one to be wrong")
    assert asked.get("/metrics", ("puser", "another")).status == 200


def test_where_names_are_believed_by_the_console_they_are_here(asked: Asked) -> None:
    assert asked.get("/metrics", ("bouncer", "")).status == 200
    assert asked.get("/metrics", ("puser", "")).status == 401
    assert asked.get("/metrics").status == 401


def test_only_addresses_that_are_named(asked: Asked) -> None:
    asked.pooler.configure(http_allow="127.0.0.3, 10.0.0.0/8")
    wait_for(lambda: asked.get("/healthz").status == 403, 5, "the new list")
    assert asked.get("/healthz").text == "http_allow does not name your address\n"
    assert asked.get("/healthz", source="127.0.0.3").status == 200
    assert asked.get("/healthz", source="127.0.0.4").status == 403
    asked.pooler.configure(http_allow="*")
    wait_for(lambda: asked.get("/healthz").status == 200, 5, "the new list")


# -- TLS


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "http-tls", owner)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.cert))


def test_tls(make_pooler: MakePooler, authority: Authority) -> None:
    pair = authority.sign("monitor", "/CN=monitor", "IP:127.0.0.1")
    asked = Asked(
        make_pooler(
            http_listen_port=free_port(),
            http_tls_sslmode="require",
            http_tls_key_file=pair.key,
            http_tls_cert_file=pair.cert,
        )
    )
    context = trusting(authority)
    assert asked.get("/healthz", tls=context).status == 200
    assert "pgbouncer_up 1" in asked.get("/metrics", ADMIN, tls=context).text
    assert raw(asked.port, b"GET /healthz HTTP/1.1\r\n" + CLOSE) in (b"", b"\x15\x03\x01\x00\x02\x02\x46")
    asked.pooler.configure(http_tls_sslmode="verify-ca", http_tls_ca_file=authority.cert)

    def wants_a_certificate() -> bool:
        try:
            return asked.get("/healthz", tls=trusting(authority)).status == 0
        except (ssl.SSLError, ConnectionResetError):
            return True

    wait_for(wants_a_certificate, 5, "the new mode")
    client = authority.sign("prometheus", "/CN=prometheus", ours=True)
    context.load_cert_chain(client.cert, client.key)
    assert asked.get("/healthz", tls=context).status == 200
    asked.pooler.configure(http_tls_sslmode="disable")
    wait_for(lambda: raw(asked.port, b"GET /healthz HTTP/1.1\r\n" + CLOSE)[9:12] == b"200", 5, "no TLS")


# -- JSON


@pytest.mark.parametrize("name", SHOWN)
def test_rows_are_those_of_the_console(guarded: Asked, name: str) -> None:
    reply = guarded.get(f"/api/v1/{name}", ("postgres", "root"))
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    rows = json.loads(reply.text)
    more = " EXTENDED" if name in EXTENDED else ""
    shown = guarded.pooler.console(f"SHOW {name}{more}")
    if name in ("clients", "sockets", "active_sockets"):  # there the console shows who asks, or asked before
        shown, rows = ([row for row in some if row["database"] != "pgbouncer"] for some in (shown, rows))
    assert [list(row) for row in rows] == [list(row) for row in shown]
    if name in ("config", "databases", "version", "slots", "workers"):
        words = ("heartbeat_age_ms", "loop_lag_us", "current_client_connections", "clients")
        for one, other in zip(rows, shown, strict=True):
            assert {k: v for k, v in one.items() if k not in words} == {
                k: v for k, v in other.items() if k not in words
            }


def test_rows_for_those_who_may_see_them(guarded: Asked) -> None:
    assert guarded.get("/api/v1/pools").status == 401
    assert guarded.get("/api/v1/pools", ("puser", "pfoo")).status == 200
    assert guarded.get("/api/v1/fds", ("puser", "pfoo")).status == 403
    assert guarded.get("/api/v1/fds", ("postgres", "root")).text == "[]\n"
    for name in ("", "nothing", "help", "../metrics", "reload", "pools/x"):
        reply = guarded.get(f"/api/v1/{name}", ("puser", "pfoo"))
        assert (reply.status, reply.text.splitlines()[1]) == (404, "/api/v1/config")


def test_names_that_are_not_utf_8(asked: Asked) -> None:
    asked.pooler.passwords["u\udcff"] = "x"
    asked.pooler.configure()

    def users() -> set[str]:
        return {row["name"] for row in json.loads(asked.get("/api/v1/users", ADMIN).text)}

    wait_for(lambda: "u\\xff" in users(), 5, "the new user")
    assert 'pooler_user_clients{user="u\\\\xff"} 0\n' in asked.get("/metrics", ADMIN).text


# -- bad input


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n" + CLOSE, b"404"),
        (b"GET /%00%ff/../healthz HTTP/1.1\r\n" + CLOSE, b"404"),
        (b"DELETE /metrics HTTP/1.1\r\n" + CLOSE, b"405"),
        (b"\xff\xfe\x00\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/9.9\r\n" + CLOSE, b"400"),
        (b"GET /healthz HTTP/x\r\n" + CLOSE, b"400"),
        (b"GET /healthz HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n" + CLOSE, b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + CLOSE, b"414"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n" + CLOSE, b"431"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + CLOSE, b"431"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n" + CLOSE, b"413"),
        (b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"5\r\nhello\r\n", b"413"),
    ],
)
def test_wrong_requests_are_answered(guarded: Asked, request_: bytes, status: bytes) -> None:
    answer = raw(guarded.port, request_)
    assert answer.split(b" ", 2)[1] == status, answer[:200]
    assert guarded.get("/healthz").status == 200


def test_a_slow_request_is_ended(guarded: Asked) -> None:
    assert raw(guarded.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", 60).startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_is_closed_without_a_word(guarded: Asked) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), 60) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert received.endswith(b"\r\n\r\nok\n")


def test_a_thousand_connections_at_once(guarded: Asked) -> None:
    """Each gets its answer, and the process keeps no memory for them."""
    ask(guarded.port, "/healthz")
    with contextlib.ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", guarded.port), 60))
            for _ in range(1000)
        ]
        for sock in socks:
            sock.sendall(b"GET /healthz HTTP/1.1\r\n" + CLOSE)
        answers = [sock.recv(65536)[:12] for sock in socks]
    assert answers == [b"HTTP/1.1 200"] * 1000
    pid = monitor_pid(guarded.pooler)
    assert _rss_kb(pid) < 80_000
    wait_for(lambda: len(open_descriptors(pid)) < 40, 10, "its descriptors to be closed")


def test_a_client_that_does_not_read_holds_nobody_up(asked: Asked) -> None:
    with socket.create_connection(("127.0.0.1", asked.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic cG9zdGdyZXM6\r\n\r\n")
        assert asked.get("/metrics", ADMIN).status == 200


def _rss_kb(pid: int) -> int:
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1])


# -- its life


def test_off_unless_a_port_is_set(pooler: Pooler) -> None:
    assert "monitor" not in pooler.log.read_text()


def test_nobody_notices_its_death(asked: Asked, pg: Postgres) -> None:
    bank = Bank(pg, asked.pooler.dsn, tellers=4)
    with bank:
        bank.wait_for_commits(20)
        for _ in range(5):
            killed = monitor_pid(asked.pooler)
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: monitor_pid(asked.pooler) != killed, 20, "another monitor")  # noqa: B023
            assert asked.get("/metrics", ADMIN).status == 200
            bank.wait_for_commits(20)
    bank.check()
    assert not bank.failures
    assert "pooler_monitor_restarts_total 5\n" in asked.get("/metrics", ADMIN).text
    assert [row["restarts"] for row in asked.pooler.show("workers")] == [0, 0]


def test_a_stuck_one_is_replaced(make_pooler: MakePooler) -> None:
    asked = Asked(make_pooler(http_listen_port=free_port(), worker_timeout=2))
    stuck = monitor_pid(asked.pooler)
    os.kill(stuck, signal.SIGSTOP)
    with asked.pooler.expect_log(rf"killing the monitor \(pid {stuck}\): silent for", timeout_s=20):
        pass
    assert asked.get("/healthz").status == 200


def test_it_holds_no_connection_to_postgresql(asked: Asked, pg: Postgres) -> None:
    """Or a server that is closed would not end before it."""
    with asked.pooler.connect() as one, asked.pooler.connect() as two:
        for client in (one, two):
            client.cursor().execute("BEGIN; SELECT 1")
        os.kill(monitor_pid(asked.pooler), signal.SIGKILL)  # another is forked beside open servers
        wait_for(lambda: asked.get("/healthz").status == 200, 10, "another monitor")
    here = [
        target
        for target in open_descriptors(monitor_pid(asked.pooler)).values()
        if target.startswith("socket:")
    ]
    workers = [open_descriptors(row["pid"]).values() for row in asked.pooler.show("workers")]
    shared = {target for target in here if any(target in targets for targets in workers)}
    assert shared == set()
    asked.pooler.console("RECONNECT")
    wait_for(lambda: not pg.backends("p0"), 10, "the servers to end")


def test_another_instance_takes_its_port_over(asked: Asked) -> None:
    with Restarts(asked.pooler) as restarts:
        first = monitor_pid(asked.pooler)
        with asked.pooler.connect() as client:  # the old instance stays for it
            client.cursor().execute("SELECT 1")
            restarts.again()
            wait_for(lambda: not Path(f"/proc/{first}").exists(), 10, "the old monitor to end")
            assert asked.get("/healthz").status == 200
            assert monitor_pid(asked.pooler) != first
        restarts.wait_for_old()
        assert asked.get("/readyz").status == 200


def test_another_port_at_a_takeover(asked: Asked) -> None:
    with Restarts(asked.pooler) as restarts:
        old = asked.port
        asked.pooler.settings["http_listen_port"] = free_port()
        restarts.again()
        restarts.wait_for_old()
        assert asked.get("/healthz").status == 200
        with pytest.raises(ConnectionRefusedError):
            ask(old, "/healthz")


def test_a_port_in_use_ends_the_start(make_pooler: MakePooler) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pooler = make_pooler(start=False, http_listen_port=port)
        pooler.launch()
        assert pooler.wait() == 1
        text = pooler.log.read_text()
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in text
        assert f"failed to listen on port {port} of any address in http_listen_addr list: 127.0.0.1" in text


def test_it_ends_with_its_master(asked: Asked) -> None:
    monitor = monitor_pid(asked.pooler)
    asked.pooler.signal(signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{monitor}").exists(), 10, "its end")


def test_the_collector_of_figures_counts_what_is_there(asked: Asked) -> None:
    asked.pooler.sql("SELECT 1")
    text = asked.get("/metrics", ADMIN).text
    assert 'pgbouncer_stats_queries_pooled_total{database="p0"} 1\n' in text
    assert 'pgbouncer_stats_totals_queries_pooled_total{database="p0"} 1\n' in text
