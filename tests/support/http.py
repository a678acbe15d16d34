"""A bare client of HTTP, and how to find the process that serves it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tests.support.pooler import Pooler
from tests.support.processes import descendants, wait_for


@dataclass(frozen=True)
class Reply:
    """What came."""

    status: int
    text: str
    headers: Message


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(
    port: int,
    path: str,
    login: tuple[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    source: str = "127.0.0.1",
    **headers: str,
) -> Reply:
    """One request on a connection of its own."""
    if login is not None:
        headers["Authorization"] = basic(*login)
    place, where = ("127.0.0.1", port), (source, 0)
    connection = (
        http.client.HTTPConnection(*place, timeout=20, source_address=where)
        if tls is None
        else http.client.HTTPSConnection(*place, timeout=20, source_address=where, context=tls)
    )
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.read().decode(), response.headers)


def raw(port: int, data: bytes, timeout_s: float = 30) -> bytes:
    """Sends these bytes, and what comes until the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
        found = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(data)
            while part := sock.recv(65536):
                found += part
        return found


def monitor_pid(pooler: Pooler) -> int:
    """The process that serves HTTP, as soon as there is one."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in descendants(pooler.pid)[1:] if _title(pid).startswith("pooler: monitor")]
        return bool(found)

    wait_for(look, 10, "a monitor")
    (pid,) = found
    return pid


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(os.path.join("/proc", str(pid), "cmdline")).read_text()
    return ""
