"""What changes between two configurations, in the terms of those who must act on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pooler.config.model import CONNECTION_FIELDS, Config, Database
from pooler.config.settings import SETTINGS, Value

#: What becomes of a database: nothing (but perhaps new limits); its servers are closed; its clients too.
KEPT, CHANGED, REMOVED = "kept", "changed", "removed"


@dataclass(frozen=True)
class ConfigDiff:
    """`settings` are changes that count, old and new value; `restart_only` names those that wait for a start.

    The tuples of databases are about entries of the file. Databases made from the entry `*` aren't known
    here: ask `fate` about those that exist.
    """

    settings: Mapping[str, tuple[Value, Value]]
    restart_only: tuple[str, ...]
    databases_added: tuple[str, ...]
    databases_changed: tuple[str, ...]
    databases_removed: tuple[str, ...]
    auto_database_changed: bool
    users_changed: tuple[str, ...]  # entries of [users], including added and removed ones
    secrets_changed: tuple[str, ...]  # users of auth_file whose secret is new or another
    secrets_removed: tuple[str, ...]  # users no longer in auth_file: disabled, but not thrown out
    peers_changed: bool
    old: Config = field(repr=False)
    new: Config = field(repr=False)

    def fate(self, name: str) -> str:
        """What becomes of the database that clients call `name`: KEPT, CHANGED or REMOVED."""
        old, new = self.old.find_database(name), self.new.find_database(name)
        if new is None:
            return REMOVED
        return CHANGED if old is not None and _leads_elsewhere(old, new) else KEPT

    @property
    def empty(self) -> bool:
        return self.old == self.new


def diff(old: Config, new: Config) -> ConfigDiff:
    changed = {
        name: (before, after)
        for name in SETTINGS
        if (before := getattr(old.settings, name)) != (after := getattr(new.settings, name))
    }
    common = old.databases.keys() & new.databases.keys()
    return ConfigDiff(
        settings={name: change for name, change in changed.items() if SETTINGS[name].changeable},
        restart_only=tuple(name for name in changed if not SETTINGS[name].changeable),
        databases_added=tuple(sorted(new.databases.keys() - old.databases.keys())),
        databases_changed=tuple(
            sorted(name for name in common if _leads_elsewhere(old.databases[name], new.databases[name]))
        ),
        databases_removed=tuple(sorted(old.databases.keys() - new.databases.keys())),
        auto_database_changed=old.auto_database != new.auto_database,
        users_changed=_different(old.users, new.users),
        secrets_changed=tuple(
            sorted(user for user, secret in new.userlist.items() if old.userlist.get(user) != secret)
        ),
        secrets_removed=tuple(sorted(old.userlist.keys() - new.userlist.keys())),
        peers_changed=old.peers != new.peers,
        old=old,
        new=new,
    )


_Item = TypeVar("_Item")


def _different(old: Mapping[str, _Item], new: Mapping[str, _Item]) -> tuple[str, ...]:
    """Keys whose item is new, gone or another."""
    return tuple(sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)))


def _leads_elsewhere(old: Database, new: Database) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in CONNECTION_FIELDS)
