"""Ways to log in that need no stored secret: by the account of a unix socket's peer, by certificate, and by
who keeps the passwords elsewhere.

The client is told that it failed; why goes into notes of the fault, which are logged. Users who do not exist
(`known` is false) fail like those who do, with nothing told before.
"""

from __future__ import annotations

import pwd

from pooler.auth.method import Method
from pooler.errors import NOT_PERMITTED, ClientFault
from pooler.protocol.conversation import CheckPassword, Conversation, Offload
from pooler.protocol.tls import TlsInfo

#: What a client hears whose password was found wrong.
FAILED = {"ldap": "LDAP authentication failed", "pam": "PAM authentication failed"}


def check_peer(method: Method, user: str, uid: int | None, known: bool) -> Conversation[None]:
    """The account at the other end of a unix socket (`uid`; None: there is none) has to be the user's."""
    account: str | None = None
    if uid is not None:
        account = yield Offload(account_name, (uid,))  # the answer may come from a directory
    if account is not None and known and method.permits(account, user):
        return
    raise _fault("unix socket login rejected", _mismatch(method, "ident map {} cannot be matched"))


def check_certificate(method: Method, user: str, tls: TlsInfo | None, known: bool) -> None:
    """The certificate that the client has shown has to be the user's."""
    reason = None
    if tls is None:
        reason = "TLS connection required"
    elif not tls.peer_common_name:
        reason = "TLS client certificate required"
    elif not method.permits(tls.peer_common_name, user):
        reason = _mismatch(method, "ident map: {} does not have a match") or "TLS certificate name mismatch"
    elif known:
        return
    raise _fault("certificate authentication failed", reason)


def check_password(method: Method, user: str, password: bytes, known: bool) -> Conversation[None]:
    """The service that keeps the passwords of this method has to find this one right; none is empty."""
    right = False
    if password:  # a directory takes an empty one for an anonymous login, which succeeds
        right = yield CheckPassword(method, user, password)
    if not right or not known:
        raise ClientFault(FAILED[method.name], NOT_PERMITTED)


def account_name(uid: int) -> str | None:
    """The name of a system account; None: it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _mismatch(method: Method, text: str) -> str | None:
    return None if method.map is None else text.format(method.map.name)


def _fault(text: str, reason: str | None) -> ClientFault:
    fault = ClientFault(text, NOT_PERMITTED)
    if reason is not None:
        fault.add_note(reason)
    return fault
