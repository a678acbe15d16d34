"""Two instances at a time: how this one replaces another, and how another replaces it (-R).

`takeover` has the words up to `serving`. From then on both speak of quota (core/tables/handoff.c): the old
one gives back what it does not need any more, the new one what it owes, and cancel requests for clients of
the old one are passed to it. The old one ends when its last client has left; after `shutdown_timeout` it
closes those that are between two transactions.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pooler import log
from pooler.config import Settings
from pooler.ipc import handoff
from pooler.master.baton import Baton
from pooler.master.handoff_link import HandoffLink
from pooler.master.interfaces import HandoffTables
from pooler.master.loop import Loop, Timer
from pooler.master.processes import Processes
from pooler.master.sockets import Listener
from pooler.master.takeover import ANSWER_S, BOOT_S, HELLO_S, SERVE_S, Predecessor
from pooler.master.takeover_socket import TakeoverSocket

#: How often quota is looked at while there are two instances: what a transaction may have to wait more.
LOOK_S = 0.01

#: After the last process of an instance is gone PostgreSQL needs a moment to see its connections end.
LAST_BACKENDS_S = 1.0

#: To whom each piece of news about quota goes.
TO_SUCCESSOR = frozenset({"released", "wanted"})


@dataclass
class Hooks:
    """What the master does at the turns."""

    refusal: Callable[[], str]  # why there is nothing to hand over now, or ""
    listeners: Callable[[], Sequence[Listener]]
    accept: Callable[[bool], None]  # take clients, or leave them in the backlog
    pids: Callable[[], list[int]]  # of all our processes
    serve: Callable[[], None]  # it is our turn
    failed: Callable[[str], None]  # it will not be
    replaced: Callable[[str], None]  # somebody else serves, with this pid file
    goes_on: Callable[[], None]  # somebody else was about to, and does not
    end: Callable[[], None]  # nothing is left to do
    open_handoff_pool: Callable[
        [str, str, str, int], None
    ]  # rows with limits for: database, user, instance, kind
    cancel: Callable[[int, bytes], None]  # a cancel request for one of our clients
    login_key: bytes = b""  # that a successor goes on with


class Handoff:
    """Both roles of one instance. `retiring`: it has been replaced."""

    def __init__(
        self,
        loop: Loop,
        quotas: HandoffTables,
        busy: type[Exception],
        hooks: Hooks,
        predecessor: Predecessor | None,
    ) -> None:
        self.retiring = False
        self._loop = loop
        self._quotas = quotas
        self._busy = busy
        self._hooks = hooks
        self._settings: Settings | None = None
        self._pidfile = ""
        self._socket = TakeoverSocket(loop, self._arrived)
        self._successor: HandoffLink | None = None
        self._successor_pids: list[int] = []
        self._committed = False  # the successor was told that it may serve, and has not said that it does
        self._baton = Baton()  # who takes it serves; of both roles
        self._accepts = True  # this instance does, while there is nothing else to say
        self._limit: Timer | None = None  # ends a successor that does not get on
        self._given_up = False  # this instance will not serve
        self._predecessor: HandoffLink | None = None
        self._predecessor_pids: list[int] = []
        self._serving = predecessor is None
        self._todo: deque[tuple[str, Any]] = deque()  # what was said of quota, in order
        self._ticking = False
        if predecessor is not None:
            quotas.handoff_retire()  # no server of ours before all of theirs are counted
            self._predecessor_pids = [predecessor.pid]
            self._predecessor = HandoffLink(
                loop, predecessor.sock, self._from_predecessor, self._predecessor_left, self._take_baton
            )

    # -- the new instance

    def workers_ready(self, settings: Settings, pidfile: str) -> None:
        """Everything works here: serve, or ask for it."""
        self._settings, self._pidfile = settings, pidfile
        if self._predecessor is None and self._serving:
            self._hooks.serve()
        elif self._predecessor is not None:
            self._predecessor.say("commit", pids=self._hooks.pids())
            self._loop.after(ANSWER_S, self._no_answer)

    def _no_answer(self) -> None:
        if not self._serving and self._predecessor is not None:
            self._predecessor.close()
            self._fail(f"the running process did not answer within {ANSWER_S:.0f} s")

    def _fail(self, reason: str) -> None:
        self._given_up = True
        self._hooks.failed(reason)

    def _take_baton(self, word: str, fd: int) -> None:
        if word == "baton":
            self._baton.adopt(fd)
        else:
            os.close(fd)

    def _from_predecessor(self, word: str, values: dict[str, Any]) -> None:
        if word == "rooms":
            self._todo.extend(("taken", pool) for pool in values.get("pools", ()))
        elif word == "yours":
            self._predecessor_pids = [int(pid) for pid in values.get("pids", ())]
            self._serve_when_counted()
        elif word == "refused":
            self._fail(f"the running process does not hand over: {values.get('text', '')}")
        elif word in ("released", "wanted"):
            self._todo.append((word, values.get("pool")))

    def _serve_when_counted(self) -> None:
        """Every server of the old instance must be counted before the first of ours is opened."""
        if self._given_up:
            return
        if not self._work_off():
            self._loop.after(LOOK_S, self._serve_when_counted)
            return
        if not self._begin():
            return
        if self._predecessor is not None:
            self._predecessor.say("serving", pidfile=os.path.abspath(self._pidfile) if self._pidfile else "")
        self._tick_on()

    def _begin(self) -> bool:
        """Serve, if that is still for this instance to do."""
        if self._given_up:
            return False
        if self._baton.fd >= 0 and not self._baton.take():
            self._fail("the running process did not wait any longer, and goes on")
            return False
        self._serving = True
        self._quotas.handoff_resume()
        self._hooks.serve()
        return True

    def _predecessor_left(self, reason: str) -> None:
        self._predecessor = None
        if not self._serving:
            log.warning("the process that was to hand over is gone: %s", reason)
        Processes(self._loop, self._predecessor_pids, self._predecessor_gone)

    def _predecessor_gone(self) -> None:
        if not self._serving and not self._begin():
            return
        self._loop.after(LAST_BACKENDS_S if self._todo or self.two else 0, self._all_quota_is_ours)

    def _all_quota_is_ours(self) -> None:
        try:
            self._quotas.handoff_left()
        except self._busy:
            self._loop.after(LOOK_S, self._all_quota_is_ours)
            return
        log.info("the process that was replaced is gone")

    @property
    def has_replaced(self) -> bool:
        """Whether this instance came in the place of another, which is still there."""
        return self._predecessor is not None

    @property
    def taking_over(self) -> bool:
        """Whether this instance waits for its predecessor."""
        return not self._serving

    @property
    def two(self) -> bool:
        """Whether another instance may have servers."""
        return self._predecessor is not None or self._successor is not None

    @property
    def has_successor(self) -> bool:
        """Whether another instance is about to serve in the place of this one, or does."""
        return self._successor is not None

    def forward_cancel(self, pid: int, key: bytes) -> None:
        """A cancel request that none of our clients has the key for."""
        if self._predecessor is not None and self._serving:
            self._predecessor.say("cancel", pid=pid, key=key.hex())

    # -- the old instance

    def listen(self, settings: Settings) -> None:
        """Let a successor find us, beside the unix socket."""
        self._settings = settings
        self._socket.open(settings)

    def _arrived(self, sock: socket.socket, pid: int) -> None:
        if self._successor is not None:
            with contextlib.suppress(OSError):
                handoff.send(sock, handoff.pack("refused", {"text": "another process is taking over"}))
            sock.close()
            return
        self._committed = False
        self._successor_pids = [pid]
        self._successor = HandoffLink(self._loop, sock, self._from_successor, self._successor_left)
        self._within(HELLO_S, "it says nothing")

    def _within(self, seconds: float, reason: str) -> None:
        """How long the successor may take until its next step."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._loop.after(seconds, lambda: self._too_late(seconds, reason))

    def _too_late(self, seconds: float, reason: str) -> None:
        if self._successor is None or self.retiring:
            return
        text = f"{reason} for {seconds:.0f} s"
        if self._committed and not self._baton.take():
            # It has taken the baton: it serves, or has died, which ends the connection.
            log.warning("the process that takes over does not say that it serves")
            return
        self._committed = False
        self._successor.say("refused", text=text)
        self._successor.close()
        self._successor = None
        log.warning("the process that was to take over is given up (%s): this one goes on", text)
        self._go_on()

    def _from_successor(self, word: str, values: dict[str, Any]) -> None:
        if word == "hello":
            self._offer(values)
        elif word == "commit":
            self._successor_pids = [int(pid) for pid in values.get("pids", ())]
            self._within(SERVE_S, "it does not serve")
            self._commit()
        elif word == "serving" and self._committed:
            self._step_back(str(values.get("pidfile", "")))
        elif word in ("granted", "hurry"):
            self._todo.append((word, values.get("pool")))
        elif word == "cancel":
            self._hooks.cancel(int(values["pid"]), bytes.fromhex(values["key"]))

    def _offer(self, values: dict[str, Any]) -> None:
        assert self._successor is not None
        refusal = self._hooks.refusal()
        if values.get("version") != handoff.VERSION:
            refusal = f"it speaks version {handoff.VERSION} of the takeover, not {values.get('version')}"
        if refusal:
            log.warning("process %s cannot take over: %s", values.get("pid"), refusal)
            self._successor.say("refused", text=refusal)
            return
        log.info("process %s takes over", values.get("pid"))
        self._within(BOOT_S, "it does not get ready")
        for listener in self._hooks.listeners():
            word = "http_listener" if listener.http else "listener"  # an older release passes over the former
            self._successor.say(
                word, listener.sock.fileno(), path=listener.path, activated=listener.activated
            )
        self._successor.say("offer", pid=os.getpid(), login_key=self._hooks.login_key.hex())

    def _commit(self) -> None:
        """Stop accepting, and count what we have; the successor may serve."""
        if self._successor is None or self._committed:
            return
        refusal = self._hooks.refusal()
        if refusal:
            self._successor.say("refused", text=refusal)
            return
        self._accepts = False
        self._hooks.accept(False)
        try:
            held = self._quotas.handoff_retire()
        except self._busy:
            self._loop.after(LOOK_S, self._commit)
            return
        self._committed = True
        for start in range(0, len(held), handoff.POOLS_PER_MESSAGE):
            self._successor.say("rooms", pools=held[start : start + handoff.POOLS_PER_MESSAGE])
        self._baton.lay_out()
        self._successor.say("baton", self._baton.fd)
        self._successor.say("yours", pids=self._hooks.pids())

    def _step_back(self, pidfile: str) -> None:
        """The successor serves: what is left is to let our clients finish."""
        assert self._settings is not None
        self.retiring, self._committed = True, False
        self._baton.close()
        self._socket.close()
        self._hooks.replaced(pidfile)
        timeout_s = self._settings.shutdown_timeout
        log.info(
            "another process serves now; this one ends with its last client%s",
            f", or closes it after {timeout_s:g} s (shutdown_timeout)" if timeout_s else "",
        )
        if timeout_s:
            self._loop.after(timeout_s, self._quotas.handoff_retire_all)
        self._tick_on()

    def _successor_left(self, reason: str) -> None:
        self._successor = None
        if self.retiring:
            log.warning("the process that took over is gone: %s", reason)
            Processes(
                self._loop,
                self._successor_pids,
                lambda: self._loop.after(LAST_BACKENDS_S, self._quotas.handoff_resume),
            )
            return
        log.warning("the process that was to take over is gone (%s): this one goes on", reason)
        began = self._committed and not self._baton.take()
        self._committed = False
        if began:  # it has opened a few servers, or none, which end with it
            Processes(self._loop, self._successor_pids, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Nothing that the other one did on its way to serve is left in the way of this one."""
        self._hooks.goes_on()
        self._socket.restore()
        if not self._accepts:
            self._accepts = True
            self._quotas.handoff_resume()
            self._hooks.accept(True)

    # -- quota

    def _tick_on(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._tick()

    def _tick(self) -> None:
        if not self.two and not self.retiring:
            self._ticking = False
            return
        self._loop.after(LOOK_S, self._tick)
        if not self._work_off():
            return
        try:
            news = self._quotas.handoff_messages()
        except self._busy:
            return
        for word, pool in news:
            peer = self._successor if word in TO_SUCCESSOR else self._predecessor
            if peer is not None:
                peer.say(word, pool=pool)
        if self.retiring and self._predecessor is None:
            clients, arriving, servers = self._quotas.in_use()
            if not clients + arriving and (not servers or self._successor is None):
                log.info("the last client has left")
                self._hooks.end()

    def _work_off(self) -> bool:
        """Do what was said of quota; False when a stopped process holds the tables' lock."""
        try:
            while self._todo:
                self._hooks.open_handoff_pool(*self._todo[0][1][:4])
                if not self._quotas.handoff_told(*self._todo[0]):
                    log.error(
                        "no row is left for a server of the process that was replaced: %r", self._todo[0]
                    )
                self._todo.popleft()
        except self._busy:
            return False
        return True

    # -- the end

    def close(self) -> None:
        """Give back every descriptor, at the end."""
        self._socket.close()
        self._baton.close()
        for peer in (self._successor, self._predecessor):
            if peer is not None:
                peer.close()

    def close_in_child(self) -> None:
        """Close the descriptors only."""
        self._baton.close()
        self._socket.close_in_child()
        for peer in (self._successor, self._predecessor):
            if peer is not None:
                peer.close_in_child()
