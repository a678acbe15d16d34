"""The life of a worker process: a gevent hub around one relay.

The relay moves the bytes on a thread of its own. Here, in the hub, greenlets do everything that is rare: log
in clients and servers, send cancel requests, serve the console, keep the time, talk with the master.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import gevent
from gevent import socket
from gevent.event import Event
from gevent.lock import Semaphore

from pooler import log
from pooler.admin.console import Console
from pooler.config import CONSOLE_DATABASES, Config
from pooler.core import KILL, WELCOME_ROOM, Bridge, Relay, Tables, events, monotonic_us
from pooler.ipc import channel
from pooler.ipc import messages as ipc
from pooler.ipc.boot import WorkerBoot
from pooler.protocol.startup import TRACKED, CancelRequest
from pooler.worker import cancel, replication
from pooler.worker.auth_query import Lookups
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.client import Client
from pooler.worker.console_operations import ConsoleOperations
from pooler.worker.database_ddl import DatabaseDdl
from pooler.worker.janitor import Janitor
from pooler.worker.login_queue import LoginQueue
from pooler.worker.notifications import ListeningConnections
from pooler.worker.resolver import Resolver
from pooler.worker.server import dial, place
from pooler.worker.session_queries import QUESTIONS
from pooler.worker.tls import Contexts
from pooler.worker.unknown_users import UnknownUsers

#: Where the cores do not suffice, a storm of logins takes longer, not the queries that the relay serves.
HUB_NICE = 5
#: How often a draining worker looks whether it is done.
DRAIN_LOOK_S = 0.05
#: Clients that waited when an end without them was ordered may still be served for so long.
DRAIN_GRACE_S = 1.0
DRAIN_GRACE_LOOK_S = 0.01
#: Frames from the master are read in pieces of this size.
CHANNEL_READ_BYTES = 65536


class Login(Protocol):
    """Who waits in a login: a client, or one of our own."""

    id: int

    @property
    def greenlet(self) -> Any: ...

    def obey(self, orders: int) -> None: ...

    def end(self, text: str) -> None: ...

    def has_left(self) -> bool: ...


class Worker:
    """All that the greenlets of one worker share."""

    def __init__(self, boot: WorkerBoot) -> None:
        self.number = boot.number
        boot.tables.set_patience(0)
        self.tables: Tables = boot.tables
        self.config: Config = boot.config
        self.outboxes = boot.outboxes
        self.master_outbox = boot.master_outbox
        self.console_names = frozenset(CONSOLE_DATABASES)
        self.tracked = tracked_names(self.config.settings.track_extra_parameters)
        self._tracked_lower = frozenset(map(str.lower, self.tracked))
        self.draining = False
        self.logins: dict[int, Login] = {}
        self.lookups = Lookups(self)
        self.unknown_users = UnknownUsers(boot.login_key)
        #: By pool: what was logged of a failed login, and when.
        self.refusals: dict[int, tuple[str, float]] = {}
        self.login_queue = LoginQueue(self)
        self.cancels = cancel.Allowance()
        self.resolver = Resolver(self)
        self.listening = ListeningConnections(self)
        self.stopped = Event()
        self.tls = Contexts(self.config.tls)
        self._control = socket.socket(fileno=boot.control.detach())
        self._control_lock = Semaphore()
        boxes = [box.fileno() for box in (*boot.outboxes, boot.master_outbox)]
        self.relay = Relay(
            boot.tables, boot.number, boot.inbox.fileno(), boxes, self.tracked, (*QUESTIONS, *CATALOGS)
        )
        self._inherit(boot)
        self.operations = ConsoleOperations(self)
        self.changes = DatabaseDdl(self)
        self.console = Console(
            self.operations, lambda: self.config, self.tables, log=lambda text: log.info("%s", text)
        )
        self._apply(self.config)

    # -- life

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self.relay.start()
        self.relay.reclaim()
        self.bridge = Bridge(self.tables)  # threads have the priority of who starts them
        niceness = max(HUB_NICE, os.getpriority(os.PRIO_PROCESS, 0))  # never more than pooler was given
        os.setpriority(os.PRIO_PROCESS, 0, niceness)  # of this thread alone
        watcher = gevent.get_hub().loop.io(self.relay.event_fd, 1)
        watcher.start(self._drain_events)
        self.spawn(self._listen)
        self.spawn(Janitor(self).run)
        self.tables.beat(self.number)
        self.tell_master(ipc.Ready(self.number))
        self.stopped.wait()
        return 0

    def _inherit(self, boot: WorkerBoot) -> None:
        """The master's duplicates of server connections. Of an encrypted one the plain end is used; those
        whose session our predecessor had can only be ended."""
        for slot, (generation, fd) in boot.server_fds.items():
            plain_generation, plain = boot.plain_fds.get(slot, (generation, -1))
            if plain < 0 or plain_generation != generation:
                self.relay.learn(slot, generation, fd)
            elif self.tables.slot_secured(slot)[1] == self.number:
                self.relay.learn(slot, generation, fd, True)
                os.close(plain)
            else:
                self.relay.learn(slot, generation, plain)
                os.close(fd)

    def spawn(self, function: Callable[..., object], *arguments: Any) -> None:
        """A greenlet of its own; a bug in it is logged and ends nothing else."""
        gevent.spawn(guarded, function, *arguments)

    def dial(self, slot: int) -> None:
        """Open the connection of a slot that is ours."""
        dial(self, slot)

    def grant(self, slot: int, generation: int, row: int, client_id: int) -> None:
        """A slot is there for a client that gets a server of its own; nobody's if that has left."""
        client = self.logins.get(row)
        waits = isinstance(client, Client) and client.id == client_id
        if not waits or not replication.take(cast(Client, client), slot, generation):
            self.relay.freed_slot(slot, generation)

    def cancel_slot(self, slot: int, generation: int) -> None:
        """Cancel what a server runs whose client has left, until PostgreSQL lets go."""
        cancel.insist(self, slot, generation)

    # -- the relay's events

    def _drain_events(self) -> None:
        while found := self.relay.events():
            for event in found:
                self._event(event)

    def _event(self, event: events.RelayEvent) -> None:
        log.noise("event of the relay: %s", event)
        match event:
            case events.Accepted(fd, is_unix):
                client = Client(self, fd, is_unix)
                client.arrive()
                self.login_queue.enter(client)
            case events.DialNeeded(slot):
                self.spawn(dial, self, slot)
            case events.CancelNeeded(slot, generation):
                self.spawn(self.cancel_slot, slot, generation)
            case events.LoginOrdered():
                self._order(event)
            case events.SharedDdlSeen(pool, name, change):
                self.changes.heard(pool, name, change)
            case events.ListenNeeded(database, pool):
                self.listening.wake(database, pool)
            case events.ClientClosed():
                if not self.lookups.forget(event.client_id):
                    self._log_closing(event, f"C-{event.client_id}", event.told)
            case events.ServerClosed():
                self._log_closing(event, f"S-{event.server_id}")
            case events.Warned(text):
                log.warning("%s", text)

    def _order(self, event: events.LoginOrdered) -> None:
        row, client_id, orders = event
        known = self.logins.get(row)
        if known is not None and known.id == client_id:
            known.obey(orders)
        elif orders & KILL:  # it was handed to the relay a moment ago (or has left: nobody has its id)
            self.relay.kill(row, client_id, 0, "08P01", self.tables.kill_text(row))

    def _log_closing(
        self, event: events.ClientClosed | events.ServerClosed, name: str, told: bool = False
    ) -> None:
        database, user, _ = self.tables.pool_key(event.pool)
        where = place(event.address, event.port, event.address.startswith("unix"))
        who = f"{name}: {database}/{user}@{where}"
        if self.config.settings.log_disconnections:
            log.info("%s closing because: %s (age=%ds)", who, event.reason, event.age_us // 1000000)
        if told and self.config.settings.log_pooler_errors:
            log.warning("%s pooler error: %s", who, event.reason)

    # -- the master

    def tell_master(self, message: ipc.Message) -> None:
        """Send a message; a master that is gone is noticed by `_listen`."""
        with self._control_lock:
            try:
                self._control.sendall(channel.encode(message))
            except OSError as error:
                log.error("control channel: %s", error.strerror or error)

    def _listen(self) -> None:
        decoder = channel.Decoder()
        while True:
            try:
                data = self._control.recv(CHANNEL_READ_BYTES)
            except OSError:
                data = b""
            try:
                messages = decoder.feed(data)
            except channel.ChannelError as error:
                log.error("control channel: out of step: %s", error)
                data = b""
            if not data:
                log.error("the master is gone: worker %d finishes its transactions and ends", self.number)
                self._drain("wait_for_servers")
                return
            for message in messages:
                guarded(self._obey, message)

    def _obey(self, message: ipc.Message) -> None:
        match message:
            case ipc.Reload():
                self.tell_master(
                    ipc.ReloadDone(self.number, message.generation, self._reload(message.config))
                )
            case ipc.ReloadAnswer():
                self.operations.answered(message.token, message.error, message.notice)
            case ipc.Drain():
                self.spawn(self._drain, message.mode)
            case ipc.Reclaim():
                self.relay.reclaim()
            case ipc.Pause():
                self.operations.hold(-1)  # before a Resume that comes next
                self.spawn(self.operations.wait_until_held, -1)
            case ipc.Resume():
                self.operations.resume(None)
            case ipc.CancelHere():
                self.spawn(cancel.serve, self, CancelRequest(message.pid, message.key))
            case ipc.Quit():
                os._exit(0)

    def _drain(self, mode: str) -> None:
        """Take no new work; end when what there is has ended."""
        self.draining = True
        if mode == "wait_for_servers":
            self._serve_waiting()
            self.tables.set_draining(True)
            gevent.sleep(DRAIN_LOOK_S)  # what SHUTDOWN is answered comes before what it leads to
        while True:
            _, waiting, _, _ = self.tables.own_load(self.number)
            if mode == "wait_for_servers":
                self.tables.kill_clients(-1, "server shutting down", waiting_only=True, worker=self.number)
                for slot in self.tables.take_idle(-1, self.number, mark=False):
                    self.relay.close_slot(slot)
                done = self.tables.busy_servers() + waiting == 0  # of all workers: a client may still ask
            else:
                # of all workers: until the last one has left, new ones may come to any of us, to be refused
                loads = [self.tables.own_load(number) for number in range(len(self.outboxes))]
                done = not any(pooled or console for pooled, _, console, _ in loads)
            if done:
                break
            gevent.sleep(DRAIN_LOOK_S)
        self.stopped.set()

    def _serve_waiting(self) -> None:
        """Who asked before the order may only wait for a server that answers pooler itself: a piece of the
        catalogs, a reset. Those who still wait after a moment wait for other clients."""
        end = time.monotonic() + DRAIN_GRACE_S
        workers = range(len(self.outboxes))
        while any(self.tables.own_load(number)[1] for number in workers) and time.monotonic() < end:
            gevent.sleep(DRAIN_GRACE_LOOK_S)

    # -- configuration

    def _reload(self, wire: dict[str, Any]) -> str | None:
        """Take a new configuration, whole or not at all; returns why not."""
        try:
            config = Config.from_wire(wire)
            self._apply(config)
        except Exception as error:  # whoever asked waits for an answer
            log.exception("bug while a configuration was taken", error)
            return "internal error, see the log"
        self.config = config
        log.follow(config.settings.logfile, config.settings.verbose, config.settings.syslog_names)
        return None

    def _apply(self, config: Config) -> None:
        settings = config.settings
        self.tls.adopt(config.tls)
        self.unknown_users.adopt(config)
        self.relay.options(
            check_delay_s=settings.server_check_delay,
            check_query=settings.check_query,
            reset_query=settings.server_reset_query,
            reset_always=settings.server_reset_query_always,
            disable_pqexec=settings.disable_pqexec,
            fast_close=settings.server_fast_close,
            max_packet_bytes=settings.max_packet_size,
            max_prepared_statements=settings.max_prepared_statements,
            answer_timeout_s=settings.server_answer_timeout,
            trusted_extensions=settings.session_trusted_extensions,
            catalog_bytes=settings.catalog_memory,
            client_bytes=settings.client_memory_limit,
        )

    # -- tracked parameters

    def values_of(self, parameters: dict[str, str]) -> bytes:
        """The tracked values as the relay takes them: one NUL-terminated text per tracked name."""
        values = {name.lower(): value for name, value in parameters.items()}  # spelled by whoever gave it
        return b"".join(
            values.get(name.lower(), "").encode("utf-8", "surrogateescape") + b"\0" for name in self.tracked
        )

    def tracked_bits(self, names: Iterable[str]) -> int:
        """Which of the tracked parameters these are, a bit each."""
        given = {name.lower() for name in names}
        return sum(1 << place for place, name in enumerate(self.tracked) if name.lower() in given)

    def tracks(self, name: str) -> bool:
        """Whether this parameter follows its client; in any case of letters."""
        return name.lower() in self._tracked_lower

    @staticmethod
    def extras_of(settings: dict[str, str]) -> bytes:
        """Other settings as the relay takes them: names and values, by name."""
        return b"".join(
            f"{name}\0{value}\0".encode("utf-8", "surrogateescape")
            for name, value in sorted(settings.items())
        )

    @staticmethod
    def pack_welcome(parameters: dict[str, str]) -> bytes:
        """What PostgreSQL reported, as the pool's row keeps it: the shortest first, as many as fit."""
        packed = b""
        for name, value in sorted(parameters.items(), key=lambda item: len(item[1])):
            entry = f"{name}\0{value}\0".encode("utf-8", "surrogateescape")
            packed += entry if len(packed) + len(entry) <= WELCOME_ROOM else b""
        return packed or b"\0\0"  # none at all is known, too: nobody waits for more

    @staticmethod
    def unpack_welcome(packed: bytes) -> dict[str, str]:
        parts = packed.decode("utf-8", "surrogateescape").split("\0")
        return {name: value for name, value in zip(parts[:-1:2], parts[1::2], strict=False) if name}


def tracked_names(extra: tuple[str, ...]) -> tuple[str, ...]:
    """The usual parameters, then the others that the configuration names, each once."""
    names = {name.lower(): name for name in (*extra, *TRACKED)}
    usual = [name.lower() for name in TRACKED]
    return (*TRACKED, *(name for lower, name in names.items() if lower not in usual))


def guarded(function: Callable[..., object], *arguments: Any) -> None:
    """Call it; a bug is logged and ends nothing else."""
    try:
        function(*arguments)
    except Exception as error:  # the one place for bugs of greenlets
        log.exception(f"bug in {getattr(function, '__qualname__', function)}", error)


def run(boot: WorkerBoot) -> int:
    """Be a worker (in a child of the master) until told to stop; returns the exit code."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group, they are the master's to interpret
    started_us = monotonic_us()
    worker = Worker(boot)
    log.debug("worker %d is up after %d us", boot.number, monotonic_us() - started_us)
    return worker.run()
