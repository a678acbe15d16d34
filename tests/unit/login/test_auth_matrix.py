"""Method x kind of secret x what is answered: in by the right password only (pgpool CVE-2025-46801)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import pytest
from gevent.pool import Pool

from pooler.auth import passwords
from pooler.config.hba import HbaRule
from pooler.errors import ClientFault
from pooler.protocol import codes, frontend
from pooler.worker import external_auth
from tests.support.logins import Machine, rule
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

USER, PASSWORD = "me", "secret"
STORED_MD5 = "md5" + hashlib.md5((PASSWORD + USER).encode()).hexdigest()
FAILED = frozenset({"password authentication failed", "SASL authentication failed"})

#: What may be stored for a user; None: there is none. NULL from auth_query comes to an empty one.
SECRETS: dict[str, str | None] = {
    "unknown": None,
    "empty": "",
    "plain": PASSWORD,
    "md5": STORED_MD5,
    "scram": scram_secret(PASSWORD),
    "md5 alone": "md5",
    "broken md5": STORED_MD5[:-1],
    "broken scram": "SCRAM-SHA-256$4096:c2FsdA==$",
}

#: What a client may answer with. A stored form is never a password.
ANSWERS: dict[str, str] = {
    "right": PASSWORD,
    "wrong": "wrong",
    "empty": "",
    "stored md5": STORED_MD5,
    "stored scram": scram_secret(PASSWORD),
    "stand-in": "\x01no such user",
    "md5": "md5",
    "prefix": PASSWORD[:-1],
    "longer": PASSWORD + "x",
}

#: Clients that get in: methods that take the kind of secret, with the right answer.
IN = {
    (method, kind)
    for method, kinds in {
        "plain": ("plain", "md5", "scram"),
        "md5": ("plain", "md5", "scram"),
        "scram-sha-256": ("plain", "scram"),
    }.items()
    for kind in kinds
}
#: A secret that is broken is a password like any other text, and whoever knows it knows it.
AS_TEXT = {
    ("broken md5", STORED_MD5[:-1]),
    ("broken scram", "SCRAM-SHA-256$4096:c2FsdA==$"),
    ("md5 alone", "md5"),
}
KNOWN = tuple(kind for kind in SECRETS if kind != "unknown")
#: What other users have, which is what those see who do not exist.
USUAL = {"md5": STORED_MD5, "scram": scram_secret("x", iterations=10)}


def userlist_of(kind: str, usual: str) -> Mapping[str, str]:
    stored = SECRETS[kind]
    others = {f"other{number}": USUAL[usual] for number in range(3)}
    return others if stored is None else {USER: stored, **others}


def outcomes(machine: Machine, answers: Iterable[str]) -> dict[str, str]:
    """What becomes of clients with these passwords, side by side: "in", or the text of the refusal."""

    def attempt(password: str) -> tuple[str, str]:
        try:
            machine.log_in(password, USER)
        except ClientFault as fault:
            return password, fault.message
        return password, "in"

    return dict(Pool(16).imap_unordered(attempt, answers))


@pytest.mark.parametrize("by_rule", [False, True], ids=["auth_type", "rule"])
@pytest.mark.parametrize("usual", USUAL)
@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_passwords(make_machine: MakeMachine, method: str, kind: str, usual: str, by_rule: bool) -> None:
    machine = make_machine(
        "hba" if by_rule else method,
        userlist_of(kind, usual),
        hba=(rule(method),) if by_rule else (),
        scram_iterations=10,
    )
    answers = [password for password in ANSWERS.values() if (kind, password) not in AS_TEXT]
    found = outcomes(machine, answers)
    assert len(found) == len(answers)
    assert {password for password, text in found.items() if text == "in"} == (
        {PASSWORD} if (method, kind) in IN else set()
    )
    assert {text for text in found.values() if text != "in"} <= FAILED


@pytest.mark.parametrize("method", ["cert", "ldap", "pam", "peer", "reject"])
@pytest.mark.parametrize("kind", SECRETS)
def test_methods_that_look_elsewhere(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, method: str, kind: str
) -> None:
    """auth_file's passwords are no way in where somebody else decides, who says no here."""
    monkeypatch.setattr(external_auth, "check", lambda *arguments: False)
    monkeypatch.setattr("pooler.worker.login_questions.account_name", lambda uid: None)
    machine = make_machine("hba", userlist_of(kind, "scram"), hba=(rule(method),))
    text = {
        "cert": "certificate authentication failed",
        "ldap": "LDAP authentication failed",
        "pam": "PAM authentication failed",
        "peer": "unix socket login rejected",
        "reject": "login rejected",
    }[method]
    assert set(outcomes(machine, ANSWERS.values()).values()) == {text}


@pytest.mark.parametrize("method", ["reject", "", "none", "Trust", "any "])
@pytest.mark.parametrize("by_rule", [False, True], ids=["auth_type", "rule"])
def test_words_that_are_no_way_in(make_machine: MakeMachine, method: str, by_rule: bool) -> None:
    for kind in SECRETS:
        machine = make_machine(
            "hba" if by_rule else method,
            userlist_of(kind, "scram"),
            hba=(rule(method),) if by_rule else (),
        )
        (text,) = outcomes(machine, [PASSWORD]).values()
        assert text == ("login rejected" if method == "reject" else "bouncer config error")


def test_trust_is_for_who_is_known(make_machine: MakeMachine) -> None:
    for kind in KNOWN:
        assert outcomes(make_machine("trust", userlist_of(kind, "scram")), [""]) == {"": "in"}
    (text,) = outcomes(make_machine("trust", userlist_of("unknown", "scram")), [""]).values()
    assert text == '"trust" authentication failed'


@pytest.mark.parametrize("kind", SECRETS)
def test_answer_to_another_challenge(make_machine: MakeMachine, kind: str) -> None:
    """Somebody who heard an MD5 exchange cannot use it again, and the challenge alone tells nothing."""
    machine = make_machine("md5", userlist_of(kind, "md5"))
    peers = []
    for stored, salt in ((STORED_MD5.encode(), b"SALT"), (b"md5", None), (b"", None)):
        peer = machine.start(USER)
        code, data = peer.request()
        if code == codes.AUTH_MD5:
            peers.append(peer.say(frontend.password(passwords.md5_answer(stored, salt or data))))
        else:
            assert kind == "scram"
    for peer in peers:
        assert peer.refused() == "password authentication failed"


def test_the_first_rule_decides(make_machine: MakeMachine) -> None:
    hba: tuple[HbaRule, ...] = (rule("plain"), rule("trust", line=2))
    machine = make_machine("hba", {USER: PASSWORD}, hba=hba, verbose=1)
    assert outcomes(machine, ["wrong", PASSWORD]) == {
        "wrong": "password authentication failed",
        PASSWORD: "in",
    }
    machine.logged("HBA Line 1 is matched")
    assert "HBA Line 2" not in machine.text()
