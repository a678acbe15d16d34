"""The sample configuration etc/pooler.ini, generated from the table of settings.

`python -m pooler.config.sample > etc/pooler.ini` writes it.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import fields

from pooler.config.model import Database, Peer, UserOptions
from pooler.config.settings import SETTINGS, Setting

_WIDTH = 103

_HEAD = """\
Sample configuration of pooler: every setting with its default. A line without ; in front of it sets
something else than the default, and the comment above says so.

The paths are those of etc/pooler.service: the file goes to /etc/pooler/pooler.ini, the users to
/etc/pooler/userlist.txt, and the service has /run/pooler for its socket.

The format is PgBouncer's. A ; or # at the start of a line makes it a comment; there is no comment
behind a value. Times are in seconds, switches are 0 or 1. `%include FILE` reads another file in place.

`pooler check FILE` tells what is wrong with a file. SIGHUP, or RELOAD on the console, reads it again:
either all of it counts, or the old configuration stays.
"""

_DATABASES = """\
One line per database: its name for clients, then where it is. Odd names go in single quotes, and so
do odd values. What isn't given is inherited: dbname from the name, host from unix_socket_dir, limits
from the settings below. * stands for all names that have no line. The name pgbouncer is the console.
"""

_ANY_DATABASE = "Set here; there is no default. Every name is a database of the PostgreSQL on this machine."

_USERS = "Limits of single users; they count more than those of a database."

_PEERS = "Other instances behind the same address, by their peer_id; cancel requests reach them."

_EXAMPLES = {
    "databases": (
        "shop = host=db1.example.com port=5432 dbname=shop pool_size=30",
        "stock = host=db2.example.com user=clerk pool_mode=session connect_query='SET work_mem=''64MB'''",
    ),
    "users": ("batch = pool_mode=session max_user_connections=5 query_timeout=3600",),
    "peers": ("1 = host=10.0.0.1 port=6432",),
}

#: What the sample sets, so that the service starts with it, and no client is let in before one is named.
GIVEN = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "/run/pooler",
    "auth_type": "scram-sha-256",
    "auth_file": "/etc/pooler/userlist.txt",
}


def sample_ini() -> str:
    """The text of etc/pooler.ini."""
    lines = [*_comment(_HEAD), ""]
    lines += _section("databases", _DATABASES, Database)
    lines += [*_comment(_ANY_DATABASE), "* = host=127.0.0.1 port=5432", ""]
    lines += [*_section("users", _USERS, UserOptions), ""]
    lines += [*_section("peers", _PEERS, Peer), "", "[pgbouncer]"]
    group = ""
    for setting in SETTINGS.values():
        if setting.group != group:
            group = setting.group
            lines += ["", f";;; {group}"]
        lines += ["", *_comment(describe(setting))]
        if setting.name in GIVEN:
            lines += _comment(f"Set here; the default is {setting.shown_default or 'empty'}.")
        lines.append(_line(setting))
    return "\n".join(lines) + "\n"


def describe(setting: Setting) -> str:
    """One setting in a sentence or two, with all that the table knows about it."""
    parts = [setting.text]
    if setting.words:
        parts.append(f"One of {', '.join(setting.words)}.")
    if setting.unit and setting.unit != "s":
        parts.append(f"In {setting.unit}.")
    if not setting.changeable:
        parts.append("Needs a restart.")
    if setting.inert:
        parts.append(f"Has no effect: {setting.inert}.")
    return " ".join(parts)


def _line(setting: Setting) -> str:
    given = GIVEN.get(setting.name)
    text = setting.shown_default if given is None else given
    return f"{'' if given else ';'}{setting.name} = {text or ''}".rstrip()


def _section(name: str, text: str, entry: type[Database | UserOptions | Peer]) -> list[str]:
    keys = [f.name for f in fields(entry) if "option" in f.metadata]
    lines = [f"[{name}]", *_comment(text), *_comment(f"Keys: {' '.join(keys)}.")]
    return lines + [f";{example}" for example in _EXAMPLES[name]]


def _comment(text: str) -> list[str]:
    """The paragraphs of `text` as comment lines of bounded width."""
    wrapped: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        wrapped += ["", *textwrap.wrap(paragraph, _WIDTH)]
    return [f";; {line}".rstrip() for line in wrapped[1:]]


if __name__ == "__main__":
    sys.stdout.write(sample_ini())
