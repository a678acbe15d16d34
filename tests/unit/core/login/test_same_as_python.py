"""The core reads packets and rules as a second implementation does, in Python (tests/support)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.config import Config
from pooler.config.hba import HbaRule, Names
from pooler.core import LoginPolicy, _core
from pooler.errors import ClientFault
from pooler.protocol.messages import decode, encode
from pooler.protocol.startup import CancelRequest
from pooler.worker.login_policy import login_policy
from tests.support import startup_packets as startup
from tests.support.hba_rules import Client, address_of, find_rule
from tests.support.login_packets import check_length, packet, parse, wanted_of

FAULT_BYTES = 512
EXAMPLES = 400

PIECES = [
    b"user", b"database", b"replication", b"options", b"_pq_.x", b"client_encoding", b"DateStyle",
    b"TIMEZONE", b"role", b"Session_Authorization", b"search_path", b"local_preload_libraries",
    b"transaction_read_only",
    b"transaction_isolation", b"serializable", b"on", b"OFF", b"t", b"maybe", b"", b"u", b"x" * 64,
    b"y" * 128, b"-c a=b", b"-c search_path=x --timezone=UTC", b"-c", b"--A-b=c",
    b"-c TimeZone=a\\ b", b"\\", b" ",
    b"\xff", b"\xc3\xa4", b"\r\n", b"z" * 600, b"-c role=x", b"-c local_preload_libraries=\\ ",
    b"-c local_preload_libraries=y", b"-d 5",
]  # fmt: skip
PIECE = st.sampled_from(PIECES) | st.binary(max_size=4).map(lambda text: text.replace(b"\0", b""))
PAIRS = st.lists(st.tuples(PIECE, PIECE), max_size=8)
CODES = st.sampled_from([3 << 16, (3 << 16) + 2, (3 << 16) + 9, 2 << 16, 80877102, 80877103, 80877104, 0])


def cut(text: str) -> str:
    """As the core cuts a fault."""
    return encode(text)[: FAULT_BYTES - 4].decode("utf-8", "ignore")


def outcome(call: Any) -> Any:
    """What it returns, or its fault."""
    try:
        return call()
    except ClientFault as fault:
        return "fault", fault.sqlstate, cut(fault.message)


def read_in_python(raw: bytes) -> tuple[Any, ...]:
    match startup.parse(raw):
        case startup.SslRequest():
            return ("ssl",)
        case startup.GssRequest():
            return ("gss",)
        case CancelRequest(pid, key):
            return "cancel", pid, key
        case startup.StartupPacket() as p:
            pairs = tuple((encode(name), encode(value)) for name, value in p.settings)
            names = tuple(map(encode, p.extensions))
            texts = (encode(p.user), encode(p.database), p.replication, encode(p.options))
            return "startup", p.minor, *texts, pairs, names
    raise AssertionError


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    raw=st.binary(max_size=12), body=st.binary(max_size=40), pairs=PAIRS, code=CODES, end=st.integers(-2, 0)
)
def test_packets(raw: bytes, body: bytes, pairs: list[tuple[bytes, bytes]], code: int, end: int) -> None:
    texts = b"".join(name + b"\0" + value + b"\0" for name, value in pairs)
    whole = b"user\0me\0" + texts + b"\0"
    for given_bytes in (raw, packet(body, code), packet(texts + b"\0", code), packet(whole, code),
                        packet(whole[: len(whole) + end], code)):  # fmt: skip
        assert outcome(lambda g=given_bytes: parse(g)) == outcome(lambda g=given_bytes: read_in_python(g))


@given(head=st.binary(min_size=4, max_size=4) | st.integers(0, 10_010).map(lambda n: n.to_bytes(4, "big")))
def test_lengths(head: bytes) -> None:
    assert outcome(lambda: check_length(head)) == outcome(lambda: startup.check_length(head))


def wanted_in_python(raw: bytes, extra: Any, ignored: Any, accept: bool) -> Any:
    opened = startup.parse(raw)
    assert isinstance(opened, startup.StartupPacket)
    tracked, others = startup.wanted_parameters(opened, extra, ignored, accept)
    pairs = {encode(name): encode(value) for name, value in others.items()}
    return {name: encode(value) for name, value in tracked.items()}, pairs


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    pairs=PAIRS,
    options=st.lists(PIECE, max_size=4).map(b" ".join),
    extra=st.sets(st.sampled_from(["IntervalStyle", "search_path", "role", "a"])),
    ignored=st.sets(
        st.sampled_from(["Options", "search_path", "a_b", "u", "local_preload_libraries", "role"])
    ),
    accept=st.booleans(),
)
def test_wanted(
    pairs: list[tuple[bytes, bytes]], options: bytes, extra: set[str], ignored: set[str], accept: bool
) -> None:
    special = (b"user", b"database", b"replication")
    texts = b"".join(name + b"\0" + value + b"\0" for name, value in pairs if name and name not in special)
    raw = packet(b"user\0me\0options\0" + options + b"\0" + texts + b"\0")
    arguments = (raw, tuple(extra), tuple(ignored), accept)
    assert outcome(lambda: wanted_of(*arguments)) == outcome(lambda: wanted_in_python(*arguments))


OPTION_TEXT = st.text(alphabet="-c=\\ ab\t\u00e4\u00a0", max_size=30)


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=OPTION_TEXT)
def test_options(text: str) -> None:
    raw = packet(b"user\0me\0options\0" + encode(text) + b"\0\0")
    assert outcome(lambda: wanted_of(raw, accept_unknown=True)) == outcome(
        lambda: wanted_in_python(raw, (), (), True)
    )


ADDRESS_TEXT = st.text(alphabet="0123456789abf:.%", max_size=20) | st.ip_addresses().map(str)


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=ADDRESS_TEXT | ADDRESS_TEXT.map("::ffff:{}".format))
def test_addresses(text: str) -> None:
    address = address_of(text)
    expected = None if address is None else (address.version, address.packed)
    assert _core.login_address(text.encode()) == expected


NAME = st.sampled_from(["a", "b", "all", "sameuser", "replication", "\udcff"])
SET_OF_NAMES = st.builds(
    Names, st.frozensets(st.sampled_from(["all", "sameuser", "replication"]), max_size=2), st.frozensets(NAME)
)
ADDRESS = st.sampled_from(["", "10.1.2.3", "10.1.2.4", "::1", "fe80::1", "::ffff:10.1.2.3"])
NETWORK = st.sampled_from([("", ""), ("10.1.0.0", "255.255.0.0"), ("10.0.2.3", "255.0.255.255"),
                           ("::", "::"), ("::1", "ffff::ffff"), ("0.0.0.0", "0.0.0.0"),
                           ("10.0.0.1", "255.0.0.0"), ("fe80::", "ffc0::")])  # fmt: skip
RULE = st.tuples(
    st.sampled_from(["local", "host", "hostssl", "hostnossl"]), SET_OF_NAMES, SET_OF_NAMES, NETWORK,
    st.sampled_from(["trust", "reject", "md5", "plain", "scram-sha-256", "peer", "cert", "ldap", "pam"]),
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(lines=st.lists(RULE, max_size=6), database=NAME, user=NAME, address=ADDRESS, tls=st.booleans(),
       physical=st.booleans())  # fmt: skip
def test_rules(
    lines: list[tuple[Any, ...]], database: str, user: str, address: str, tls: bool, physical: bool
) -> None:
    rules = tuple(
        HbaRule(10 + number, kind, databases, users, network[0], network[1], method)
        for number, (kind, databases, users, network, method) in enumerate(lines)
    )
    policy: LoginPolicy = login_policy(Config("p.ini", hba=rules), None, (3, 4))
    rule = find_rule(rules, Client(database, user, address_of(address), tls, physical))
    expected = None if rule is None else (rule.line, rules.index(rule), rule.method, False)
    where = address.encode() or None
    found = _core.login_rule(policy, encode(database), encode(user), where, tls, physical)
    assert found == expected
    assert decode(encode(database)) == database
