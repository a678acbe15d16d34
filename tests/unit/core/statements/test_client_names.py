"""The names of a client's statements, with what is not answered yet, against a plain model of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import ClientNames, StatementStore

KEY = (1, 2)
NAMES = [b"", b"a", b"b", b"c", b"n" * 300]
TEXTS = [b"SELECT 1\0\0\0", b"SELECT 2\0\0\0", b"SELECT $1\0\0\1\0\0\0\27"]


@dataclass(eq=False)
class Entry:
    """A name that was made, until the removal of it is answered."""

    name: bytes
    text: bytes
    answered: bool = False


@dataclass(eq=False)
class Change:
    """One in the journal; without an entry it is void."""

    added: bool
    entry: Entry | None
    name: bytes
    pipeline: int


@dataclass
class Model:
    """What the names should be."""

    live: dict[bytes, Entry] = field(default_factory=dict)
    journal: list[Change] = field(default_factory=list)
    pipeline: int = 0
    has_closed: bool = False

    def parse(self, name: bytes, text: bytes) -> None:
        self.live[name] = entry = Entry(name, text)
        self.journal.append(Change(True, entry, name, self.pipeline))

    def close(self, name: bytes) -> None:
        self.has_closed = True
        self.journal.append(Change(False, self.live.pop(name), name, self.pipeline))

    def answered(self) -> None:
        if self.journal:
            change = self.journal.pop(0)
            if change.entry:
                change.entry.answered = True

    def oldest_pipeline(self) -> int:
        """How many changes are of the pipeline that is answered first."""
        return sum(change.pipeline == self.journal[0].pipeline for change in self.journal)

    def skipped(self, count: int) -> None:
        undone = [self.journal.pop(0) for _ in range(count)]
        for change in reversed(undone):
            if change.entry and change.added:
                del self.live[change.name]
            elif change.entry:
                self.live[change.name] = change.entry

    def clear(self) -> None:
        self.live = {name: entry for name, entry in self.live.items() if not entry.answered}
        for change in self.journal:
            if change.entry and not change.added and change.entry.answered:
                change.entry = None

    def find_old(self, name: bytes) -> bytes | None:
        for change in self.journal:
            if change.entry and change.name == name:
                return None if change.added else change.entry.text
        return self.live[name].text if name in self.live else None

    def unconfirmed(self, name: bytes | None = None) -> bool:
        """Whether an earlier pipeline has a change (of this name) that is not answered."""
        changes = [change for change in self.journal if name in (None, change.name)]
        return any(change.pipeline != self.pipeline for change in changes)

    def kept(self) -> list[Entry]:
        """All that memory is needed for."""
        return list({id(e): e for e in [*self.live.values(), *(c.entry for c in self.journal)] if e}.values())


def cost_of(entries: list[Entry], apart: bool = False) -> int:
    """What these names and texts cost; `apart`: each with a text of its own."""
    costs = 0
    for group in [[entry] for entry in entries] if apart else [entries]:
        fresh = ClientNames(StatementStore(KEY))
        for number, entry in enumerate(group):  # under names as long as theirs
            fresh.parse((b"%d" % number).ljust(len(entry.name), b"x")[: len(entry.name)], entry.text)
        costs += fresh.kept_bytes
    return costs


def check(names: ClientNames, texts: StatementStore, model: Model) -> None:
    for name in NAMES:
        wanted = model.live.get(name)
        assert names.find(name) == (wanted.text if wanted else None)
        assert names.find_old(name) == model.find_old(name)
        if model.unconfirmed(name):
            assert names.unconfirmed(name), "it may still be undone"
        elif not model.unconfirmed():
            assert not names.unconfirmed(name), "it waits for no answer"
    assert names.confirmed == (not model.unconfirmed())
    assert names.count == len(model.live)
    assert texts.count == len({entry.text for entry in model.kept()})
    kept = model.kept()
    assert cost_of(kept) <= names.kept_bytes <= cost_of(kept, apart=True)
    if not model.has_closed:
        assert names.kept_bytes == cost_of(kept), "each text once"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("parse"), st.sampled_from(NAMES), st.sampled_from(TEXTS)),
        st.tuples(st.just("close"), st.sampled_from(NAMES), st.none()),
        st.tuples(
            st.sampled_from(["sync", "answered", "answered", "skipped", "clear"]), st.none(), st.none()
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_against_the_model(steps: list[tuple[str, bytes, bytes]]) -> None:
    texts, model = StatementStore(KEY), Model()
    names = ClientNames(texts)
    for what, name, text in steps:
        said = what in ("parse", "close")
        if said and names.unconfirmed(name):
            continue  # who says it waits
        if what == "parse" and name not in model.live:
            names.parse(name, text)
            model.parse(name, text)
        elif what == "close" and name in model.live:
            names.close(name)
            model.close(name)
        elif what == "sync":
            names.sync()
            model.pipeline += 1
        elif what == "answered":
            names.answered()
            model.answered()
        elif what == "skipped" and model.journal:
            count = model.oldest_pipeline()
            assert names.skipped(count)
            model.skipped(count)
        elif what == "clear":
            names.clear()
            model.clear()
        check(names, texts, model)
    for _ in range(len(model.journal)):
        names.answered()
    names.clear()
    assert (names.count, names.kept_bytes, texts.count) == (0, 0, 0)
    del names
    assert texts.count == 0


def test_nothing_is_left_of_a_client_that_is_gone() -> None:
    texts = StatementStore(KEY)
    names, other = ClientNames(texts), ClientNames(texts)
    other.parse(b"mine", TEXTS[0])
    for number in range(200):
        names.parse(b"%d" % number, TEXTS[number % 3])
    for number in range(0, 200, 2):
        names.answered()
        names.close(b"%d" % number)
    assert texts.count == 3
    del names
    assert (texts.count, other.find(b"mine")) == (1, TEXTS[0])


def test_it_grows() -> None:
    names = ClientNames(StatementStore(KEY))
    for number in range(1000):
        names.parse(b"n%d" % number, TEXTS[number % 3])
    assert names.count == 1000
    assert all(names.find(b"n%d" % number) == TEXTS[number % 3] for number in range(1000))
    assert names.find(b"n1000") is None


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_what_is_skipped_is_undone_the_latest_first(changes: int) -> None:
    """Close, Parse and Close of one name: whatever of it was skipped, the name is what it was before."""
    names = ClientNames(StatementStore(KEY))
    names.parse(b"a", TEXTS[0])
    names.answered()
    names.sync()
    names.close(b"a")
    if changes > 1:
        names.parse(b"a", TEXTS[1])
    if changes > 2:
        names.close(b"a")
    assert names.find(b"a") == (TEXTS[1] if changes == 2 else None)
    assert names.find_old(b"a") == TEXTS[0]
    assert names.skipped(changes)
    assert names.find(b"a") == names.find_old(b"a") == TEXTS[0]


def test_a_name_that_is_made_behind_deallocate_all_stays() -> None:
    names = ClientNames(StatementStore(KEY))
    for name in (b"a", b"b"):
        names.parse(name, TEXTS[0])
        names.answered()
    names.sync()  # DEALLOCATE ALL is on its way; then:
    names.close(b"a")
    names.parse(b"a", TEXTS[1])
    names.clear()
    assert (names.find(b"a"), names.find(b"b")) == (TEXTS[1], None)
    names.answered()  # CloseComplete, of a name that was gone already
    names.answered()
    assert names.find(b"a") == names.find_old(b"a") == TEXTS[1]
    assert names.kept_bytes == cost_of([Entry(b"a", TEXTS[1])])
