"""What systemd wants to hear (sd_notify): ready, reloading, stopping, alive.

The package sdnotify was weighed: it cannot set SOCK_CLOEXEC, knows nothing of MONOTONIC_USEC or the
watchdog, and the protocol is one datagram. Without NOTIFY_SOCKET all of this does nothing.
"""

from __future__ import annotations

import os
import socket
import time

from pooler import log

#: A line of `systemctl status`.
STATUS_BYTES = 400


class Notifier:
    """Talks to the service manager, if there is one."""

    def __init__(self, address: str | None = None, watchdog_s: float = 0.0) -> None:
        self._address = address
        #: How often `alive` should be called; 0: never. Half of what is asked for, as
        #: sd_watchdog_enabled(3) advises.
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls) -> Notifier:
        """Made from NOTIFY_SOCKET and WATCHDOG_*.

        Call it before daemonizing: the watchdog names a process.
        """
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address.startswith("@"):
            address = "\0" + address[1:]
        elif not address.startswith("/"):
            return cls()
        usec = os.environ.get("WATCHDOG_USEC", "")
        meant_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, int(usec) / 2e6 if usec.isdecimal() and meant_for_us else 0.0)

    def ready(self, status: str = "", main_pid: bool = False) -> None:
        """Everything works. `status`: what `systemctl status` is to show; `main_pid`: we are another process
        than the one that the manager has started.
        """
        lines = ["READY=1"]
        if status:
            lines.append(f"STATUS={status.splitlines()[0][:STATUS_BYTES]}")
        if main_pid:
            lines.append(f"MAINPID={os.getpid()}")
        self._send("\n".join(lines))

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendmsg([text.encode()], [], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._address)
        except OSError as e:
            log.warning("cannot tell the service manager %s: %s", text.split("\n")[0], e.strerror)
