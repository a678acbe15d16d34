"""The control channel's framing: messages to bytes and, piece by piece, back again. No sockets.

A frame is its length (4 bytes, big endian, without itself) and one msgpack array. Names of users and
databases may hold bytes that are not UTF-8; they travel as Python's surrogate escapes.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import Any

import msgpack

from pooler.ipc.messages import MESSAGES, Message

LENGTH = struct.Struct("!I")

#: Largest frame in bytes: a configuration of some 100,000 databases. Beyond it somebody is out of step.
MAX_FRAME_BYTES = 64 * 1024 * 1024


class ChannelError(Exception):
    """The other end sent what is no message; the channel cannot be used any more."""


def encode(message: Message) -> bytes:
    """The frame of a message; raises ChannelError if it is too large."""
    values: list[Any] = [type(message).__name__]
    values += [getattr(message, field.name) for field in fields(message)]
    body: bytes = msgpack.packb(values, unicode_errors="surrogateescape")
    if len(body) > MAX_FRAME_BYTES:
        raise ChannelError(f"{values[0]} of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return LENGTH.pack(len(body)) + body


def _decode(body: bytes) -> Message:
    try:
        values = msgpack.unpackb(body, unicode_errors="surrogateescape", strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as e:  # TypeError: a list as a key
        raise ChannelError(f"not msgpack: {e}") from None
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise ChannelError("not a message")
    kind = MESSAGES.get(values[0])
    if kind is None:
        raise ChannelError(f"unknown message {values[0]!r}")
    if len(values) - 1 != len(fields(kind)):
        raise ChannelError(f"{values[0]} with {len(values) - 1} values")
    return kind(*values[1:])


class Decoder:
    """Collects the bytes of one direction of a channel.

    `feed` returns the messages that became complete, in order. It raises ChannelError when the bytes make
    no sense; the channel must then be closed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        messages: list[Message] = []
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer, start)
            if size > MAX_FRAME_BYTES:
                raise ChannelError(f"frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = start + LENGTH.size + size
            if len(self._buffer) < end:
                break
            messages.append(_decode(bytes(self._buffer[start + LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return messages
