"""Connections and requests of HTTP, by gevent's server: what they may cost is bounded here.

    connections   CONNECTIONS at a time, others wait in the kernel's backlog
    the head      HEAD_BYTES, within HEAD_S
    the body      none: nothing that is answered here takes one
    the answer    SEND_S without the client reading on

What a client does wrong is answered with a line that says so, and ends the connection.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import gevent
from gevent import pywsgi
from gevent import ssl as gevent_ssl
from gevent.pool import Pool

from pooler import log
from pooler.config.tls import TlsSide
from pooler.monitor.access import Access

#: Connections that are served at once: a page has some, a scrape one; each costs some 20 kB.
CONNECTIONS = 256
#: Request line and headers: those of a browser with many cookies have a few thousand.
HEAD_BYTES = 16 * 1024
#: From the first byte, or the end of the request before, until the head is there; and for a handshake.
HEAD_S = 10.0
#: For one answer to be taken by the client's side.
SEND_S = 30.0
#: An address that may not ask hears so, if it reads that soon.
REFUSE_S = 1.0

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class _Wrong(ValueError):
    """A request that is not served: status and text are for who asks."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status

    def response(self) -> bytes:
        """All of it, with the end of the connection."""
        body = f"{self}\n".encode()
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


#: Answers to requests that are not served: status and text.
TOO_LARGE = ("431 Request Header Fields Too Large", f"more than {HEAD_BYTES} bytes of headers")
CUT_OFF = ("400 Bad Request", "the headers end in the middle")
TOO_SLOW = ("408 Request Timeout", f"no request within {HEAD_S:.0f} s")
NO_BODY = ("413 Content Too Large", "no request here has a body")
MALFORMED = ("400 Bad Request", "this is no request of HTTP/1.1")
NOT_ALLOWED = ("403 Forbidden", "http_allow does not name your address")


class Handler(pywsgi.WSGIHandler):  # type: ignore[misc]
    """One connection."""

    _patience: Any = None  # runs while a head is awaited
    _begun = False  # something of it has come

    def handle_one_request(self) -> Any:
        self._begun = False
        self._patience = gevent.Timeout.start_new(HEAD_S)
        try:
            return super().handle_one_request()
        except gevent.Timeout as timeout:
            if timeout is not self._patience:
                raise
            return ("408", _Wrong(*TOO_SLOW).response()) if self._begun else None
        finally:
            self._patience.close()

    def read_requestline(self) -> Any:
        self._begun = bool(self.rfile.peek(1))
        return super().read_requestline()

    def MessageClass(self, rfile: Any, *_: Any) -> Any:
        """The headers: pywsgi would take six megabytes of them."""
        head = bytearray()
        line = b""
        while line not in (b"\r\n", b"\n"):
            line = rfile.readline(HEAD_BYTES + 1 - len(head))
            head += line
            if len(head) > HEAD_BYTES:
                raise _Wrong(*TOO_LARGE)
            if not line:
                raise _Wrong(*CUT_OFF)
        headers = super().MessageClass(BytesIO(head))
        if headers.defects:
            raise _Wrong(*MALFORMED)
        return headers

    def read_request(self, raw_requestline: str) -> Any:
        found = super().read_request(raw_requestline)
        if self.content_length or "transfer-encoding" in self.headers:
            raise _Wrong(*NO_BODY)
        return found

    def handle_one_response(self) -> None:
        self._patience.close()
        super().handle_one_response()

    def _sendall(self, data: bytes) -> None:
        gone = ConnectionResetError(errno.ECONNRESET, "the client does not read")
        with gevent.Timeout(SEND_S, gone):
            super()._sendall(data)

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes]:
        wrong = ex if isinstance(ex, _Wrong) else _Wrong(*MALFORMED)
        if not isinstance(ex, ValueError):
            log.exception("bug while a request was read", ex)
        return wrong.status[:3], wrong.response()

    def handle_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if isinstance(error, Exception):
            log.exception("bug while a request was answered", error)
        self._send_error_response_if_possible(500)

    def log_error(self, msg: str, *args: object) -> None:
        """What clients do wrong is told to them."""


class Server(pywsgi.WSGIServer):  # type: ignore[misc]
    """One listening socket; its file is the master's."""

    def __init__(
        self, sock: Any, application: Application, access: Access, context: ssl.SSLContext | None
    ) -> None:
        listener = gevent.socket.socket(fileno=sock.detach())
        super().__init__(
            listener, application, spawn=Pool(CONNECTIONS), log=None, error_log=None, handler_class=Handler
        )
        self.access = access
        self.context = context  # may be exchanged: what is connected keeps its own

    def update_environ(self) -> None:
        """Without a look-up of our own name, for which pywsgi would wait."""
        self.environ.update(SERVER_NAME=self.address[0], SERVER_PORT=str(self.address[1]))

    def handle(self, sock: Any, address: tuple[Any, ...]) -> None:
        try:
            if not self.access.allows(address[0]):
                self._refuse(sock)
            elif self.context is None:
                super().handle(sock, address)
            else:
                secured = self._handshake(self.context, sock)
                if secured is not None:
                    super().handle(secured, address)
        except OSError as error:  # ssl.SSLError is one
            log.debug("HTTP of %s: %s", address[0], error.strerror or error)

    def _handshake(self, context: ssl.SSLContext, sock: Any) -> ssl.SSLSocket | None:
        """None: it took too long."""
        secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        done = False
        try:
            with gevent.Timeout(HEAD_S, False):
                secured.do_handshake()
                done = True
        finally:
            if not done:
                secured.close()
        return secured if done else None

    def _refuse(self, sock: Any) -> None:
        """Told where that costs no handshake; what was sent is read, or the answer would be lost with it."""
        if self.context is not None:
            return
        with gevent.Timeout(REFUSE_S, False):
            sock.recv(HEAD_BYTES)
            sock.sendall(_Wrong(*NOT_ALLOWED).response())


def tls_context(side: TlsSide) -> ssl.SSLContext | None:
    """What connections are made with; None: without TLS. OpenSSL reads files, hence two that exist in memory
    only."""
    if not side.enabled:
        return None
    context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = _in_memory(side.certificate), _in_memory(side.key)
    try:
        context.load_cert_chain(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}", "")
    finally:
        os.close(certificate)
        os.close(key)
    if side.verify == "required":
        context.load_verify_locations(cadata=side.authorities.decode("utf-8", "replace"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _in_memory(contents: bytes) -> int:
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    os.write(fd, contents)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
