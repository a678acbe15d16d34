"""The login at a server, from the first byte we send until it is ready for queries.

The server may be an impostor or broken: each message is bounded, their number is, and whatever does
not belong at its place is a `ServerFault`. What PostgreSQL says itself (`from_server`) goes to the clients
unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pooler.auth import scram, scram_client
from pooler.auth.passwords import Credential, md5_answer, md5_secret
from pooler.auth.scram import ScramKeys
from pooler.errors import ServerFault
from pooler.protocol import codes, frontend, messages
from pooler.protocol.conversation import Conversation, NeedByte, NeedMessage, Offload, Pending, Send, StartTLS
from pooler.protocol.tls import TlsInfo

TlsMode = Literal["disable", "prefer", "require"]
ChannelBinding = Literal["disable", "prefer", "require"]


@dataclass(frozen=True)
class ServerTarget:
    """Where to log in, as whom, and with what."""

    user: str
    database: str
    credential: Credential
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the startup packet
    tls: TlsMode = "disable"  # whether to ask for TLS; the driver knows keys and names to check
    channel_binding: ChannelBinding = "prefer"
    require_auth: tuple[str, ...] = ()  # what the server may ask, or with ! what not; empty: anything
    random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True)
class ServerSession:
    """A server that is ready for queries."""

    backend_pid: int
    cancel_key: bytes = field(repr=False)  # behind the pid in a CancelRequest; empty: the server gave none
    parameters: dict[str, str]  # all that it reported
    notices: tuple[dict[str, str], ...] = ()


def server_login(target: ServerTarget) -> Conversation[ServerSession]:
    """Log in at a server."""
    tls = yield from start_tls(target.tls)
    yield Send(frontend.startup(target.user, target.database, target.parameters))
    inbox = _Inbox()
    yield from _authenticate(target, inbox, tls)
    pid, key, parameters = 0, b"", {}
    while True:
        kind, body = yield from inbox.message()
        if kind == b"S":
            name, value = messages.parse_parameter_status(body)
            parameters[name] = value
        elif kind == b"K":
            pid, key = messages.parse_backend_key_data(body)
        elif kind == b"Z" and messages.parse_ready(body) == codes.STATUS_IDLE:
            return ServerSession(pid, key, parameters, tuple(inbox.notices))
        else:
            raise _unexpected(kind)


def start_tls(mode: TlsMode) -> Conversation[TlsInfo | None]:
    """Ask for TLS if it is wanted; returns what is in use."""
    if mode == "disable":
        return None
    yield Send(frontend.ssl_request())
    answer: bytes = yield NeedByte()
    if answer == b"S":
        pending: bool = yield Pending()
        if pending:  # injected by someone between us; never let it count as sent through TLS (CVE-2021-43767)
            raise ServerFault("received unencrypted data after SSL response")
        info: TlsInfo = yield StartTLS()
        return info
    if answer != b"N":  # b"E" is an ErrorResponse, which nobody between us and the server may forge
        raise ServerFault("received invalid response to SSL negotiation")
    if mode == "require":
        raise ServerFault("server refused SSL")
    return None


class _Inbox:
    """Messages of a server that is logging us in: notices set aside, errors raised, all counted."""

    def __init__(self) -> None:
        self.notices: list[dict[str, str]] = []
        self._count = 0

    def message(self) -> Conversation[tuple[bytes, bytes]]:
        """The next message that is neither a notice nor an error."""
        while True:
            kind, body = yield NeedMessage(codes.MAX_LOGIN_BYTES)
            self._count += 1
            if len(body) > codes.MAX_LOGIN_BYTES or self._count > codes.MAX_LOGIN_MESSAGES:
                raise ServerFault("server login failed: server sends too much")
            if kind == b"E":
                raise messages.server_fault(body, "server login failed")
            if kind != b"N":
                return kind, body
            self.notices.append(messages.parse_error(body))

    def request(self) -> Conversation[tuple[int, bytes]]:
        """The next message, which must be an authentication request."""
        kind, body = yield from self.message()
        if kind != b"R":
            raise _unexpected(kind)
        return messages.parse_authentication(body)


def _authenticate(target: ServerTarget, inbox: _Inbox, tls: TlsInfo | None) -> Conversation[None]:
    """Answer authentication requests until AuthenticationOk. A server asks once, or not at all."""
    code, data = yield from inbox.request()
    _check_requirement(target.require_auth, code)
    if target.channel_binding == "require" and code != codes.AUTH_SASL:
        raise ServerFault(
            "server login failed:"
            " channel binding required but not supported by server's authentication request"
        )
    if code == codes.AUTH_OK:
        return
    if code == codes.AUTH_CLEARTEXT:
        yield Send(frontend.password(_clear_text(target.credential)))
    elif code == codes.AUTH_MD5:
        if len(data) != 4:
            raise ServerFault("server login failed: malformed MD5 authentication request")
        yield Send(frontend.password(md5_answer(_md5_stored(target), data)))
    elif code == codes.AUTH_SASL:
        yield from _scram(target, inbox, data, tls)
    else:
        raise ServerFault(f"server login failed: unsupported authentication method {code}")
    code, _ = yield from inbox.request()
    if code != codes.AUTH_OK:
        raise ServerFault("server login failed: unexpected authentication request")


#: Requests by the words of server_require_auth, with what libpq says about them.
_REQUESTS = {
    codes.AUTH_OK: ("none", "server did not complete authentication"),
    codes.AUTH_CLEARTEXT: ("password", "server requested a cleartext password"),
    codes.AUTH_MD5: ("md5", "server requested a hashed password"),
    codes.AUTH_SASL: ("scram-sha-256", "server requested SASL authentication"),
}


def _check_requirement(required: tuple[str, ...], code: int) -> None:
    """Refuse a server that asks for what it must not get (its name could be anybody's)."""
    if not required or code not in _REQUESTS:
        return
    word, says = _REQUESTS[code]
    allowed = f"!{word}" not in required if required[0].startswith("!") else word in required
    if not allowed:
        text = f'authentication method requirement "{",".join(required)}" failed: {says}'
        raise ServerFault(f"server login failed: {text}")


def _choose(target: ServerTarget, offered: list[bytes], tls: TlsInfo | None) -> tuple[str, bytes, bytes]:
    """The mechanism, and how its first message begins and what the last one signs beside that."""
    certificate = tls.certificate_hash if tls and target.channel_binding != "disable" else None
    if certificate is not None and codes.SCRAM_SHA_256_PLUS.encode() in offered:
        return codes.SCRAM_SHA_256_PLUS, scram_client.BOUND, certificate
    if target.channel_binding == "require":
        reason = "but SSL not in use" if tls is None else "but the server did not offer it"
        raise ServerFault(f"server login failed: channel binding required, {reason}")
    if codes.SCRAM_SHA_256.encode() not in offered:
        raise ServerFault(
            "server login failed: none of the server's SASL authentication mechanisms are supported"
        )
    return codes.SCRAM_SHA_256, scram_client.UNBOUND if certificate is None else scram_client.WOULD_BIND, b""


def _scram(target: ServerTarget, inbox: _Inbox, data: bytes, tls: TlsInfo | None) -> Conversation[None]:
    """SASL with SCRAM-SHA-256. The server has to prove itself too: AuthenticationOk alone is not enough."""
    mechanism, flag, bound_to = _choose(target, data.split(b"\0"), tls)
    if target.credential.kind not in ("plain", "scram"):
        raise _wrong_type()
    nonce = scram_client.new_nonce(target.random(scram_client.NONCE_BYTES))
    first = scram_client.client_first(nonce, flag)
    yield Send(frontend.sasl_initial_response(mechanism, first))
    said = yield from _sasl_step(inbox, codes.AUTH_SASL_CONTINUE)
    server = scram_client.parse_server_first(said, nonce)
    keys = yield from _keys(target.credential, server.salt, server.iterations)
    proof = scram_client.prove(keys, nonce, server, flag + bound_to)
    yield Send(frontend.sasl_response(proof.client_final))
    final = yield from _sasl_step(inbox, codes.AUTH_SASL_FINAL)
    scram_client.check_server_final(final, proof.server_signature)


def _sasl_step(inbox: _Inbox, expected: int) -> Conversation[bytes]:
    code, data = yield from inbox.request()
    if code != expected:
        raise ServerFault("server login failed: unexpected authentication request")
    return data


def _keys(credential: Credential, salt: bytes, iterations: int) -> Conversation[ScramKeys]:
    """Keys of the credential: those of a client passed through, or derived from the password."""
    if credential.keys is not None:
        return credential.keys
    arguments = (credential.text, salt, iterations)
    keys = scram.KEYS.find(*arguments)
    if keys is None:
        keys = yield Offload(scram.KEYS.derive, arguments)
    return keys


def _clear_text(credential: Credential) -> bytes:
    if credential.kind != "plain":
        raise _wrong_type()
    return credential.text


def _md5_stored(target: ServerTarget) -> bytes:
    """The stored form of the password that the server must have."""
    if target.credential.kind == "md5":
        return target.credential.text
    return md5_secret(_clear_text(target.credential), messages.encode(target.user))


def _wrong_type() -> ServerFault:
    return ServerFault("server login failed: wrong password type")


def _unexpected(kind: bytes) -> ServerFault:
    return ServerFault(f"server login failed: unexpected message {kind!r}")
