"""The key from which the salts of unknown users are made: the same for as long as an installation lasts.

A user who exists has the same salt at each login. One who does not exist must have so too, or two attempts
with a reload or a restart between them tell the two apart. So the key depends on nothing that changes: it is
random, made at the first start, and kept in a file that only pooler's account can read. An instance that
replaces another (-R) gets the key from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import tempfile
from pathlib import Path

from pooler import log

KEY_BYTES = 32
MACHINE_ID = "/etc/machine-id"
#: Where a service manager gives a service a directory that lasts.
STATE_DIRECTORY = "STATE_DIRECTORY"


def make_for(user: str, conffile: str) -> None:
    """Make the file while the process is still root, whose directory it may be; it belongs to `user`."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(KeyError, OSError):  # `become` says so; without the file the key is derived
        entry = pwd.getpwnam(user)
        _keep(_path(conffile), os.urandom(KEY_BYTES), (entry.pw_uid, entry.pw_gid))


def login_key(conffile: str, given: bytes = b"") -> bytes:
    """The key of this installation; `given` is that of the instance which this one replaces."""
    path = _path(conffile)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        log.warning("%s cannot be used for the salts of unknown users: %s", path, reason)
        return given or _derived(conffile)
    # An instance that could not keep its key has a derived one, and so has its successor.
    key = given or os.urandom(KEY_BYTES)
    try:
        return _keep(path, key)
    except OSError as error:
        log.debug("%s cannot be written: %s; the key is derived", path, error.strerror)
        return given or _derived(conffile)


def _path(conffile: str) -> Path:
    directory = os.environ.get(STATE_DIRECTORY, "").split(":")[0]
    name = f"{Path(conffile).name}.saltkey"
    return Path(directory or Path(conffile).parent, name)


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"it is open to group or others (mode {stat.S_IMODE(status.st_mode):04o})")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise ValueError(f"it does not have {KEY_BYTES} bytes")
    return key


def _keep(path: Path, key: bytes, owner: tuple[int, int] = (-1, -1)) -> bytes:
    """Write it, whole or not at all; of two instances that start at once, the first one's key counts."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(key)
            os.fchown(fd, *owner)
            file.flush()
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
    try:
        return _read(path)
    except ValueError as error:
        raise OSError(0, str(error)) from None


def _derived(conffile: str) -> bytes:
    """Where no file can be kept: from the machine's id, which other accounts of the machine can read.

    Containers may have none; then the key lasts until the next start.
    """
    try:
        machine = Path(MACHINE_ID).read_bytes()
    except OSError:
        log.info("no file for the salts of unknown users, and no %s: they change at each start", MACHINE_ID)
        return os.urandom(KEY_BYTES)
    place = os.fsencode(os.path.abspath(conffile))
    return hashlib.sha256(b"pooler salts\0" + machine + b"\0" + place).digest()
