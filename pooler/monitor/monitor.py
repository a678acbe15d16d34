"""The life of the process: a gevent hub that answers requests and keeps in touch with the master."""

from __future__ import annotations

import os
import signal
import time
from typing import cast

import gevent
from gevent import socket
from gevent.event import Event
from setproctitle import setproctitle

from pooler import log
from pooler.admin.console import Console
from pooler.admin.histograms import PERIOD_S
from pooler.admin.model import Operations
from pooler.config import Config
from pooler.ipc import channel
from pooler.ipc import messages as ipc
from pooler.ipc.boot import MonitorBoot
from pooler.monitor.access import Access
from pooler.monitor.api import Api
from pooler.monitor.exposition import Exposition
from pooler.monitor.health import Health
from pooler.monitor.pages import Pages
from pooler.monitor.server import Server, tls_context
from pooler.monitor.snapshot import Facts, Snapshot

#: Where the cores do not suffice a figure comes later, not a query.
NICE = 10
#: How often it says to the master that it lives, and hears the same.
PING_S = 1.0
#: Longest wait for the lock of the tables: its holder may be a stopped process.
LOCK_PATIENCE_S = 0.5
#: Frames from the master are read in pieces of this size.
CHANNEL_READ_BYTES = 65536


class Monitor:
    """What it begins with, whom it listens to, how it ends."""

    def __init__(self, boot: MonitorBoot) -> None:
        self.tables = boot.tables
        self.tables.set_patience(LOCK_PATIENCE_S)
        self.config: Config = boot.config
        self._control = socket.socket(fileno=boot.control.detach())
        self._ended = Event()
        self.health = Health(self.tables)
        self.access = Access(self.config)
        self.console = Console(cast(Operations, self.health), lambda: self.config, self.tables)
        facts = Facts(boot.started_at, boot.restarts)
        metrics = Exposition(
            lambda: Snapshot(self.console.sources(), facts), lambda: self.config.settings.http_metrics_limit
        )
        pages = Pages(self.access, self.health, metrics, Api(self.console))
        context = tls_context(self.config.tls.http)
        self._servers = [Server(sock, pages, self.access, context) for sock in boot.listeners]

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        for server in self._servers:
            server.start()
        for greenlet in (self._listen, self._ping, self._sample, self._keep_histograms):
            gevent.spawn(_guarded, greenlet)
        self._tell(ipc.Ready(0))
        self._ended.wait()
        return 0

    # -- the master

    def _tell(self, message: ipc.Message) -> None:
        """Its end is noticed by `_listen`."""
        try:
            self._control.sendall(channel.encode(message))
        except OSError as error:
            log.debug("control channel: %s", error.strerror or error)

    def _ping(self) -> None:
        while True:
            self._tell(ipc.Ping())
            gevent.sleep(PING_S)

    def _listen(self) -> None:
        decoder = channel.Decoder()
        while True:
            try:
                data = self._control.recv(CHANNEL_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                log.debug("the master is gone: the monitor ends")
                self._ended.set()
                return
            for message in decoder.feed(data):
                self._obey(message)

    def _obey(self, message: ipc.Message) -> None:
        self.health.heard()
        match message:
            case ipc.Reload():
                self._reload(Config.from_wire(message.config))
            case ipc.Drain():
                self.health.ending = True
            case ipc.Quit():
                self._ended.set()

    def _reload(self, config: Config) -> None:
        settings = config.settings
        self.config = config
        self.access.adopt(config)
        try:
            context = tls_context(config.tls.http)
            for server in self._servers:
                server.context = context
        except OSError as error:  # ssl.SSLError is one; the master has tried it by another way
            log.error("http_tls: %s; the certificate that was there stays", error)
        log.follow(settings.logfile, settings.verbose, settings.syslog_names)

    # -- time

    def _sample(self) -> None:
        """Averages of SHOW STATS are taken over the same periods as by the workers."""
        while True:
            period_s = self.config.settings.stats_period
            gevent.sleep(period_s - time.monotonic() % period_s)
            self.console.sampler.tick(time.monotonic(), self.tables.stats())

    def _keep_histograms(self) -> None:
        while True:
            gevent.sleep(PERIOD_S - time.monotonic() % PERIOD_S)
            self.console.histograms.tick(self.tables.histograms(), self.tables.login_histograms())


def _guarded(function: object) -> None:
    """A bug in one of the greenlets: it is logged, and the process ends, for the master to begin another."""
    try:
        function()  # type: ignore[operator]
    except Exception as error:
        log.exception("bug in the monitor", error)
        os._exit(1)


def run(boot: MonitorBoot) -> int:
    """Be the monitor (in a child of the master) until told to stop; returns the exit code."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group, they are the master's to interpret
    setproctitle("pooler: monitor")
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    return Monitor(boot).run()
