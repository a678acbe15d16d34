"""What time brings: timeouts, lifetimes, minimum sizes, stats, the heartbeat of the hub.

Three times a second, as PgBouncer: every timeout has a grain of about a third of a second. While nothing is
under way, and no limit is about to be over, once a second is enough: clients that do nothing cost nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent
from setproctitle import setproctitle

from pooler import log, provisioning
from pooler.admin.histograms import PERIOD_S
from pooler.protocol import messages
from pooler.worker import cancel
from pooler.worker.jams import Jams

if TYPE_CHECKING:
    from pooler.admin.console import Console
    from pooler.worker.context import WorkerContext

TICK_S = 1 / 3
#: The pause while nothing is under way.
REST_S = 1.0
#: Of `worker_timeout`, in which the hub has to be heard.
BEATS = 4
#: A server that was told to end and still runs something is sent a cancel request again after this.
INSIST_S = 5.0
TITLE_S = 2.0
#: How often rows are looked for that nobody uses, at most; more often when the timeouts are short.
FORGET_S = 30.0
#: Where half of the rows for databases of `*` are taken, those that are not used go after this time.
CROWDED_S = 60.0

#: What a client hears that outstayed a limit, in PgBouncer's words.
TEXTS = {
    "query_wait_timeout": "query_wait_timeout",
    "query_timeout waiting": "query_timeout",
    "query_timeout": "query timeout",
    "idle_transaction_timeout": "idle transaction timeout",
    "transaction_timeout": "transaction timeout",
    "client_idle_timeout": "client_idle_timeout",
    "client_write_timeout": "client_write_timeout",
}
#: Those of a client that has no server: it hears why.
WAITS = frozenset({"query_wait_notify", "query_wait_timeout", "query_timeout waiting"})
QUEUED = "No server connection available in postgres backend, client being queued"


def next_minute(now: float) -> float:
    """When histograms are kept next: at the same times for all workers."""
    return (now // PERIOD_S + 1) * PERIOD_S


class Janitor:
    """The timer of one worker."""

    def __init__(self, context: WorkerContext, console: Console) -> None:
        self.context = context
        self._console = console
        self._jams = Jams(context)
        self._title_due = 0.0
        self._shown_title = ""
        self._forget_due = 0.0
        self._zones_due = 0.0
        self._stats_due = self._next_stats(time.monotonic())
        self._histograms_due = next_minute(time.monotonic())

    def run(self) -> None:
        """For ever."""
        while True:
            pause_s = self._pause_s()
            due = time.monotonic() + pause_s
            gevent.sleep(pause_s)
            now = time.monotonic()
            self.context.tables.beat(self.context.number, now - due)
            self.tick(now)

    def _pause_s(self) -> float:
        """Until the next tick."""
        context = self.context
        rest_s = min(REST_S, context.config.settings.worker_timeout / BEATS or REST_S)
        if context.tables.is_suspended() or context.draining:
            rest_s = TICK_S
        return max(TICK_S, min(rest_s, context.tables.quiet_us(context.number) / 1e6))

    def tick(self, now: float) -> None:
        """Everything that is due at `now` (monotonic seconds)."""
        context = self.context
        if context.tables.is_suspended():  # nobody can do anything about a limit
            return
        for slot in context.tables.tick(context.number):
            context.spawn(context.dial, slot)
        for slot in context.tables.expired_idle(context.number, context.config.settings.server_idle_timeout):
            context.relay.close_slot(slot)
        self._overdue()
        self._jams.tick(now)
        for slot, generation in context.tables.closing_slots(context.number, INSIST_S):
            context.spawn(cancel.insist, context, slot, generation)
        if now >= self._title_due:
            self._title_due = now + TITLE_S
            self._title()
            context.relay.reclaim()  # of servers that others could not go on with
        if now >= self._forget_due:
            self._forget(now)
        period_s = context.config.settings.dns_zone_check_period
        if period_s and context.number == 0 and now >= self._zones_due:  # one for all
            self._zones_due = now + period_s
            context.spawn(context.resolver.check_zones)
        if now >= self._stats_due:
            self._stats_due = self._next_stats(now)
            self._stats(now)

        if now >= self._histograms_due:
            self._histograms_due = next_minute(now)
            tables = context.tables
            self._console.histograms.tick(tables.histograms(), tables.login_histograms())

    def _next_stats(self, now: float) -> float:
        """At the same times for all workers, so that one that replaces another goes on in its turn."""
        period_s = self.context.config.settings.stats_period
        return (now // period_s + 1) * period_s

    def _overdue(self) -> None:
        context = self.context
        settings = context.config.settings
        found = context.tables.overdue(
            context.number, settings.query_wait_notify, settings.client_write_timeout
        )
        waits = any(what in WAITS for what, *_ in found)
        reasons = self._jams.reasons() if waits else {}
        for what, row, client_id, since in found:
            reason = reasons.get(context.tables.client_pool(row), "") if what in WAITS else ""
            if what == "query_wait_notify":
                context.relay.send(row, client_id, messages.notice(QUEUED, detail=reason or None))
            elif row in context.logins:  # one of our own, which waits for its pool's first server
                context.logins[row].end(TEXTS[what])
            else:
                context.relay.kill(row, client_id, since, "08P01", TEXTS[what], reason)

    def _forget(self, now: float) -> None:
        """Rows of databases made from `*`, and of users that nobody named, when they are idle for long."""
        settings = self.context.config.settings
        idle_s, pool_idle_s = settings.autodb_idle_timeout, settings.pool_idle_timeout
        if provisioning.automatic_share(self.context.tables, self.context.config) > 0.5:
            idle_s = min(idle_s or CROWDED_S, CROWDED_S)
        self._forget_due = now + min([FORGET_S, *(one / 4 for one in (idle_s, pool_idle_s) if one)])
        databases, pools = self.context.tables.forget(idle_s, pool_idle_s)
        for database, user, _ in pools:
            log.info("cleaning up idle pool: db=%s user=%s", database, user)
        for name in databases:
            log.info("dropping database '%s' as it does not exist anymore or inactive auto-database", name)

    def _title(self) -> None:
        """Written when it has changed: what is idle does nothing."""
        number, tables = self.context.number, self.context.tables
        clients, active = tables.clients_of(number), tables.busy_clients(number)
        title = f"pooler: worker {number} [{clients} clients, {active} active]"
        if title != self._shown_title:
            self._shown_title = title
            setproctitle(title)

    def _stats(self, now: float) -> None:
        """Every worker samples (any of them may be asked); one of them logs."""
        line = self._console.sampler.tick(now, self.context.tables.stats())
        if self.context.number == 0 and self.context.config.settings.log_stats:
            log.info("%s", line)
