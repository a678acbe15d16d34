"""A client in its login, as a test plays it: what it says, byte for byte, and what it is told."""

from __future__ import annotations

import fcntl
import termios
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent import socket, ssl

from pooler.auth import passwords, scram, scram_client
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import codes, frontend, messages

#: No wait of a test takes as long; what is waited for is there within milliseconds.
PATIENCE_S = 20.0

#: Lets everything go on until it is so; what that is.
Until = Callable[[Callable[[], object], str], None]

#: PostgreSQL's, with PgBouncer's texts; what makes no sense is a violation of the protocol.
SQLSTATES = {
    "password authentication failed": ("28P01",),
    "SASL authentication failed": ("28P01", "08P01"),
    "SSL required": ("28000",),
    "no authentication method is found": ("28000",),
    "login rejected": ("28000",),
    "no such user": ("28000",),
    '"trust" authentication failed': ("28000",),
    "unix socket login rejected": ("28000",),
    "certificate authentication failed": ("28000",),
    "LDAP authentication failed": ("28000",),
    "PAM authentication failed": ("28000",),
    "no such database: nowhere": ("3D000",),
}


@dataclass
class Welcome:
    """What a client that is in was told."""

    parameters: dict[str, str]
    pid: int
    key: bytes
    negotiated: bytes = b""  # the body of a NegotiateProtocolVersion


class Peer:
    """A client, as the test plays it; every wait of it has an end."""

    def __init__(self, until: Until, sock: socket.socket) -> None:
        self._until = until
        self.sock = sock
        self.certificate: bytes | None = None  # its hash, inside TLS
        self._negotiated = b""

    # -- bytes

    def say(self, *data: bytes) -> Peer:
        self.sock.sendall(b"".join(data))
        return self

    def bytewise(self, data: bytes) -> Peer:
        """Each byte is read before the next one is sent."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            self._until(self._is_read, "the byte is read")
        return self

    def _is_read(self) -> bool:
        waiting = fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return waiting == b"\0" * 4

    def hear(self, count: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        with gevent.Timeout(PATIENCE_S, AssertionError(f"{count} bytes were expected, and {data!r} came")):
            while len(data) < count:
                more = self.sock.recv(count - len(data))
                assert more, f"{count} bytes were expected, and the end came behind {data!r}"
                data += more
        return data

    def some(self) -> bytes:
        """What has come, or comes next."""
        with gevent.Timeout(PATIENCE_S, AssertionError("bytes were expected")):
            data = self.sock.recv(65536)
        assert data, "bytes were expected, and the end came"
        return bytes(data)

    def rest(self) -> bytes:
        """Everything until the end."""
        data = b""
        with gevent.Timeout(PATIENCE_S, AssertionError("the end was expected")):
            while more := self.sock.recv(65536):
                data += more
        return data

    def message(self) -> tuple[bytes, bytes]:
        """One message; its body."""
        header = self.hear(5)
        return header[:1], self.hear(messages.body_length(header, 1 << 20, ServerFault))

    def close(self) -> None:
        self.sock.close()

    def end(self) -> str:
        """It says nothing more. "in" if it was let in, the text of its refusal, or "": more was asked for."""
        self.sock.shutdown(socket.SHUT_WR)
        data = self.rest()
        self.close()
        if data[:1] in (b"S", b"N"):  # what a request for encryption was answered
            data = data.lstrip(b"N")
        while data:
            size = messages.body_length(data[:5], 1 << 20, ServerFault)
            kind, body, data = data[:1], data[5 : 5 + size], data[5 + size :]
            if kind == b"E":
                return messages.parse_error(body)["M"]
            if kind == b"R" and body == bytes(4):
                return "in"
        return ""

    # -- what it is told

    def request(self) -> tuple[int, bytes]:
        """An authentication request: its number, its data. A refusal is raised."""
        kind, body = self.message()
        if kind == b"v":
            self._negotiated = body
            kind, body = self.message()
        if kind == b"E":
            raise self._fault(body)
        assert kind == b"R", (kind, body)
        return int.from_bytes(body[:4], "big"), body[4:]

    def fault(self) -> ClientFault:
        """It is refused, in the next message, which is the last one."""
        try:
            found = self.request()
        except ClientFault as fault:
            return fault
        raise AssertionError(f"it was to be refused: {found}")

    def refused(self) -> str:
        """The same; its text. The SQLSTATE is the one that belongs to it."""
        fault = self.fault()
        assert fault.sqlstate in SQLSTATES.get(fault.message, ("08P01",)), (fault.sqlstate, fault.message)
        return fault.message

    def _fault(self, body: bytes) -> ClientFault:
        fields = messages.parse_error(body)
        assert fields["S"] == fields["V"] == "FATAL", fields
        assert self.rest() == b"", "nothing comes behind a refusal"
        return ClientFault(fields["M"], fields["C"])

    def welcome(self, ok: bool = False) -> Welcome:
        """What comes from AuthenticationOk on; `ok`: that was heard already. A refusal is raised."""
        if not ok:
            assert self.request() == (codes.AUTH_OK, b"")
        parameters: dict[str, str] = {}
        pid, key = 0, b""
        while True:
            kind, body = self.message()
            if kind == b"Z":
                assert body == b"I"
                return Welcome(parameters, pid, key, self._negotiated)
            if kind == b"E":
                raise self._fault(body)
            if kind == b"S":
                name, value = messages.parse_parameter_status(body)
                parameters[name] = value
            else:
                assert kind == b"K", (kind, body)
                pid, key = messages.parse_backend_key_data(body)

    # -- a login

    def start(self, user: str = "me", database: str = "db", **parameters: str) -> Peer:
        return self.say(frontend.startup(user, database, parameters))

    def start_tls(self, context: ssl.SSLContext, ask: bool = True) -> Peer:
        """Asks for TLS (unless it begins with it), and goes on inside."""
        if ask:
            self.say(frontend.ssl_request())
            assert self.hear(1) == b"S"
        with gevent.Timeout(PATIENCE_S, AssertionError("the handshake was to end")):
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        raw = self.sock.getpeercert(binary_form=True)
        assert raw is not None
        self.certificate = scram.sha256(raw)
        return self

    def prove(self, password: str, user: str = "me", plus: bool = False) -> Welcome:
        """Answer whatever is asked, as a driver would; in, or refused by a ClientFault."""
        while True:
            code, data = self.request()
            if code == codes.AUTH_OK:
                return self.welcome(ok=True)
            if code == codes.AUTH_CLEARTEXT:
                self.say(frontend.password(password.encode()))
            elif code == codes.AUTH_MD5:
                secret = passwords.md5_secret(password.encode(), user.encode())
                self.say(frontend.password(passwords.md5_answer(secret, data)))
            else:
                assert code == codes.AUTH_SASL, code
                self._scram(password.encode(), plus)

    def _scram(self, password: bytes, plus: bool) -> None:
        nonce = scram_client.new_nonce(b"n" * 18)
        flag = scram_client.BOUND if plus else scram_client.UNBOUND
        mechanism = codes.SCRAM_SHA_256_PLUS if plus else codes.SCRAM_SHA_256
        self.say(frontend.sasl_initial_response(mechanism, scram_client.client_first(nonce, flag)))
        code, said = self.request()
        assert code == codes.AUTH_SASL_CONTINUE
        server = scram_client.parse_server_first(said, nonce)
        keys = scram.derive_keys(password, server.salt, server.iterations)
        bound = flag + (self.certificate or b"") if plus else flag
        proof = scram_client.prove(keys, nonce, server, bound)
        self.say(frontend.sasl_response(proof.client_final))
        code, said = self.request()
        assert code == codes.AUTH_SASL_FINAL
        scram_client.check_server_final(said, proof.server_signature)
