"""The files in etc/: up to date, and sound."""

from __future__ import annotations

from pathlib import Path

from pooler.config import SETTINGS, Settings, load, sample_ini
from pooler.config.sample import GIVEN
from pooler.config.userlist import parse_userlist

ETC = Path(__file__).parents[3] / "etc"


def test_sample_is_up_to_date() -> None:
    assert (ETC / "pooler.ini").read_text() == sample_ini(), (
        "run: python -m pooler.config.sample > etc/pooler.ini"
    )


def test_sample_loads_with_its_userlist(tmp_path: Path) -> None:
    file = tmp_path / "pooler.ini"
    file.write_text((ETC / "pooler.ini").read_text().replace("/etc/pooler", str(ETC)))
    config = load(str(file))
    assert config.problems == ()
    assert config.auto_database is not None
    assert config.userlist == {}  # nobody gets in before somebody is let in


def test_sample_names_every_setting_once() -> None:
    lines = [
        line.lstrip(";").split(" =")[0] for line in sample_ini().splitlines() if not line.startswith(";;")
    ]
    assert [line for line in lines if line in SETTINGS] == list(SETTINGS)


def test_sample_with_everything_uncommented_means_the_defaults(tmp_path: Path) -> None:
    settings = []
    for line in sample_ini().partition("[pgbouncer]")[2].splitlines():
        if line and not line.startswith(";;"):
            name = line.lstrip(";").split(" =")[0]
            if name not in GIVEN:
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


def test_each_line_that_is_no_default_says_so() -> None:
    lines = sample_ini().splitlines()
    for place, line in enumerate(lines):
        if line and line[0] not in ";[":
            assert lines[place - 1].startswith(";; Set here;"), line


def test_paths_are_those_of_the_unit_and_the_socket() -> None:
    unit = (ETC / "pooler.service").read_text()
    assert "ExecStart=/opt/pooler/bin/pooler /etc/pooler/pooler.ini\n" in unit
    assert f"RuntimeDirectory={GIVEN['unix_socket_dir'].removeprefix('/run/')}\n" in unit
    assert f"ListenStream={GIVEN['unix_socket_dir']}/.s.PGSQL.6432\n" in (ETC / "pooler.socket").read_text()
    assert GIVEN["auth_file"] == "/etc/pooler/userlist.txt"
