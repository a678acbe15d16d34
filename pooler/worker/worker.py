"""The life of a worker process: a gevent hub around one relay.

The relay logs clients in and moves the bytes on a thread of its own. Here, in the hub, greenlets do what is
rare: answer what logins ask, log in at servers, send cancel requests, serve the console, keep the time, talk
with the master.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import gevent
from gevent import socket
from gevent.event import Event
from gevent.lock import Semaphore

from pooler import log, provisioning
from pooler.admin.console import Console
from pooler.config import Config
from pooler.core import KILL, Bridge, Relay, events, monotonic_us
from pooler.ipc import channel
from pooler.ipc import messages as ipc
from pooler.ipc.boot import WorkerBoot
from pooler.protocol.startup import CancelRequest
from pooler.worker import cancel, replication
from pooler.worker.auth_query import Lookups
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.client import Client
from pooler.worker.console_operations import ConsoleOperations
from pooler.worker.context import LoginServices, WorkerContext
from pooler.worker.database_ddl import DatabaseDdl
from pooler.worker.janitor import Janitor
from pooler.worker.login_questions import LoginQuestions
from pooler.worker.notifications import ListeningConnections
from pooler.worker.parameters import TrackedParameters
from pooler.worker.resolver import Resolver
from pooler.worker.server import dial
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


class Worker:
    """The life of one worker: what it begins with, whom it listens to, how it ends."""

    def __init__(self, boot: WorkerBoot) -> None:
        boot.tables.set_patience(0)
        config: Config = boot.config
        tracked = TrackedParameters(config.settings.track_extra_parameters)
        boxes = [box.fileno() for box in (*boot.outboxes, boot.master_outbox)]
        self._control = socket.socket(fileno=boot.control.detach())
        self._control_lock = Semaphore()
        self.stopped = Event()
        self.context = context = WorkerContext(
            number=boot.number,
            tables=boot.tables,
            relay=Relay(
                boot.tables, boot.number, boot.inbox.fileno(), boxes, tracked.names, (*QUESTIONS, *CATALOGS)
            ),
            config=config,
            spawn=spawn,
            tell_master=self.tell_master,
            dial=self.dial,
            tls=Contexts(config.tls),
            outboxes=boot.outboxes,
            master_outbox=boot.master_outbox,
            tracked=tracked,
            cancels=cancel.Allowance(),
        )
        context.resolver = Resolver(context)
        operations = ConsoleOperations(context)
        self.services = LoginServices(
            questions=LoginQuestions(context, Lookups(context), UnknownUsers(boot.login_key)),
            operations=operations,
            console=Console(
                operations, lambda: context.config, boot.tables, log=lambda text: log.info("%s", text)
            ),
        )
        self.listening = ListeningConnections(context)
        self.changes = DatabaseDdl(context, operations)
        self._inherit(boot)
        self._apply(config, log.verbosity())

    # -- life

    def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        self.context.relay.start()
        self.context.relay.reclaim()
        self.context.bridge = Bridge(self.context.tables)  # threads have the priority of who starts them
        niceness = max(HUB_NICE, os.getpriority(os.PRIO_PROCESS, 0))  # never more than pooler was given
        os.setpriority(os.PRIO_PROCESS, 0, niceness)  # of this thread alone
        watcher = gevent.get_hub().loop.io(self.context.relay.event_fd, 1)
        watcher.start(self._drain_events)
        spawn(self._listen)
        spawn(Janitor(self.context, self.services.console).run)
        self.context.tables.beat(self.context.number)
        self.tell_master(ipc.Ready(self.context.number))
        self.stopped.wait()
        log.write_lines(*self.context.relay.log_lines())
        return 0

    def _inherit(self, boot: WorkerBoot) -> None:
        """The master's duplicates of server connections. Of an encrypted one the plain end is used; those
        whose session our predecessor had can only be ended."""
        relay = self.context.relay
        for slot, (generation, fd) in boot.server_fds.items():
            plain_generation, plain = boot.plain_fds.get(slot, (generation, -1))
            if plain < 0 or plain_generation != generation:
                relay.learn(slot, generation, fd)
            elif self.context.tables.slot_secured(slot)[1] == self.context.number:
                relay.learn(slot, generation, fd, True)
                os.close(plain)
            else:
                relay.learn(slot, generation, plain)
                os.close(fd)

    def dial(self, slot: int) -> None:
        """Open the connection of a slot that is ours."""
        dial(self.context, slot, self._grant)

    def _grant(self, slot: int, generation: int, row: int, client_id: int) -> None:
        """A slot is there for a client that gets a server of its own; no client's if that has left."""
        client = self.context.logins.get(row)
        waits = isinstance(client, Client) and client.id == client_id
        if not waits or not replication.take(cast(Client, client), slot, generation):
            self.context.relay.freed_slot(slot, generation)

    # -- the relay's events

    def _drain_events(self) -> None:
        while True:
            log.write_lines(*self.context.relay.log_lines())
            found = self.context.relay.events()
            if not found:
                return
            for event in found:
                self._event(event)

    def _event(self, event: events.RelayEvent) -> None:
        log.noise("event of the relay: %s", event)
        match event:
            case events.LoginAsks():
                self.services.questions.asked(event)
            case events.LoginLeft(client_id):
                self.services.questions.left(client_id)
            case events.LoginPassed():
                spawn(Client(self.context, self.services, event).serve)
            case events.DialNeeded(slot):
                spawn(self.dial, slot)
            case events.CancelNeeded(slot, generation):
                spawn(cancel.insist, self.context, slot, generation)
            case events.LoginOrdered():
                self._order(event)
            case events.SharedDdlSeen(pool, name, change):
                self.changes.heard(pool, name, change)
            case events.ListenNeeded(database, pool):
                self.listening.wake(database, pool)

    def _order(self, event: events.LoginOrdered) -> None:
        row, client_id, orders = event
        known = self.context.logins.get(row)
        if known is not None and known.id == client_id:
            known.obey(orders)
        elif orders & KILL:  # it was handed to the relay a moment ago (or has left: nobody has its id)
            self.context.relay.kill(row, client_id, 0, "08P01", self.context.tables.kill_text(row))

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
                log.error(
                    "the master is gone: worker %d finishes its transactions and ends", self.context.number
                )
                self._drain("wait_for_servers")
                return
            for message in messages:
                guarded(self._obey, message)

    def _obey(self, message: ipc.Message) -> None:
        match message:
            case ipc.Reload():
                self.tell_master(
                    ipc.ReloadDone(self.context.number, message.generation, self._reload(message.config))
                )
            case ipc.ReloadAnswer():
                self.services.operations.answered(message.token, message.error, message.notice)
            case ipc.Drain():
                spawn(self._drain, message.mode)
            case ipc.Reclaim():
                self.context.relay.reclaim()
            case ipc.Pause():
                self.services.operations.hold(-1)  # before a Resume that comes next
                spawn(self.services.operations.wait_until_held, -1)
            case ipc.Resume():
                self.services.operations.resume(None)
            case ipc.CancelHere():
                spawn(cancel.serve, self.context, CancelRequest(message.pid, message.key))
            case ipc.Quit():
                log.write_lines(*self.context.relay.log_lines())
                os._exit(0)

    def _drain(self, mode: str) -> None:
        """Take no new work; end when what there is has ended."""
        context, tables = self.context, self.context.tables
        context.draining = True
        context.relay.drain()
        if mode == "wait_for_servers":
            self._serve_waiting()
            tables.set_draining(True)
            gevent.sleep(DRAIN_LOOK_S)  # what SHUTDOWN is answered comes before what it leads to
        while True:
            _, waiting, _, _ = tables.own_load(context.number)
            if mode == "wait_for_servers":
                tables.kill_clients(-1, "server shutting down", waiting_only=True, worker=context.number)
                for slot in tables.take_idle(-1, context.number, mark=False):
                    context.relay.close_slot(slot)
                done = tables.busy_servers() + waiting == 0  # of all workers: a client may still ask
            else:
                # of all workers: until the last one has left, new ones may come to any of us, to be refused
                loads = [tables.own_load(number) for number in range(len(context.outboxes))]
                done = not any(pooled or console for pooled, _, console, _ in loads)
            if done:
                break
            gevent.sleep(DRAIN_LOOK_S)
        self.stopped.set()

    def _serve_waiting(self) -> None:
        """Clients that asked before the order may only wait for a server that answers pooler itself: a piece
        of the catalogs, a reset. Those that still wait after a moment wait for other clients."""
        end = time.monotonic() + DRAIN_GRACE_S
        workers = range(len(self.context.outboxes))
        while any(self.context.tables.own_load(number)[1] for number in workers) and time.monotonic() < end:
            gevent.sleep(DRAIN_GRACE_LOOK_S)

    # -- configuration

    def _reload(self, wire: dict[str, Any]) -> str | None:
        """Take a new configuration, whole or not at all; returns why not."""
        try:
            config = Config.from_wire(wire)
            self._apply(config, config.settings.verbose)
        except Exception as error:  # whoever asked waits for an answer
            log.exception("bug while a configuration was taken", error)
            return "internal error, see the log"
        self.context.config = config
        provisioning.apply(self.context.tables, config)  # rows that were made by the old one meanwhile
        log.follow(config.settings.logfile, config.settings.verbose, config.settings.syslog_names)
        return None

    def _apply(self, config: Config, verbose: int) -> None:
        settings = config.settings
        self.context.tls.adopt(config.tls)
        self.services.questions.adopt(config)
        self.context.relay.options(
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
            log_disconnections=settings.log_disconnections,
            log_pooler_errors=settings.log_pooler_errors,
            log_debug=verbose >= 1,
        )


def spawn(function: Callable[..., object], *arguments: Any) -> gevent.Greenlet:
    """A greenlet of its own; a bug in it is logged and ends nothing else."""
    return gevent.spawn(guarded, function, *arguments)


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
