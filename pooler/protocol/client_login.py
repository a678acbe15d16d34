"""The login of a client, from its first byte until we know who it is.

Nothing is told to a stranger: whether a user or a database exists comes out only after a password was right,
so unknown users walk through the same messages as known ones (mock authentication) and fail at the end with
the same text. AuthenticationOk is not sent here; whoever drives this sends `ClientSession.auth_ok` once the
database turned out to exist and the limits to allow another client.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from pooler.auth import scram, scram_server
from pooler.auth.method import Method
from pooler.auth.passwords import Secret, check_md5_answer, check_password
from pooler.auth.scram import ScramKeys, Verifier
from pooler.errors import NOT_PERMITTED, WRONG_PASSWORD, ClientFault
from pooler.protocol import codes, external_methods, messages, startup
from pooler.protocol.conversation import (
    AskSecret,
    Conversation,
    NeedMessage,
    NeedStartup,
    NeedTurn,
    Offload,
    Pending,
    Send,
    StartTLS,
)
from pooler.protocol.startup import CancelRequest, Replication, StartupPacket
from pooler.protocol.tls import TlsInfo

#: The user who is the console's own, if it comes over a unix socket from the account pooler runs under.
CONSOLE_USER = "pgbouncer"

#: All ways in.
METHODS = frozenset({"any", "trust", "plain", "md5", "scram-sha-256", "peer", "cert", "ldap", "pam"})

BAD_PASSWORD = "password authentication failed"
BAD_PASSWORD_PACKET = "bad password packet"

#: Takes the place of a secret that does not exist; its text never counts, only the time it takes.
_NO_SECRET = Secret("plain", "\x00no such user")


@dataclass(frozen=True)
class ClientPolicy:
    """What the configuration says about a client of this kind, and what its socket tells."""

    auth_type: str  # for `choose` to decide: hba
    mock_secret: bytes = field(repr=False)  # per installation; makes the salts of unknown users stable
    ignore_startup_parameters: tuple[str, ...] = ()
    track_extra_parameters: tuple[str, ...] = ("IntervalStyle",)
    console_databases: tuple[str, ...] = ("pgbouncer", "pooler")
    choose: Callable[[StartupPacket, bool], Method | None] | None = None  # (packet, whether it came by TLS)
    follows: Callable[[str, str], bool] = lambda database, user: False  # whether any setting is taken
    scram_iterations: int = 4096  # of verifiers that are made from plain passwords
    mock_scram: bool = False  # under md5, unknown users see SCRAM: as most of the secrets stored are
    mock_iterations: int = 0  # theirs; 0: scram_iterations
    is_unix: bool = False
    peer_uid: int | None = None  # of a unix socket
    own_uid: int | None = None
    tls_offered: bool = False
    tls_required: bool = False
    tls: TlsInfo | None = None  # the connection began with TLS, without an SSLRequest
    random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True)
class ClientSession:
    """A client that is who it says it is."""

    user: str
    database: str
    parameters: dict[str, str]  # tracked ones, by canonical name
    auth_ok: bytes  # to be sent first
    others: dict[str, str] = field(default_factory=dict)  # not tracked, where settings may follow
    replication: Replication = "none"
    startup: tuple[tuple[str, str], ...] = ()  # of a replication client: what its server is to get, verbatim
    minor_version: int = 0  # of the protocol that is spoken with it
    own_user: bool = False  # console user over the unix socket of our own account: administrator
    tls: TlsInfo | None = None
    scram_keys: ScramKeys | None = None  # of a stored SCRAM secret; log in with them at the server
    password: bytes | None = field(default=None, repr=False)  # that a directory or PAM found right

    @property
    def is_replication(self) -> bool:
        """Whether it gets a server of its own, whose startup packet is its own."""
        return self.replication != "none"


def client_login(policy: ClientPolicy) -> Conversation[ClientSession | CancelRequest]:
    """Speak with a client until it has proven who it is, or wants a query cancelled."""
    packet, tls = yield from _open(policy)
    if isinstance(packet, CancelRequest):
        return packet
    if policy.tls_required and tls is None and not policy.is_unix:
        raise ClientFault("SSL required", NOT_PERMITTED)
    console = packet.database in policy.console_databases
    parameters, others = startup.wanted_parameters(
        packet,
        policy.track_extra_parameters,
        policy.ignore_startup_parameters,
        accept_unknown=console or packet.is_replication or policy.follows(packet.database, packet.user),
    )
    minor = min(packet.minor, codes.LATEST_MINOR)
    if packet.minor > minor or packet.extensions:  # once, whatever is asked for afterwards
        yield Send(messages.negotiate_protocol_version(packet.extensions, minor))
    own_user = _is_own_user(policy, packet)
    proof = _Proof() if own_user else (yield from _authenticate(policy, packet, tls))
    return ClientSession(
        user=packet.user,
        database=packet.database,
        parameters=parameters,
        auth_ok=messages.authentication_ok(),
        others={} if console else others,
        replication=packet.replication,
        startup=startup.verbatim(packet, policy.ignore_startup_parameters) if packet.is_replication else (),
        minor_version=minor,
        own_user=own_user,
        tls=tls,
        scram_keys=proof.keys,
        password=proof.password,
    )


def _open(policy: ClientPolicy) -> Conversation[tuple[StartupPacket | CancelRequest, TlsInfo | None]]:
    """Answer requests for encryption, one of each kind at most, until the packet that counts."""
    tls = policy.tls
    answered: set[type[startup.Opening]] = set()
    while True:
        raw: bytes = yield NeedStartup()
        packet = startup.parse(raw)
        if isinstance(packet, StartupPacket | CancelRequest):
            return packet, tls
        if tls is not None or type(packet) in answered:
            raise ClientFault("SSL or GSSAPI encryption was already negotiated")
        answered.add(type(packet))
        pending: bool = yield Pending()
        if pending:  # it would be taken for what came through TLS (CVE-2021-3935)
            raise ClientFault("received unencrypted data after encryption request")
        wanted = isinstance(packet, startup.SslRequest) and policy.tls_offered and not policy.is_unix
        if wanted:
            yield NeedTurn()
        yield Send(b"S" if wanted else b"N")
        if wanted:
            tls = yield StartTLS()


def _is_own_user(policy: ClientPolicy, packet: StartupPacket) -> bool:
    """Whether this is the console's own user, who needs no password."""
    same_account = policy.is_unix and policy.peer_uid is not None and policy.peer_uid == policy.own_uid
    return same_account and packet.user == CONSOLE_USER and packet.database in policy.console_databases


@dataclass(frozen=True, repr=False)
class _Proof:
    """What a client showed that is of use at a server too."""

    keys: ScramKeys | None = None
    password: bytes | None = None


def _method(policy: ClientPolicy, packet: StartupPacket, tls: bool) -> Method:
    """The way in which this client has to prove who it is."""
    method = Method(policy.auth_type) if policy.choose is None else policy.choose(packet, tls)
    if method is None:
        raise ClientFault("no authentication method is found", NOT_PERMITTED)
    if method.name == "reject":
        raise ClientFault("login rejected", NOT_PERMITTED)
    if method.name not in METHODS:
        raise ClientFault("bouncer config error")
    return method


def _authenticate(policy: ClientPolicy, packet: StartupPacket, tls: TlsInfo | None) -> Conversation[_Proof]:
    """Let the client prove who it is, by the method of the configuration."""
    method = _method(policy, packet, tls is not None)
    if method.name == "any":
        return _Proof()
    if method.name == "pam":  # it knows its users itself
        return _Proof(password=(yield from _ask_for_password(method, packet.user, known=True)))
    secret: Secret | None = yield AskSecret(packet.user, packet.database)
    if method.name == "trust":
        if secret is None:
            raise ClientFault('"trust" authentication failed', NOT_PERMITTED)
        return _Proof()
    if method.name == "ldap":
        return _Proof(password=(yield from _ask_for_password(method, packet.user, secret is not None)))
    if method.name == "peer":
        peer_uid = policy.peer_uid if policy.is_unix else None
        yield from external_methods.check_peer(method, packet.user, peer_uid, secret is not None)
        return _Proof()
    if method.name == "cert":
        external_methods.check_certificate(method, packet.user, tls, secret is not None)
        return _Proof()
    if secret is not None and not secret.text:
        secret = None  # an empty password never lets anybody in
    return _Proof((yield from _check_secret(policy, method, messages.encode(packet.user), secret, tls)))


def _check_secret(
    policy: ClientPolicy, method: Method, user: bytes, secret: Secret | None, tls: TlsInfo | None
) -> Conversation[ScramKeys | None]:
    """The methods that need a stored secret; None: it has none."""
    if method.name == "plain":
        yield from _check_plain(policy, user, secret)
        return None
    has_scram = policy.mock_scram if secret is None else secret.kind == "scram"
    if method.name == "md5" and not has_scram:
        yield from _check_md5(policy, user, secret)
        return None
    keys: ScramKeys | None = yield from _check_scram(policy, user, secret, tls)
    return keys


def _ask_for_password(method: Method, user: str, known: bool) -> Conversation[bytes]:
    """A password in clear text, which somebody else finds right."""
    yield Send(messages.authentication_cleartext())
    password = yield from _password(codes.MAX_PASSWORD_BODY_BYTES)
    yield from external_methods.check_password(method, user, password, known)
    return password


# -- methods -------------------------------------------------------------------------------------------------


def _check_plain(policy: ClientPolicy, user: bytes, secret: Secret | None) -> Conversation[None]:
    yield Send(messages.authentication_cleartext())
    password = yield from _password(codes.MAX_PASSWORD_BODY_BYTES)
    verifier = secret.verifier if secret else None
    if secret is None and policy.mock_scram:
        verifier = _mock_verifier(policy, user)
    if verifier is not None:
        right: bool = yield Offload(scram.verify_password, (verifier, password))
    else:
        right = check_password(secret or _NO_SECRET, user, password)
    if not right or secret is None:
        raise ClientFault(BAD_PASSWORD, WRONG_PASSWORD)


def _check_md5(policy: ClientPolicy, user: bytes, secret: Secret | None) -> Conversation[None]:
    salt = policy.random(4)
    yield Send(messages.authentication_md5(salt))
    answer = yield from _password(codes.MAX_MD5_BODY_BYTES)
    right = check_md5_answer(secret or _NO_SECRET, user, salt, answer)
    if not right or secret is None:
        raise ClientFault(BAD_PASSWORD, WRONG_PASSWORD)


def _check_scram(
    policy: ClientPolicy, user: bytes, secret: Secret | None, tls: TlsInfo | None
) -> Conversation[ScramKeys | None]:
    """SASL with SCRAM-SHA-256, bound to the TLS where there is one and the client can; returns the client's
    keys if they will be good at a server too."""
    certificate = tls.certificate_hash if tls else None
    stored = secret.verifier if secret else None
    salt = stored.salt if stored else scram.stable_salt(policy.mock_secret, user)
    iterations = stored.iterations if stored else policy.scram_iterations
    if secret is None:
        iterations = policy.mock_iterations or policy.scram_iterations
    offered = (
        [codes.SCRAM_SHA_256] if certificate is None else [codes.SCRAM_SHA_256_PLUS, codes.SCRAM_SHA_256]
    )
    yield Send(messages.authentication_sasl(offered))
    mechanism, data = _initial_response((yield from _answer(codes.MAX_SASL_BYTES)), offered)
    first = scram_server.parse_client_first(data, mechanism == codes.SCRAM_SHA_256_PLUS, certificate)
    yield NeedTurn()  # the client's answer takes PBKDF2
    said = scram_server.server_first(first, salt, iterations, policy.random(scram_server.NONCE_BYTES))
    yield Send(messages.authentication_sasl_continue(said))
    final = yield from _answer(codes.MAX_SASL_BYTES)
    verifier = stored or (yield from _made_verifier(policy, user, secret, salt))
    proven = scram_server.check_client_final(final, first, said, verifier)
    yield Send(messages.authentication_sasl_final(proven.server_final))
    # Keys of a verifier that we made ourselves fit no server: its salt is ours.
    return ScramKeys(proven.client_key, verifier.server_key) if stored else None


def _made_verifier(
    policy: ClientPolicy, user: bytes, secret: Secret | None, salt: bytes
) -> Conversation[Verifier]:
    """The verifier of a user without a stored one: made from its plain password, or one nobody satisfies."""
    if secret is None or secret.kind != "plain":  # MD5 secrets cannot be used with SCRAM
        return _mock_verifier(policy, user)
    arguments = (secret.raw, salt, policy.scram_iterations)
    keys: ScramKeys | None = scram.KEYS.find(*arguments)
    if keys is None:
        keys = yield Offload(scram.KEYS.derive, arguments)
    return scram.verifier_of(keys, salt, policy.scram_iterations)


def _mock_verifier(policy: ClientPolicy, user: bytes) -> Verifier:
    return scram.mock_verifier(policy.mock_secret, user, policy.mock_iterations or policy.scram_iterations)


# -- messages ------------------------------------------------------------------------------------------------


def _answer(max_bytes: int) -> Conversation[bytes]:
    """The body of the next message, which must be an answer to our authentication request."""
    kind, body = yield NeedMessage(max_bytes)
    if kind == b"X":
        raise ClientFault("client close request")
    if kind != b"p":
        raise ClientFault("unknown pkt")
    if len(body) > max_bytes:
        raise ClientFault(BAD_PASSWORD_PACKET)
    data: bytes = body
    return data


def _password(max_bytes: int) -> Conversation[bytes]:
    """A PasswordMessage: one text with its terminator at the end."""
    body = yield from _answer(max_bytes)
    password, terminator, behind = body.partition(b"\0")
    if not terminator or behind:
        raise ClientFault(BAD_PASSWORD_PACKET)
    return password


def _initial_response(body: bytes, offered: list[str]) -> tuple[str, bytes]:
    """A SASLInitialResponse: mechanism, length, data, and nothing behind it; returns mechanism and data."""
    name, terminator, rest = body.partition(b"\0")
    mechanism = messages.decode(name)
    if not terminator or mechanism not in offered:
        raise ClientFault("client selected an invalid SASL authentication mechanism")
    # Read unsigned and compared, never added to: a length of -1 or 2^31 is merely wrong (CVE-2026-6664).
    if len(rest) < 4 or int.from_bytes(rest[:4], "big") != len(rest) - 4:
        raise scram_server.failed("SASLInitialResponse: wrong length")
    return mechanism, rest[4:]
