"""Names of hosts: looked up where waiting delays no client, and remembered for all workers
(core/tables/hosts.c).

An answer holds for `dns_max_ttl`, a failure for `dns_nxdomain_ttl`, and a failure forgets nothing: the last
good addresses stay in use. Whoever needs a name that has to be asked for waits for the answer, but not long
when there are addresses from before: a resolver that is down must not hold up PostgreSQL.

The system's resolver is asked (getaddrinfo: /etc/hosts and whatever nsswitch.conf names), or, with
`resolv_conf`, the servers in there. Both block, so they have threads of their own: those of logins
(passwords) are not to wait behind a dead resolver.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from pooler import log
from pooler.worker import dns

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext

#: How long one look-up may take.
LOOKUP_S = 5.0
#: How long an answer is waited for where the last good one can be used.
STALE_S = 1.0
#: Look-ups at once; more wait. A thread is stuck as long as the system's resolver is.
THREADS = 8

T = TypeVar("T")


class Resolver:
    """Of one worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._tables = context.tables
        self._asking: dict[str, Event] = {}
        self._threads: ThreadPool | None = None

    def find(self, host: str) -> tuple[list[str], int]:
        """The addresses of a name, each time another one first, and its row in the tables; none, and -1, for
        what is no name. An address is its own."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return [host], -1
        row = self._tables.host(host)
        if row < 0:
            log.warning("DNS lookup failed: %s: result=not a host name", host)
            return [], -1
        known, fresh = self._tables.host_entry(row)
        if not fresh:
            self._ask(host, row).wait(STALE_S if known else LOOKUP_S)
        return self._tables.host_entry(row, turn=True)[0] or [], row

    def _ask(self, host: str, row: int) -> Event:
        """Have it looked up, once for all that wait; the event comes with the answer."""
        answered = self._asking.get(host)
        if answered is None:
            answered = self._asking[host] = Event()
            self._context.spawn(self._look_up, host, row, answered)
        return answered

    def _look_up(self, host: str, row: int, answered: Event) -> None:
        settings = self._context.config.settings
        self._tables.host_asked(row, LOOKUP_S)
        try:
            found = self._in_thread(partial(dns.addresses, host, settings.resolv_conf))
        except dns.LookupFailure as failure:
            log.warning("DNS lookup failed: %s: result=%s", host, failure)
            self._tables.host_failed(row, settings.dns_nxdomain_ttl)
        else:
            obsolete = self._tables.host_answered(row, found, settings.dns_max_ttl)
            if obsolete:
                log.info(
                    "host %s is at %s now: %d servers are obsolete",
                    host,
                    " ".join(found) or "no address",
                    obsolete,
                )
        finally:
            del self._asking[host]
            answered.set()

    # -- zones

    def check_zones(self) -> None:
        """Look at the serials of the zones that names are in; where one has changed, names are asked anew."""
        for zone in sorted({zone for row in self._tables.hosts() if (zone := dns.zone_of(row["name"]))}):
            row = self._tables.host(zone, zone=True)
            if row < 0:
                continue
            self._tables.host_asked(row, LOOKUP_S)
            conf = self._context.config.settings.resolv_conf
            try:
                serial = self._in_thread(partial(dns.serial, zone, conf))
            except dns.LookupFailure as failure:
                log.debug("zone %s: %s", zone, failure)
                self._tables.host_expire(row)
                continue
            before = self._tables.zone_answered(row, serial)
            self._tables.host_expire(row)
            if before is not None:
                log.info("zone '%s' serial changed: old=%d new=%d", zone, before, serial)
                for member in self._tables.hosts():
                    if dns.zone_of(member["name"]) == zone:
                        self._ask(member["name"], member["row"])

    # -- waiting

    def _in_thread(self, function: Callable[[], T]) -> T:
        """Its result; raises LookupFailure."""

        def guarded() -> T | dns.LookupFailure:
            try:
                return function()
            except dns.LookupFailure as failure:  # gevent would print what a thread raises
                return failure

        if self._threads is None:
            self._threads = ThreadPool(THREADS)
        patience = gevent.Timeout(LOOKUP_S)
        try:
            with patience:
                result = self._threads.spawn(guarded).get()
        except gevent.Timeout as timeout:
            if timeout is not patience:
                raise
            raise dns.LookupFailure(f"no answer within {LOOKUP_S:g} s") from None
        if isinstance(result, dns.LookupFailure):
            raise result
        return result  # type: ignore[no-any-return]
