"""What is prepared on a server: a number never comes twice, the least recently used text goes first."""

from __future__ import annotations

import re
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import PreparedSet, server_statement_name

#: Digests, half of which have one place in the table.
TEXTS = [*((n, 7 + 1024 * n) for n in range(1, 5)), *((n, n) for n in range(5, 9))]
LIMITS = st.integers(1, 6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(TEXTS), LIMITS),
        st.tuples(st.just("add foreign"), st.sampled_from(TEXTS), LIMITS),
        st.tuples(st.just("use"), st.sampled_from(TEXTS), st.integers(0, 40)),
        st.tuples(st.just("remove"), st.sampled_from(TEXTS), st.just(0)),
        st.tuples(st.just("forget before"), st.just(None), st.integers(0, 40)),
        st.tuples(st.just("shrink"), st.just(None), LIMITS),
        st.tuples(st.just("discard plans"), st.just(None), st.just(0)),
    ),
    max_size=60,
)


class Model:
    """The texts, the least recently used first: number, when it was prepared, whether it is foreign."""

    def __init__(self) -> None:
        self.texts: OrderedDict[tuple[int, int], tuple[int, int, bool]] = OrderedDict()
        self.given = 0

    def add(self, text: tuple[int, int], made: int, limit: int, foreign: bool) -> tuple[int, int]:
        evicted = 0
        if text in self.texts:
            evicted, _, _ = self.texts.pop(text)
        elif len(self.texts) >= limit:
            _, (evicted, _, _) = self.texts.popitem(last=False)
        self.given += 1
        self.texts[text] = (self.given, made, foreign)
        return self.given, evicted

    def use(self, text: tuple[int, int], made: int) -> int:
        number, then, _ = self.texts.get(text, (0, 0, False))
        if not number or then < made:
            return 0
        self.texts.move_to_end(text)
        return number

    def shrink(self, limit: int) -> int:
        return self.texts.popitem(last=False)[1][0] if len(self.texts) > limit else 0

    def keep(self, first: int) -> None:
        self.texts = OrderedDict((text, one) for text, one in self.texts.items() if one[0] >= first)

    def discard_plans(self) -> None:
        for text, (number, made, foreign) in self.texts.items():
            self.texts[text] = (number, 0 if foreign else made, foreign)


@given(STEPS)
def test_against_the_model(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    real, model = PreparedSet(), Model()
    for now, (what, text, n) in enumerate(steps, 1):
        if what.startswith("add"):
            foreign = what == "add foreign"
            assert real.add(text, now, n, foreign) == model.add(text, now, n, foreign)
        elif what == "use":
            assert real.use(text, n) == model.use(text, n)
        elif what == "remove":
            real.remove(text)
            model.texts.pop(text, None)
        elif what == "forget before":
            real.forget_before(n)
            model.keep(n)
        elif what == "shrink":
            assert real.shrink(n) == model.shrink(n)
        else:
            real.plans_discarded()
            model.discard_plans()
        assert real.count == len(model.texts)
        for text, (number, _, _) in model.texts.items():
            assert real.text_of(number) == text
        assert real.text_of(model.given + 1) is None
    for text, (number, made, _) in list(model.texts.items()):
        assert real.use(text, made + 1) == 0, "it is older"
        assert real.use(text, made) == number


def test_it_holds_a_thousand_whatever_the_limit_says() -> None:
    real = PreparedSet()
    for n in range(1, 1001):
        assert real.add((n, n), limit=5000) == (n, 0)
    assert real.add((1001, 1001), limit=5000) == (1001, 1)
    assert real.count == 1000
    assert real.use((2, 2)) == 2
    assert real.add((1002, 1002), limit=5000) == (1002, 3), "the second has just been used"


def test_numbers_go_round() -> None:
    """A floor that is behind the turn of 32 bits forgets what came before it."""
    real = PreparedSet()
    for n in range(1, 4):
        real.add((n, n))
    real.forget_before(0xFFFFFFF0)
    assert real.count == 3
    real.forget_before(3)
    assert [real.use((n, n)) for n in range(1, 4)] == [0, 0, 3]


@given(st.integers(1, 0xFFFFFFFF))
def test_names(number: int) -> None:
    text, size = server_statement_name(number)
    assert text == b"pooler_%d" % number
    assert size == len(text) + 1
    assert re.fullmatch(rb"pooler_[1-9][0-9]*", text)
