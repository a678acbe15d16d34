"""The configuration: files in, one checked and frozen `Config` out.

Reading order: settings (the table of all settings), model (what a loaded configuration is), load (how it
comes about). Below them: values (text to Python), ini and userlist (the two file formats), options (entries
of [databases], [users], [peers]), rules (what must not be). Above: diff (what a reload changes), check
(advice), sample (etc/pooler.ini).
"""

from pooler.config.advice import check
from pooler.config.diff import ConfigDiff, diff
from pooler.config.load import load, reload
from pooler.config.model import (
    Config,
    Database,
    Peer,
    PoolLimits,
    UserOptions,
    config_rows,
)
from pooler.config.settings import CONSOLE_DATABASES, SETTINGS, Setting, Settings


def sample_ini() -> str:
    """The text of etc/pooler.ini."""
    from pooler.config.sample import sample_ini as generate  # never needed by a running pooler

    return generate()


__all__ = [
    "CONSOLE_DATABASES",
    "SETTINGS",
    "Config",
    "ConfigDiff",
    "Database",
    "Peer",
    "PoolLimits",
    "Setting",
    "Settings",
    "UserOptions",
    "check",
    "config_rows",
    "diff",
    "load",
    "reload",
    "sample_ini",
]
