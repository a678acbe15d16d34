"""What servers report at the start of a session is taken apart once, and kept (core/login/welcome.h): a login
is told what it would be told if each looked for itself."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.worker.login_policy import login_policy
from pooler.worker.parameters import pack_welcome
from tests.support.fakeserver import REPORTED
from tests.support.logins import FOREVER_S, Machine, config_of
from tests.unit.login.conftest import MakeMachine

OPEN: dict[str, Any] = {"auth_type": "trust", "userlist": {"me": "secret", "you": "secret"}}


def reports(machine: Machine, parameters: dict[str, str], user: str = "me") -> None:
    """A server of this user's pool has just logged in, and reported that."""
    pool = machine.pool(user)
    slot = next(row for row in range(8) if machine.tables.slot(row).pool == pool)
    machine.tables.slot_login(slot, pack_welcome(parameters), FOREVER_S)


def told(machine: Machine, user: str = "me", **given: str) -> dict[str, str]:
    return machine.start(user, **given).welcome().parameters


def test_the_next_login_is_told_the_same(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    assert [told(machine) for _ in range(3)] == [REPORTED] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"TimeZone": "CET"},  # tracked; as long as it was
        {"TimeZone": "Europe/Berlin"},
        {"server_version": "17.0"},  # not tracked
        {"server_version": "17.10"},
        {"in_hot_standby": "off"},
    ],
)
def test_another_welcome(make_machine: MakeMachine, change: dict[str, str]) -> None:
    machine = make_machine(**OPEN)
    assert told(machine) == REPORTED
    for parameters in ({**REPORTED, **change}, REPORTED):
        reports(machine, parameters)
        assert told(machine) == parameters


def test_what_is_reported_no_more(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    assert "IntervalStyle" in told(machine)
    reports(machine, {name: value for name, value in REPORTED.items() if name != "server_version"})
    assert "server_version" not in told(machine)


def test_each_pool_has_its_own(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    yours = {**REPORTED, "TimeZone": "CET", "server_version": "15.1"}
    told(machine)
    told(machine, "you")
    reports(machine, yours, "you")
    for _ in range(2):
        assert told(machine) == REPORTED
        assert told(machine, "you") == yours


@pytest.mark.parametrize("tracked", [(), ("is_superuser",), ("in_hot_standby", "is_superuser")])
def test_the_tracked_names_are_the_relays(make_machine: MakeMachine, tracked: tuple[str, ...]) -> None:
    machine = make_machine(**OPEN, track_extra_parameters=tracked)
    told(machine)
    parameters = {**REPORTED, "in_hot_standby": "off", "IS_SUPERUSER": "on"}
    reports(machine, parameters)
    names = {name.lower(): value for name, value in told(machine).items()}
    assert names == {name.lower(): value for name, value in parameters.items()}


def test_what_a_client_gives_is_its_own(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    assert told(machine, TimeZone="CET", application_name="a")["TimeZone"] == "CET"
    assert told(machine) == REPORTED


def test_the_version_decides_how_a_name_is_shown(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    assert told(machine, application_name="ä")["application_name"] == "\\xc3\\xa4"
    reports(machine, {**REPORTED, "server_version": "15.1"})
    assert told(machine, application_name="ä")["application_name"] == "??"


def test_who_may_begin_with_a_setting_of_superusers(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN, session_state="auto")
    told(machine)
    for superuser in ("off", "on", "off"):
        reports(machine, {**REPORTED, "is_superuser": superuser})
        peer = machine.start(log_connections="on")
        if superuser == "off":
            assert peer.fault().sqlstate == "42501"
        else:
            peer.welcome()


def greeting(machine: Machine) -> tuple[bytes, dict[str, str]]:
    """The first letters of its messages but ParameterStatus, and what those say."""
    peer = machine.start()
    letters, parameters = b"", {}
    while not letters.endswith(b"Z"):
        letter, body = peer.message()
        if letter == b"S":
            name, value, _ = body.decode().split("\0")
            parameters[name] = value
        else:
            letters += letter
    return letters, parameters


def test_a_reload_counts_at_once(make_machine: MakeMachine) -> None:
    """The notice for all, and what an application_name looks like, are the configuration's."""
    machine = make_machine(**OPEN)
    assert greeting(machine) == (b"RKZ", REPORTED)
    other = config_of(**OPEN, login_notify_message="hello", application_name_add_host=1)
    for config in (other, machine.worker.context.config):
        machine.worker.context.relay.set_policy(login_policy(config, None, (1, 2)))
        letters, application = (b"RNKZ", "app - unix") if config is other else (b"RKZ", "")
        machine.until(lambda letters=letters: greeting(machine)[0] == letters, "the reload")  # type: ignore[misc]
        _, parameters = greeting(machine)
        assert parameters.pop("application_name").startswith(application)
        assert {**parameters, "application_name": ""} == REPORTED
