"""The file of users and their secrets (auth_file): `"user" "secret"` per line.

`""` stands for a quote inside, `;` starts a comment line, what follows the secret on its line is ignored. A
secret is a plain password, `md5...` or `SCRAM-SHA-256$...`; an empty one lets nobody in by password.

PgBouncer looks for the next quote wherever it is, so that a missing one shifts all later fields: a user's
name becomes another's password. Here a line is a line, and one that can't be read is an error.
"""

from __future__ import annotations

import re
import stat

from pooler.config.ini import PROBLEMS_MAX, Place, read_with_mode
from pooler.config.values import WHITE_SPACE
from pooler.errors import Problem

#: In bytes, as PgBouncer 1.25 (names end with a NUL in fields of 128 and 65531).
USERNAME_BYTES_MAX = 127
SECRET_BYTES_MAX = 65530

#: A million users with SCRAM secrets are 200 MB.
FILE_BYTES_MAX = 256 * 1024 * 1024

_LINE = re.compile(r'"((?:[^"]|"")*)"[ \t\v\f\r]+"((?:[^"]|"")*)"')


def read_userlist(path: str) -> tuple[dict[str, str], list[Problem]]:
    """Secrets by user, and what is wrong with the file; a user named twice has the later secret."""
    whole = Place(path, 0)
    try:
        data, mode = read_with_mode(path, FILE_BYTES_MAX)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        reason = getattr(error, "strerror", None) or str(error)
        return {}, [whole.problem(f"could not open auth_file: {reason}")]
    users, problems = parse_userlist(data, path)
    if any(users.values()) and mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        text = f"holds secrets and is open to group or others (mode {mode:04o}), better: chmod 600"
        problems.append(whole.problem(text, "warning"))
    return users, problems


def parse_userlist(data: bytes, file: str) -> tuple[dict[str, str], list[Problem]]:
    users: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = line.strip(WHITE_SPACE)
        if not line or line.startswith(";"):
            continue
        if len(problems) >= PROBLEMS_MAX:
            problems.append(Problem(file, number, "too many problems, the rest isn't read"))
            break
        problem = _read_line(line, users)
        if problem:
            problems.append(Problem(file, number, problem))
    return users, problems


def _read_line(line: str, users: dict[str, str]) -> str | None:
    """Adds the user of one line, or returns what is wrong with it; never shows what may be a secret."""
    match = _LINE.match(line)
    if match is None:
        return 'broken auth file: expected "user" "secret", both in quotes'
    user, secret = (part.replace('""', '"') for part in match.groups())
    if "\0" in user + secret:
        return "broken auth file: NUL byte"
    if not user:
        return "empty username in auth file"
    if byte_length(user) > USERNAME_BYTES_MAX:
        return f"username too long in auth file, at most {USERNAME_BYTES_MAX} bytes"
    if byte_length(secret) > SECRET_BYTES_MAX:
        return f"password too long in auth file, at most {SECRET_BYTES_MAX} bytes"
    users[user] = secret
    return None


def byte_length(name: str) -> int:
    """Length on the wire."""
    return len(name.encode("utf-8", "surrogateescape"))
