"""What becomes of a login by what Python answers (core/login/questions.h)."""

from __future__ import annotations

import pytest

from pooler.core import LoginAnswer, LoginQuestion
from pooler.core.events import LoginAsks, LoginLeft
from tests.unit.core.login.test_queue import PACKET, Bed, MakeBed, make_bed

__all__ = ["make_bed"]


def question_of(bed: Bed) -> LoginAsks:
    (event,) = bed.relay.events()
    assert isinstance(event, LoginAsks)
    return event


@pytest.mark.parametrize("answer", [LoginAnswer.NO, LoginAnswer.FAULT, LoginAnswer.LEFT])
def test_only_a_yes_lets_an_account_in(make_bed: MakeBed, answer: LoginAnswer) -> None:
    bed = make_bed(auth_type="peer")
    client = bed.come(says=PACKET)
    question = question_of(bed)
    assert question.question == LoginQuestion.PEER
    bed.relay.answer_login(question.row, question.client_id, answer, ())
    bed.logins.obey()
    bed.logins.run()
    assert client.state in ("REFUSED", "OVER")
    assert bed.relay.events() == []  # Python has answered: it need not hear that it may stop


def test_a_yes_does(make_bed: MakeBed) -> None:
    bed = make_bed(auth_type="peer")
    client = bed.come(says=PACKET)
    question = question_of(bed)
    bed.relay.answer_login(question.row, question.client_id, LoginAnswer.YES, ())
    bed.logins.obey()
    assert question_of(bed).question == LoginQuestion.POOL
    assert client.state == "ASKING"


def test_a_client_that_leaves_is_no_more_asked_about(make_bed: MakeBed) -> None:
    bed = make_bed(auth_type="peer")
    client = bed.come(says=PACKET)
    question = question_of(bed)
    assert bed.tables.kill_client(client.row, client.id, "admin forced disconnect")
    bed.logins.obey()
    (event,) = bed.relay.events()
    assert isinstance(event, LoginLeft)
    assert event.client_id == question.client_id


def test_an_answer_to_another_is_none(make_bed: MakeBed) -> None:
    """The one that asked has left; its row is used again."""
    bed = make_bed(auth_type="peer", rows=1)
    first = bed.come(says=PACKET)
    question = question_of(bed)
    assert bed.tables.kill_client(first.row, first.id, "admin forced disconnect")
    bed.logins.obey()
    first.peer.close()
    bed.logins.now += 1
    bed.logins.clock()
    bed.logins.run()
    assert first.state == "OVER"
    second = bed.come(says=PACKET)
    assert second.row == question.row
    bed.relay.answer_login(question.row, question.client_id, LoginAnswer.YES, ())
    bed.logins.obey()
    asked = [event for event in bed.relay.events() if isinstance(event, LoginAsks)]
    assert [event.question for event in asked] == [LoginQuestion.PEER]
    assert second.state == "ASKING"
