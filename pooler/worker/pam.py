"""Whether PAM finds a password right, for the service `pgbouncer`, as PgBouncer asks. Runs in a thread.

By a few lines of ctypes: the packages there are set credentials of the session, which a pooler must not, and
do not tell the modules where the client is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from typing import Any

from pooler import log

SERVICE = b"pgbouncer"

# -- security/_pam_types.h
SUCCESS = 0
CONV_ERR = 19
RHOST = 4
SILENT = 0x8000
PROMPT_ECHO_OFF = 1
ERROR_MSG = 3


class _Message(Structure):
    _fields_ = (("style", c_int), ("text", c_char_p))


class _Response(Structure):
    _fields_ = (("text", c_void_p), ("code", c_int))


_Conversation = CFUNCTYPE(c_int, c_int, POINTER(POINTER(_Message)), POINTER(POINTER(_Response)), c_void_p)


class _Conv(Structure):
    _fields_ = (("function", _Conversation), ("data", c_void_p))


@cache
def _libraries() -> tuple[Any, Any]:
    """PAM and the C library, whose memory PAM frees; raises OSError where there is no PAM."""
    pam, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
    pam.pam_start.argtypes = (c_char_p, c_char_p, POINTER(_Conv), POINTER(c_void_p))
    pam.pam_set_item.argtypes = (c_void_p, c_int, c_char_p)
    for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end", "pam_strerror"):
        getattr(pam, name).argtypes = (c_void_p, c_int)
    pam.pam_strerror.restype = c_char_p
    libc.calloc.restype, libc.calloc.argtypes = c_void_p, (c_size_t, c_size_t)
    libc.strdup.restype, libc.strdup.argtypes = c_void_p, (c_char_p,)
    return pam, libc


def check(user: str, password: bytes, address: str) -> bool:
    """Whether the user has this password, and an account that is open now; logs why not."""
    name = user.encode("utf-8", "surrogateescape")
    if b"\0" in name + password:
        return False
    try:
        pam, _ = _libraries()
    except OSError as error:
        log.error("PAM authentication is not possible here: %s", error)
        return False
    conversation = _Conversation(lambda *arguments: _converse(password, *arguments))
    handle = c_void_p()
    code = pam.pam_start(SERVICE, name, byref(_Conv(conversation, None)), byref(handle))
    if code != SUCCESS:
        log.warning("pam_start() failed: %s", _text(pam.pam_strerror(None, code)))
        return False
    steps: tuple[tuple[str, Callable[[], int]], ...] = (
        ("pam_set_item", lambda: pam.pam_set_item(handle, RHOST, address.encode() or b"unix")),
        ("pam_authenticate", lambda: pam.pam_authenticate(handle, SILENT)),
        ("pam_acct_mgmt", lambda: pam.pam_acct_mgmt(handle, SILENT)),  # expired, or not at this hour
    )
    try:
        for step, call in steps:
            code = call()
            if code != SUCCESS:
                log.warning("%s() failed: %s", step, _text(pam.pam_strerror(handle, code)))
                return False
        return True
    finally:
        pam.pam_end(handle, code)


def _converse(password: bytes, count: int, messages: Any, responses: Any, _: Any) -> int:
    """What the modules ask is the password; what they tell is logged."""
    _, libc = _libraries()
    memory = libc.calloc(count, ctypes.sizeof(_Response))
    if count < 1 or not memory:
        return CONV_ERR
    answers = ctypes.cast(memory, POINTER(_Response))
    for i in range(count):
        message = messages[i].contents
        if message.style == PROMPT_ECHO_OFF:
            answers[i].text = libc.strdup(password)
        elif message.style == ERROR_MSG:
            log.warning("pam_conversation(): PAM error: %s", _text(message.text))
        else:
            log.debug("pam_conversation(): unhandled message, msg_style=%d", message.style)
    responses[0] = answers  # PAM frees it, and the texts
    return SUCCESS


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")
