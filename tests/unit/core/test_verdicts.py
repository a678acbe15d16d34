"""The enums that Python decides by have the values of the C enums, all of them."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from pooler.core import CancelVerdict, CatalogState, LoginVerdict, PeerState, SharedDdl, _core

CORE = Path(__file__).resolve().parents[3] / "pooler/core"


def enumerators_of(header: str, name: str) -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", (CORE / header).read_text(), flags=re.DOTALL)
    found = re.search(rf"enum {name} \{{([^}}]*)\}}", text)
    assert found is not None
    return [word.strip() for word in found[1].split(",") if word.strip()]


@pytest.mark.parametrize(
    ("python", "header", "name", "prefix"),
    [
        (LoginVerdict, "tables/tables.h", "login_verdict", "LOGIN_"),
        (CancelVerdict, "tables/tables.h", "cancel_verdict", "CANCEL_"),
        (PeerState, "tables/tables.h", "peer_state", "PEER_"),
        (CatalogState, "tables/layout.h", "catalog_state", "CATALOG_"),
        (SharedDdl, "relay/relay.h", "shared_ddl", "DDL_"),
    ],
)
def test_enum_is_whole(python: type[IntEnum], header: str, name: str, prefix: str) -> None:
    enumerators = enumerators_of(header, name)
    assert [prefix + member.name for member in python] == enumerators
    assert [member.value for member in python] == list(range(len(enumerators)))


@pytest.mark.parametrize(
    ("words", "header", "name", "prefix"),
    [
        (_core.HANDOFF_WORDS, "tables/tables.h", "handoff_word", "HANDOFF_"),
        (_core.POOL_MODES, "tables/layout.h", "pool_mode", "MODE_"),
        (_core.REPLICATION, "tables/layout.h", "replication", "REPLICATION_"),
    ],
)
def test_words_are_in_the_order_of_their_enum(
    words: tuple[str, ...], header: str, name: str, prefix: str
) -> None:
    assert [prefix + word.upper() for word in words] == enumerators_of(header, name)


def test_reasons_to_close_a_client_are_those_of_the_relay() -> None:
    """A number in the client's row stands for the text, on both sides."""
    found = re.search(r"kill_texts\[\] = \{(.*?)\};", (CORE / "relay/loop.c").read_text(), re.DOTALL)
    assert found is not None
    texts = re.findall(r'"([^"]*)"', found[1])
    assert [texts[number] for number in _core.KILL_TEXTS.values()] == list(_core.KILL_TEXTS)
