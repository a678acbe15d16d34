"""Socket options that notice a peer which went away without a word."""

from __future__ import annotations

import socket

from pooler.config import Settings


def tune(sock: socket.socket, settings: Settings) -> None:
    """Apply the tcp_* settings to a TCP socket (0: the system's value); small messages leave at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.tcp_socket_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.tcp_socket_buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.tcp_socket_buffer)
    if settings.tcp_user_timeout:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.tcp_user_timeout)
    if not settings.tcp_keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, settings.tcp_keepcnt),
        (socket.TCP_KEEPIDLE, settings.tcp_keepidle),
        (socket.TCP_KEEPINTVL, settings.tcp_keepintvl),
    ):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
