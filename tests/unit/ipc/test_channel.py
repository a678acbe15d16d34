"""Messages of the control channel survive the way, in any pieces; anything else is refused."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.ipc.channel import LENGTH, MAX_FRAME_BYTES, ChannelError, Decoder, encode
from pooler.ipc.messages import (
    MESSAGES,
    BootFailed,
    CancelElsewhere,
    CancelHere,
    Drain,
    InboxFull,
    Message,
    Pause,
    Ping,
    Pong,
    Quit,
    Ready,
    Reclaim,
    Reload,
    ReloadAnswer,
    ReloadDone,
    ReloadRequest,
    Resume,
    SetRequest,
    ShutdownRequest,
    Suspended,
)

EXAMPLES: list[Message] = [
    Ready(3),
    BootFailed(0, "no such host: ü\n"),
    ReloadRequest(7),
    ReloadDone(1, 2**31),
    ReloadDone(1, 2, "no"),
    InboxFull(1),
    SetRequest(9, "verbose", "bytes that are no UTF-8: \udcff"),
    ShutdownRequest("wait_for_clients"),
    Reload(4, {"settings": {"a": [1, 2.5, None, True]}, "users": {"\udce4": b"\x00\xff"}, 5: "five"}),  # type: ignore[dict-item]  # any key
    ReloadAnswer(7, None),
    ReloadAnswer(7, "p.ini:3: error: no"),
    Drain("wait_for_servers"),
    Reclaim(),
    Pause(),
    Resume(),
    Quit(),
    CancelElsewhere(0x7F000001, b"\x00\xff12"),
    CancelHere(1, b""),
    Suspended(True),
    Ping(),
    Pong(),
]


def test_every_message_has_an_example() -> None:
    assert {type(m).__name__ for m in EXAMPLES} == set(MESSAGES)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Message) -> None:
    assert Decoder().feed(encode(message)) == [message]


def test_all_in_one_piece() -> None:
    assert Decoder().feed(b"".join(map(encode, EXAMPLES))) == EXAMPLES


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_in_pieces(size: int) -> None:
    data = b"".join(map(encode, EXAMPLES))
    decoder = Decoder()
    got = [m for at in range(0, len(data), size) for m in decoder.feed(data[at : at + size])]
    assert got == EXAMPLES


def test_a_frame_is_not_delivered_early() -> None:
    decoder = Decoder()
    data = encode(ReloadRequest(7))
    assert decoder.feed(data[:-1]) == []
    assert decoder.feed(data[-1:] + data[:2]) == [ReloadRequest(7)]
    assert decoder.feed(data[2:]) == [ReloadRequest(7)]


def frame(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return LENGTH.pack(len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        LENGTH.pack(MAX_FRAME_BYTES + 1),
        frame(["Nonsense", 1]),
        frame(["Ready"]),
        frame(["Ready", 1, 2]),
        frame([]),
        frame([[1], 2]),
        frame(17),
        frame({"Ready": 1}),
        LENGTH.pack(0),
        LENGTH.pack(1) + b"\xc1",
        LENGTH.pack(3) + b"\x01\x02\x03",
        LENGTH.pack(4) + b"\x81\x91\x01\x02",
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        Decoder().feed(data)


def test_too_large_to_send() -> None:
    with pytest.raises(ChannelError, match="over the limit"):
        encode(BootFailed(0, "x" * MAX_FRAME_BYTES))


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    for fed in (data, LENGTH.pack(len(data)) + data):
        with contextlib.suppress(ChannelError):
            Decoder().feed(fed)
