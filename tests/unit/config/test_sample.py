"""The files in etc/: up to date, and sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from pooler.config import SETTINGS, Settings, load, sample_ini
from pooler.config.userlist import parse_userlist

ETC = Path(__file__).parents[3] / "etc"


def test_sample_is_up_to_date() -> None:
    assert (ETC / "pooler.ini").read_text() == sample_ini(), (
        "run: python -m pooler.config.sample > etc/pooler.ini"
    )


def test_sample_loads_from_the_project_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ETC.parent)
    config = load("etc/pooler.ini")
    assert config.problems == ()
    assert config.auto_database is not None
    assert config.userlist == {}  # nobody gets in before somebody is let in


def test_sample_names_every_setting_once() -> None:
    lines = [
        line.lstrip(";").split(" =")[0] for line in sample_ini().splitlines() if not line.startswith(";;")
    ]
    assert [line for line in lines if line in SETTINGS] == list(SETTINGS)


def test_sample_with_everything_uncommented_means_the_defaults(tmp_path: Path) -> None:
    given = ("listen_addr", "auth_type", "auth_file")
    settings = []
    for line in sample_ini().partition("[pgbouncer]")[2].splitlines():
        if line and not line.startswith(";;"):
            name = line.lstrip(";").split(" =")[0]
            if name not in given:
                settings.append(line.lstrip(";"))
    # Settings whose default is NULL have no text for it that is valid, except nothing.
    text = "\n".join(line for line in settings if line != "verbose =")
    file = tmp_path / "p.ini"
    file.write_text(f"[pgbouncer]\n{text}\n")
    config = load(str(file))
    assert config.settings == Settings()
    assert config.problems == ()


def test_examples_in_the_sample_load(tmp_path: Path) -> None:
    head = sample_ini().partition("[pgbouncer]")[0]
    lines = [line[1:] if line[:1] == ";" and line[:2] != ";;" else line for line in head.splitlines()]
    file = tmp_path / "p.ini"
    file.write_text("\n".join([*lines, "[pgbouncer]"]))
    config = load(str(file))
    assert set(config.databases) == {"shop", "stock"}
    assert config.databases["stock"].connect_query == "SET work_mem='64MB'"
    assert config.problems == ()


def test_sample_userlist_has_no_users() -> None:
    assert parse_userlist((ETC / "userlist.txt").read_bytes(), "userlist.txt") == ({}, [])


def test_lines_are_short() -> None:
    assert all(len(line) <= 110 for line in sample_ini().splitlines() if "auth_query" not in line)
