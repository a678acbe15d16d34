"""Reading a configuration: whole, checked whole, then all of it or a ConfigError with every problem in it.

PgBouncer applies a file line by line, so that a failed reload leaves the lines before the mistake in force;
here the old configuration stays, entirely. Otherwise the order of things is PgBouncer's, also where it
surprises:

* the last of equal keys counts;
* every header [pgbouncer] first resets all settings that have a default, so that a second one wipes the
  first block;
* settings whose default is NULL are not reset, neither by a header nor by a reload whose file doesn't name
  them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pooler.config.constraints import judge_settings, read_rules
from pooler.config.diff import ConfigDiff, diff
from pooler.config.ini import PROBLEMS_MAX, Assignment, Header, Place, read_ini
from pooler.config.model import (
    DATABASE_NAME_BYTES_MAX,
    Config,
    Database,
    Peer,
    UserOptions,
)
from pooler.config.options import parse_entry
from pooler.config.settings import CONSOLE_DATABASES, SETTINGS, Settings, parse_setting
from pooler.config.userlist import USERNAME_BYTES_MAX, byte_length, read_userlist
from pooler.config.values import shown_name, suggestion
from pooler.errors import ConfigError, Problem

#: To PgBouncer it is a part of the value; nobody means that.
_COMMENT = re.compile(r"\s[;#]")

#: The section of settings; files written for pooler may call it by that name.
MAIN_SECTIONS = ("pgbouncer", "pooler")
SECTIONS = (*MAIN_SECTIONS, "databases", "users", "peers")

#: What PgBouncer accepts here, though it documents 16383.
PEER_ID_MAX = 65535


def load(path: str, overrides: Mapping[str, str] | None = None, previous: Config | None = None) -> Config:
    """The configuration in file `path`; raises ConfigError with every problem.

    `overrides` are settings that count more than the file (command line). `previous` is the configuration
    in force, if any: its settings without default survive.
    """
    loader = _Loader(path, previous)
    loader.read_file()
    loader.override(overrides or {})
    return loader.finish()


def reload(old: Config, overrides: Mapping[str, str] | None = None) -> tuple[Config, ConfigDiff]:
    """What replaces `old`, and what that changes; raises ConfigError, and then `old` stays in force.

    Settings that need a restart keep their old value in the new configuration; `ConfigDiff.restart_only`
    names them.
    """
    loaded = load(old.settings.conffile or old.path, overrides, old)
    changes = diff(old, loaded)
    kept = {name: getattr(old.settings, name) for name in changes.restart_only}
    new = replace(loaded, settings=replace(loaded.settings, **kept))
    return new, replace(changes, new=new)


class _Loader:
    """Collects values and problems; `finish` decides."""

    def __init__(self, path: str, previous: Config | None) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.errors = 0
        self.places: dict[str, Place] = {}
        self.settings: dict[str, Any] = {}
        if previous is not None:
            for name, setting in SETTINGS.items():
                if setting.nullable:
                    self.settings[name] = getattr(previous.settings, name)
        self.settings["conffile"] = path
        self.databases: dict[str, Database] = {}
        self.auto_database: Database | None = None
        self.users: dict[str, UserOptions] = {}
        self.peers: dict[int, Peer] = {}
        self.main_header: Place | None = None

    def read_file(self) -> None:
        tokens, problems = read_ini(self.path)
        for problem in problems:
            self.note(problem)
        for token in tokens:
            if isinstance(token, Header):
                self.take_header(token)
            else:
                self.take_assignment(token)
            if self.errors >= PROBLEMS_MAX:
                self.note(token.place.problem("too many problems, the rest isn't read"))
                break
        if self.main_header is None and (tokens or not problems):
            self.note(Problem(self.path, 0, "section [pgbouncer] is missing"))

    def note(self, problem: Problem) -> None:
        """Keeps a problem, and counts errors."""
        self.problems.append(problem)
        self.errors += problem.severity == "error"

    def take_header(self, header: Header) -> None:
        if header.section not in SECTIONS:
            hint = suggestion(header.section, SECTIONS)
            self.note(header.place.problem(f"invalid section {header.section!r}{hint}"))
        if header.section not in MAIN_SECTIONS:
            return
        lost = [name for name in self.settings if not SETTINGS[name].nullable]
        if lost:
            text = f"this header resets the settings given before (as in PgBouncer): {', '.join(lost)}"
            self.note(header.place.problem(text, "warning"))
        for name in lost:
            del self.settings[name]
            self.places.pop(name, None)
        self.main_header = header.place

    def take_assignment(self, given: Assignment) -> None:
        if given.section in MAIN_SECTIONS:
            self.set(given.key, given.value, given.place)
        elif given.section == "databases":
            self.add_database(given)
        elif given.section == "users":
            self.add_user(given)
        elif given.section == "peers":
            self.add_peer(given)

    def set(self, name: str, text: str, place: Place) -> None:
        try:
            self.settings[name] = parse_setting(name, text)
            self.places[name] = place
        except ValueError as error:
            comment = "; comments stand on lines of their own" if _COMMENT.search(text) else ""
            self.note(place.problem(f"{error}{comment}"))

    def add_database(self, given: Assignment) -> None:
        name = given.key
        if name in CONSOLE_DATABASES:
            self.note(given.place.problem(f'database name "{name}" is reserved'))
        elif byte_length(name) > DATABASE_NAME_BYTES_MAX:
            text = f"database name too long, at most {DATABASE_NAME_BYTES_MAX} bytes"
            self.note(given.place.problem(text))
        options = self.read_options(Database, given, "databases", name)
        if options.get("auth_dbname") in CONSOLE_DATABASES:
            # PgBouncer loads such a file; clients who would be looked up there get an error
            text = f'cannot use the reserved "{options["auth_dbname"]}" database as an auth_dbname'
            self.note(given.place.problem(text, "warning"))
        if name == "*":
            self.auto_database = Database(name, **options)
        else:
            self.databases[name] = Database(name, **{"dbname": name, **options})

    def add_user(self, given: Assignment) -> None:
        if byte_length(given.key) > USERNAME_BYTES_MAX:
            text = f"username too long, at most {USERNAME_BYTES_MAX} bytes"
            self.note(given.place.problem(text))
        self.users[given.key] = UserOptions(
            given.key, **self.read_options(UserOptions, given, "users", given.key)
        )

    def add_peer(self, given: Assignment) -> None:
        options = self.read_options(Peer, given, "peers", given.key)
        number = int(given.key) if given.key.isascii() and given.key.isdigit() and len(given.key) < 10 else 0
        if not 1 <= number <= PEER_ID_MAX:
            text = f"ids of peers must be numbers from 1 to {PEER_ID_MAX}, not {shown_name(given.key)}"
            self.note(given.place.problem(text))
        if "host" not in options:
            self.note(given.place.problem(f"host was not provided for peer {number}"))
        self.peers[number] = Peer(number, **options)

    def read_options(
        self, entry: type[Database | UserOptions | Peer], given: Assignment, section: str, name: str
    ) -> dict[str, Any]:
        """The options of one entry; notes its place, its problems and whether it replaces an earlier one."""
        options, problems = parse_entry(entry, given.value, given.place)
        for problem in problems:
            self.note(problem)
        key = f"{section}/{name}"
        earlier = self.places.get(key)
        if earlier is not None:
            text = f"replaces the entry for {name!r} at {earlier.file}:{earlier.line}"
            self.note(given.place.problem(text, "warning"))
        self.places[key] = given.place
        return options

    def override(self, overrides: Mapping[str, str]) -> None:
        for name, text in overrides.items():
            self.set(name, text, Place("command line", 0))

    def finish(self) -> Config:
        settings = Settings(**self.settings)
        main = self.main_header or Place(self.path, 0)
        places = {**dict.fromkeys(SETTINGS, main), **self.places}
        for _, problem in judge_settings(settings, places):
            self.note(problem)
        userlist = self.read_users(settings)
        hba, problems = read_rules(settings)
        for problem in problems:
            self.note(problem)
        if self.errors:
            raise ConfigError(self.problems)
        return Config(
            path=self.path,
            settings=settings,
            databases=self.databases,
            auto_database=self.auto_database,
            users=self.users,
            peers=self.peers,
            userlist=userlist,
            hba=hba,
            problems=tuple(self.problems),
            places=self.places,
        )

    def read_users(self, settings: Settings) -> dict[str, str]:
        if settings.auth_file is None:
            return {}
        users, problems = read_userlist(settings.auth_file)
        if settings.auth_type == "any":
            # Nobody is looked up then, and PgBouncer doesn't even open the file.
            problems = [replace(problem, severity="warning") for problem in problems]
        for problem in problems:
            self.note(problem)
        return users
