"""The enums that Python decides by have the values of the C enums, all of them."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from pooler.core import AcceptEnd, CancelVerdict, CatalogState, LoginVerdict, PeerState, SharedDdl, _core

CORE = Path(__file__).resolve().parents[3] / "pooler/core"


def enumerators_of(name: str) -> list[str]:
    texts = [re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL) for path in CORE.rglob("*.h")]
    found = [one[1] for text in texts for one in re.finditer(rf"enum {name} \{{([^}}]*)\}}", text)]
    assert len(found) == 1, f"enum {name}: {len(found)} of them"
    return [word.strip() for word in found[0].split(",") if word.strip()]


@pytest.mark.parametrize(
    ("python", "name", "prefix"),
    [
        (AcceptEnd, "accept_end", "ACCEPT_"),
        (LoginVerdict, "login_verdict", "LOGIN_"),
        (CancelVerdict, "cancel_verdict", "CANCEL_"),
        (PeerState, "peer_state", "PEER_"),
        (CatalogState, "catalog_state", "CATALOG_"),
        (SharedDdl, "shared_ddl", "DDL_"),
    ],
)
def test_enum_is_whole(python: type[IntEnum], name: str, prefix: str) -> None:
    enumerators = enumerators_of(name)
    assert [prefix + member.name for member in python] == enumerators
    assert [member.value for member in python] == list(range(len(enumerators)))


@pytest.mark.parametrize(
    ("words", "name", "prefix"),
    [
        (_core.HANDOFF_WORDS, "handoff_word", "HANDOFF_"),
        (_core.POOL_MODES, "pool_mode", "MODE_"),
        (_core.REPLICATION, "replication", "REPLICATION_"),
    ],
)
def test_words_are_in_the_order_of_their_enum(words: tuple[str, ...], name: str, prefix: str) -> None:
    assert [prefix + word.upper() for word in words] == enumerators_of(name)


def test_reasons_to_close_a_client_are_those_of_the_relay() -> None:
    """A number in the client's row stands for the text, on both sides."""
    sources = "".join(path.read_text() for path in (CORE / "relay").glob("*.c"))
    (found,) = re.findall(r"kill_texts\[\] = \{(.*?)\};", sources, re.DOTALL)
    texts = re.findall(r'"([^"]*)"', found)
    assert [texts[number] for number in _core.KILL_TEXTS.values()] == list(_core.KILL_TEXTS)
