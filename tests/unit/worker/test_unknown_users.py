"""What a user who does not exist appears to have: what is usual here."""

from __future__ import annotations

import base64

import pytest

from pooler.auth.passwords import parse_secret
from pooler.config import Config, Database, Settings
from pooler.provisioning import instance_of
from pooler.worker.unknown_users import UnknownUsers

MD5 = "md5" + 32 * "0"


def scram(iterations: int) -> str:
    key = base64.b64encode(bytes(32)).decode()
    return f"SCRAM-SHA-256${iterations}:c2FsdA==${key}:{key}"


def adopted(userlist: dict[str, str], **settings: object) -> UnknownUsers:
    users = UnknownUsers(b"key")
    users.adopt(Config("p.ini", Settings(**settings), userlist=userlist))  # type: ignore[arg-type]
    return users


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ([], (False, 0)),
        ([""], (False, 0)),
        (["plain", MD5], (False, 0)),
        ([scram(4096), scram(15000), scram(15000), MD5], (True, 15000)),
        ([scram(4096), "plain", MD5], (False, 0)),
    ],
)
def test_what_most_listed_users_have(secrets: list[str], expected: tuple[bool, int]) -> None:
    users = adopted({f"u{number}": text for number, text in enumerate(secrets)})
    assert (users.have_scram, users.iterations) == expected


def test_accounts_that_look_users_up_are_not_counted() -> None:
    users = adopted({"asks": "plain", "app": scram(4096)}, auth_user="asks")
    assert (users.have_scram, users.iterations) == (True, 4096)
    users = UnknownUsers(b"key")
    users.adopt(Config("p.ini", Settings(), {"d": Database("d", auth_user="asks")}, userlist={"asks": "x"}))
    assert users.have_scram


def test_users_that_were_looked_up_count() -> None:
    users = adopted({"asks": "plain"}, auth_user="asks")
    assert (users.have_scram, users.iterations) == (True, 0)
    users.learn("h:1", parse_secret(scram(9000)))
    assert (users.have_scram, users.iterations) == (True, 9000)
    for _ in range(2):
        users.learn("h:1", parse_secret(MD5))
    users.learn("h:1", parse_secret(""))
    assert not users.have_scram


def test_one_postgresql_counts_as_much_as_another() -> None:
    """A tenant who runs one decides nothing about the users of others."""
    users = adopted({}, auth_user="asks")
    users.learn("honest:1", parse_secret(scram(4096)))
    for _ in range(100):
        users.learn("lies:1", parse_secret(scram(77777)))
    assert (users.have_scram, users.iterations) == (True, 4096)
    users.learn("lies:2", parse_secret(scram(77777)))
    assert users.iterations == 77777, "most of them"
    users.learn("honest:2", parse_secret(scram(4096)))
    assert users.iterations == 4096, "as many as those"


def test_one_that_was_not_asked_yet_has_the_default() -> None:
    """The first that is asked does not speak for all."""
    databases = {name: Database(name, host=name, auth_user="asks") for name in ("lies", "honest")}
    users = UnknownUsers(b"key")
    config = Config("p.ini", Settings(), databases)
    users.adopt(config)
    for _ in range(20):
        users.learn(instance_of(config, databases["lies"]), parse_secret(scram(77777)))
    assert (users.have_scram, users.iterations) == (True, 4096)
    users.learn(instance_of(config, databases["honest"]), parse_secret(scram(5000)))
    assert users.iterations == 5000, "the least of those that are as common"


def test_memory_is_bounded() -> None:
    users = adopted({}, auth_user="asks")
    for number in range(1000):
        users.learn("h:1", parse_secret(scram(4096 + number)))
        users.learn(f"h:{number}", parse_secret(scram(4096)))
    assert len(users._found) <= 256
    assert max(map(len, users._found.values())) <= 64
