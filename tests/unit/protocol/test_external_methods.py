"""Logins by rules, by the account of a unix socket's peer, by certificate, by a directory and by PAM."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from pooler.auth.method import Method
from pooler.config.ident import Identity, IdentMap
from pooler.errors import ClientFault
from pooler.protocol import frontend, messages
from pooler.protocol.client_login import ClientPolicy, ClientSession, client_login
from pooler.protocol.external_methods import account_name
from pooler.protocol.startup import CancelRequest, StartupPacket
from pooler.protocol.tls import TlsInfo
from tests.unit.protocol.driver import Driver

ME = pwd.getpwuid(os.getuid()).pw_name
STARTUP = frontend.startup("me", "db", {})
MAP = IdentMap("m", (Identity(ME, "me"), Identity("/^(.*)@x$", "\\1")))


def begin(method: Method | None, packet: bytes = STARTUP, known: bool = True, **policy: Any) -> Driver[Any]:
    """A client `me` whose password, where there is one, is `secret`."""
    chosen = ClientPolicy("hba", mock_secret=b"m", choose=lambda packet, tls: method, **policy)
    driver: Driver[ClientSession | CancelRequest] = Driver(
        client_login(chosen), {"me": "secret", ME: ""} if known else {}
    )
    driver.outside = {"me": b"outside"}
    return driver if not packet else driver.feed(packet)


def refused(method: Method | None, **arguments: Any) -> ClientFault:
    with pytest.raises(ClientFault) as caught:
        begin(method, **arguments)
    return caught.value


def reasons(fault: ClientFault) -> list[str]:
    return list(getattr(fault, "__notes__", []))


# Rules.


def test_no_rule() -> None:
    assert refused(None).message == "no authentication method is found"


def test_reject() -> None:
    fault = refused(Method("reject"))
    assert fault.message == "login rejected"


def test_unknown_method() -> None:
    assert refused(Method("kerberos")).message == "bouncer config error"


def test_rules_see_packet_and_tls() -> None:
    seen: list[tuple[str, str, bool]] = []

    def choose(packet: StartupPacket, tls: bool) -> Method:
        seen.append((packet.user, packet.database, tls))
        return Method("trust")

    policy = ClientPolicy("hba", mock_secret=b"m", choose=choose, tls_offered=True)
    Driver(client_login(policy), {"me": "x"}).feed(STARTUP).finished()
    Driver(client_login(policy), {"me": "x"}).feed(frontend.ssl_request()).feed(STARTUP).finished()
    assert seen == [("me", "db", False), ("me", "db", True)]


@pytest.mark.parametrize("name", ["md5", "plain", "scram-sha-256"])
def test_rules_with_passwords(name: str) -> None:
    """A method of a rule asks as it does as auth_type."""
    by_rule, by_type = (
        begin(Method(name), random=bytes),
        Driver(client_login(ClientPolicy(name, mock_secret=b"m", random=bytes)), {"me": "secret"}).feed(
            STARTUP
        ),
    )
    assert by_rule.take_sent() == by_type.take_sent()


# peer


def test_account_name() -> None:
    assert account_name(os.getuid()) == ME
    assert account_name(2**31 - 5) is None


UNIX: dict[str, Any] = {"is_unix": True, "peer_uid": os.getuid()}


def test_peer() -> None:
    driver = begin(Method("peer"), packet=frontend.startup(ME, "db", {}), **UNIX)
    assert driver.finished().user == ME
    assert driver.offloaded == ["account_name"], "the answer may come from a directory"
    assert not driver.sent


def test_peer_by_map() -> None:
    assert begin(Method("peer", MAP), **UNIX).finished().user == "me"
    fault = refused(Method("peer", MAP), packet=frontend.startup(ME, "db", {}), **UNIX)
    assert (fault.message, reasons(fault)) == (
        "unix socket login rejected",
        ["ident map m cannot be matched"],
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {**UNIX},  # another account's name
        {**UNIX, "packet": frontend.startup(ME, "db", {}), "known": False},
        {"packet": frontend.startup(ME, "db", {})},  # TCP
        {"packet": frontend.startup(ME, "db", {}), "peer_uid": os.getuid()},
        {"packet": frontend.startup(ME, "db", {}), "is_unix": True, "peer_uid": 2**31 - 5},
        {"packet": frontend.startup(ME, "db", {}), "is_unix": True, "peer_uid": None},
    ],
)
def test_peer_refused(arguments: dict[str, Any]) -> None:
    assert refused(Method("peer"), **arguments).message == "unix socket login rejected"


# cert


def tls_of(name: str | None) -> TlsInfo:
    return TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", name, name and f"/CN={name}", b"hash")


def over_tls(method: Method, info: TlsInfo, known: bool = True) -> ClientSession:
    driver = begin(method, packet=b"", known=known, tls_offered=True)
    driver.tls_info = info
    session = driver.feed(frontend.ssl_request()).feed(STARTUP).finished()
    assert isinstance(session, ClientSession)
    return session


def test_certificate() -> None:
    session = over_tls(Method("cert"), tls_of("me"))
    assert (session.user, session.tls) == ("me", tls_of("me"))
    assert over_tls(Method("cert", MAP), tls_of("me@x")).user == "me"


def test_certificate_with_tls_from_the_first_byte() -> None:
    assert begin(Method("cert"), tls=tls_of("me")).finished().user == "me"


@pytest.mark.parametrize(
    ("method", "info", "known", "reason"),
    [
        (Method("cert"), tls_of(None), True, "TLS client certificate required"),
        (Method("cert"), tls_of(""), True, "TLS client certificate required"),
        (Method("cert"), tls_of("you"), True, "TLS certificate name mismatch"),
        (Method("cert"), tls_of("ME"), True, "TLS certificate name mismatch"),
        (Method("cert", MAP), tls_of("me"), True, "ident map: m does not have a match"),
        (Method("cert", MAP), tls_of("you@x"), True, "ident map: m does not have a match"),
        (Method("cert"), tls_of("me"), False, None),
    ],
)
def test_certificate_refused(method: Method, info: TlsInfo, known: bool, reason: str | None) -> None:
    with pytest.raises(ClientFault) as caught:
        over_tls(method, info, known)
    assert caught.value.message == "certificate authentication failed"
    assert reasons(caught.value) == ([] if reason is None else [reason])


def test_certificate_without_tls() -> None:
    fault = refused(Method("cert"))
    assert (fault.message, reasons(fault)) == (
        "certificate authentication failed",
        ["TLS connection required"],
    )


# ldap, pam


@pytest.mark.parametrize(("name", "asked"), [("ldap", [("me", "db")]), ("pam", [])])
def test_password_of_somebody_else(name: str, asked: list[tuple[str, str]]) -> None:
    """It is asked for in clear text, and is then good for servers, too; PAM knows its users itself."""
    driver = begin(Method(name))
    assert driver.take_sent() == messages.authentication_cleartext()
    session = driver.feed(frontend.password(b"outside")).finished()
    assert session.password == b"outside"
    assert "outside" not in repr(session)
    assert driver.checked == [(name, "me", b"outside")]
    assert driver.asked == asked


@pytest.mark.parametrize(
    ("name", "password", "known", "checked"),
    [
        ("ldap", b"secret", True, True),  # of auth_file: it is not asked
        ("ldap", b"", True, False),  # would be an anonymous login, which succeeds
        ("ldap", b"outside", False, True),  # takes as long as for others
        ("pam", b"secret", True, True),
        ("pam", b"", True, False),
    ],
)
def test_password_refused(name: str, password: bytes, known: bool, checked: bool) -> None:
    driver = begin(Method(name), known=known)
    driver.outside[""] = b""
    with pytest.raises(ClientFault) as caught:
        driver.feed(frontend.password(password))
    assert caught.value.message == f"{name.upper()} authentication failed"
    assert bool(driver.checked) == checked


def test_unknown_user_of_pam_is_its_own_affair() -> None:
    assert begin(Method("pam"), known=False).feed(frontend.password(b"outside")).finished().user == "me"
