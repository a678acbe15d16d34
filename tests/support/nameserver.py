"""A DNS server whose answers a test changes: addresses, NXDOMAIN, silence, the serial of a zone.

It listens on port 53 of a loopback address of its own, because a resolver file has no place for a port.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from pooler.dev.processes import Account


class NameServer:
    """`names` maps names to their addresses; what is not there does not exist. In the zone `example.test`."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.serial = 1
        self.silent = False
        self.asked: Counter[str] = Counter()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while True:  # any of the 16 million loopback addresses; another run of the tests has another one
            self.address = "127.{}.{}.{}".format(*(random.randint(2, 250) for _ in range(3)))
            try:
                self._sock.bind((self.address, 53))
            except PermissionError as error:
                raise AssertionError(
                    "port 53 of a loopback address is for root: run this test as root"
                ) from error
            except OSError:
                continue
            break
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> NameServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def resolv_conf(self, directory: Path, owner: Account) -> Path:
        """A resolver file that leads here."""
        path = directory / "resolv.conf"
        path.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:1\n")
        owner.give(path)
        return path

    def _run(self) -> None:
        while True:
            try:
                data, peer = self._sock.recvfrom(4096)
            except OSError:  # closed
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer is not None:
                self._sock.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked[name] += 1
        if self.silent:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA | dns.flags.RA
        soa = f"ns.example.test. root.example.test. {self.serial} 60 60 60 60"
        if question.rdtype == dns.rdatatype.SOA and name == "example.test":
            reply.answer.append(dns.rrset.from_text("example.test.", 60, "IN", "SOA", soa))
        elif name not in self.names:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            reply.authority.append(dns.rrset.from_text("example.test.", 60, "IN", "SOA", soa))
        else:
            kind = {dns.rdatatype.A: "A", dns.rdatatype.AAAA: "AAAA"}.get(question.rdtype)
            found = [one for one in self.names[name] if (":" in one) == (kind == "AAAA")] if kind else []
            if found and kind:
                reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *found))
        return reply
