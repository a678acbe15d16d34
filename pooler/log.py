"""The log: one event, one line, in PgBouncer's format.

    2026-01-31 12:00:00.123 UTC [4711] LOG listening on 127.0.0.1:6432

Lines go to the log file if there is one, to syslog if that is configured, and to standard error unless that
was switched off (-q, -d). Rules:

* Nothing here raises and nothing waits. A line that cannot be written now (disk full, reader of a pipe
  asleep) is dropped and counted; the next line that gets through says how many are missing.
* Lines are written whole, in a `write` of at most LINE_BYTES to a file opened with O_APPEND (regular files
  take more at once): lines of several processes never mix.
* No lock, of threads or of processes: usable after a fork, in a thread, in any greenlet.
* The relay makes its lines itself (core/relay/log.h); `write_lines` takes them by the batch.
* Control characters, and bytes of names that are not UTF-8, are shown as \\xNN: no client can forge a line.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import time
import traceback
from collections.abc import Callable, Iterator

FATAL, ERROR, WARNING, LOG, DEBUG, NOISE = "FATAL", "ERROR", "WARNING", "LOG", "DEBUG", "NOISE"

#: Longest line, with its newline: PIPE_BUF, up to which the kernel keeps writes to a pipe in one piece.
LINE_BYTES = 4096

#: Of a line that the relay made (core/relay/log.h): its bytes, those before its text, its level as a number.
RECORD = struct.Struct("=HHH")
LEVELS = (ERROR, WARNING, LOG, DEBUG)

#: The log names clients and users, so it is not for everybody's eyes.
FILE_MODE = 0o640

STDERR = 2

#: Where the system's log listens.
SYSLOG_SOCKET = "/dev/log"

#: Names and numbers of syslog(3). An unknown name is daemon, as in PgBouncer.
FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8,
    "cron": 9, "authpriv": 10, "ftp": 11, **{f"local{n}": 16 + n for n in range(8)},
}  # fmt: skip
PRIORITIES = {FATAL: 2, ERROR: 3, WARNING: 4, LOG: 6, DEBUG: 7, NOISE: 7}

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {0xDC00 + code: f"\\x{code:02x}" for code in range(0x80, 0x100)}  # surrogate escapes
_ESCAPES |= {0x2028: "\\u2028", 0x2029: "\\u2029"}  # some readers break lines here


class Sink:
    """One place lines go to, and how to write there without waiting."""

    def __init__(self, fd: int, owned: bool = True) -> None:
        self.fd = fd
        self.owned = owned
        self.missing = 0  # lines dropped since the last one that got through
        self.write_bytes: int | None = LINE_BYTES  # how much one write may have; None: any number of lines
        self._torn = False  # a line was written in part
        self._poll: select.poll | None = None
        self._write: Callable[[bytes], int] = self._choose()

    def _choose(self) -> Callable[[bytes], int]:
        try:
            mode = os.fstat(self.fd).st_mode
        except OSError:
            return lambda line: os.write(self.fd, line)
        if stat.S_ISSOCK(mode):
            return self._write_socket
        if stat.S_ISREG(mode):
            self.write_bytes = None  # O_APPEND keeps any write in one piece
        if stat.S_ISREG(mode) or not os.get_blocking(self.fd):
            return lambda line: os.write(self.fd, line)
        # O_NONBLOCK would change a terminal or pipe for everybody who shares it, our shell included: ask
        # first.
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLOUT)
        return self._write_if_it_fits

    def _write_socket(self, line: bytes) -> int:
        with socket.socket(fileno=os.dup(self.fd)) as sock:
            return sock.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _write_if_it_fits(self, line: bytes) -> int:
        assert self._poll is not None
        events = self._poll.poll(0)
        if not events or not events[0][1] & select.POLLOUT:
            raise BlockingIOError
        return os.write(self.fd, line)

    def put(self, line: bytes) -> bool:
        """Write a line; False if it was dropped."""
        try:
            written = self._write(b"\n" + line if self._torn else line)
        except (OSError, ValueError):
            return False
        self._torn = written < len(line) + self._torn
        return not self._torn

    def put_lines(self, lines: bytes) -> int:
        """Write whole lines at once; how many of them were dropped."""
        before = b"\n" if self._torn else b""
        try:
            written = self._write(before + lines)
        except (OSError, ValueError):
            return lines.count(b"\n")
        there = (before + lines)[:written]
        if there:
            self._torn = not there.endswith(b"\n")
        return lines.count(b"\n") - there[len(before) :].count(b"\n")

    def close(self) -> None:
        if self.owned and self.fd >= 0:
            try:
                os.close(self.fd)
            except OSError:
                self.missing += 1  # a disk may report only now what it lost
            self.fd = -1


def _open_file(path: str) -> Sink:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    return Sink(os.open(path, flags, FILE_MODE))


class Syslog(Sink):
    """The system's log: a datagram per line, without our time and with its priority (RFC 3164)."""

    def __init__(self, ident: str, facility: str) -> None:
        self._ident = ident
        self._facility = FACILITIES.get(facility, FACILITIES["daemon"]) << 3
        super().__init__(-1)

    def _choose(self) -> Callable[[bytes], int]:
        return self._write_datagram

    def line(self, level: str, text: bytes) -> bytes:
        """One event as it is sent."""
        priority = self._facility | PRIORITIES[level]
        head = f"<{priority}>{time.strftime('%b %e %H:%M:%S')} {self._ident}[{os.getpid()}]: "
        return (head.encode("utf-8", "backslashreplace") + text)[:LINE_BYTES]

    def _write_datagram(self, line: bytes) -> int:
        """A restarted daemon has another socket behind the same name: one more attempt."""
        try:
            return self._send(line)
        except OSError as e:
            if e.errno in (errno.EAGAIN, errno.ENOBUFS):
                raise
            self.close()
            return self._send(line)

    def _send(self, line: bytes) -> int:
        if self.fd < 0:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.connect(SYSLOG_SOCKET)
                self.fd = sock.detach()
        return self._write_socket(line)


class Log:
    """The log of this process. Module functions below use the only instance."""

    def __init__(self) -> None:
        self.path = ""
        self.verbose = 0
        self.dropped = 0
        self.file: Sink | None = None
        self.stderr: Sink | None = Sink(STDERR, owned=False)
        self.syslog: Syslog | None = None
        self.syslog_names: tuple[str, str] | None = None
        self._second = -1
        self._stamp = ("", "")

    def configure(self, path: str, verbose: int, stderr: bool, syslog: tuple[str, str] | None = None) -> None:
        """Take these settings and (re)open the file; raises OSError, with the old file kept, if it can't.

        `syslog`: (ident, facility).
        """
        self.verbose = verbose
        if self.syslog is not None:
            self.syslog.close()
        self.syslog_names = syslog
        self.syslog = None if syslog is None else Syslog(*syslog)
        if not stderr:
            self.stderr = None
        elif self.stderr is None:
            self.stderr = Sink(STDERR, owned=False)
        new = _open_file(path) if path else None
        old, self.file, self.path = self.file, new, path
        if old is not None:
            old.close()

    def write(self, level: str, text: str, args: tuple[object, ...]) -> None:
        """Write one event. Never raises."""
        sinks = [sink for sink in (self.file, self.stderr, self.syslog) if sink is not None]
        if not sinks:
            return
        shown = _shown(text, args)
        line = self._line(level, shown)
        for sink in sinks:
            own = sink.line(level, shown) if isinstance(sink, Syslog) else line
            self._tell_missing(sink)
            if not sink.put(own):
                sink.missing += 1
                self.dropped += 1

    def write_lines(self, lines: bytes, records: bytes, lost: int) -> None:
        """Write lines that are made already. Never raises."""
        for sink in [sink for sink in (self.file, self.stderr) if sink is not None]:
            for piece in _pieces(lines, sink.write_bytes):
                self._tell_missing(sink)
                dropped = sink.put_lines(piece)
                sink.missing += dropped
                self.dropped += dropped
        if self.syslog is not None:
            self._send_lines(self.syslog, lines, records)
        if lost:
            self.dropped += lost
            self.write(WARNING, "%d log lines were lost", (lost,))

    def _send_lines(self, syslog: Syslog, lines: bytes, records: bytes) -> None:
        at = 0
        for size, head, level in RECORD.iter_unpack(records):
            self._tell_missing(syslog)
            if not syslog.put(syslog.line(LEVELS[level], lines[at + head : at + size - 1])):
                syslog.missing += 1
                self.dropped += 1
            at += size

    def _tell_missing(self, sink: Sink) -> None:
        if sink.missing and sink.put(self._lost(sink)):
            sink.missing = 0

    def _lost(self, sink: Sink) -> bytes:
        text = _shown("%d log lines were lost", (sink.missing,))
        return sink.line(WARNING, text) if isinstance(sink, Syslog) else self._line(WARNING, text)

    def _line(self, level: str, text: bytes) -> bytes:
        now = time.time()
        second = int(now)
        if second != self._second:
            local = time.localtime(now)
            self._second = second
            self._stamp = (time.strftime("%Y-%m-%d %H:%M:%S", local), local.tm_zone)
        stamp, zone = self._stamp
        head = f"{stamp}.{int((now - second) * 1000):03d} {zone} [{os.getpid()}] {level} "
        return (head.encode("utf-8", "backslashreplace") + text)[: LINE_BYTES - 1] + b"\n"


def _pieces(lines: bytes, limit: int | None) -> Iterator[bytes]:
    """Whole lines, as many as fit into `limit` bytes each; none of them is longer."""
    at = 0
    while at < len(lines):
        end = len(lines) if limit is None else lines.rfind(b"\n", at, at + limit) + 1
        yield lines[at:end]
        at = end


def _shown(text: str, args: tuple[object, ...]) -> bytes:
    """The text of an event, on one line whatever is in it."""
    if args:
        try:
            text = text % args
        except Exception as e:  # from the caller's format or an argument's own __str__
            text = f"{text} ({type(e).__name__} in this log line)"
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace")


_log = Log()


def configure(
    path: str = "", verbose: int = 0, stderr: bool = True, syslog: tuple[str, str] | None = None
) -> None:
    """Set where lines go and how many; reopens the file. Raises OSError (with the old file kept).

    `syslog`: (ident, facility).
    """
    _log.configure(path, verbose, stderr, syslog)


def speak() -> None:
    """Write to standard error from now on, whatever was configured: the last words of a failed start."""
    if _log.stderr is None:
        _log.stderr = Sink(STDERR, owned=False)


def follow(path: str, verbose: int, syslog: tuple[str, str] | None = None) -> None:
    """Another configuration, in a process that keeps its choice of standard error. Trouble is logged."""
    try:
        _log.configure(path, verbose, _log.stderr is not None, syslog)
    except OSError as e:
        warning("cannot open log file %s: %s", path, e.strerror)


def verbosity() -> int:
    """From 1 on DEBUG is shown, from 2 on NOISE."""
    return _log.verbose


def dropped() -> int:
    """Lines of this process that were lost since it started."""
    return _log.dropped


def fatal(text: str, *args: object) -> None:
    """The process ends because of this."""
    _log.write(FATAL, text, args)


def error(text: str, *args: object) -> None:
    """Something that was asked for failed."""
    _log.write(ERROR, text, args)


def warning(text: str, *args: object) -> None:
    """Somebody should look at this."""
    _log.write(WARNING, text, args)


def info(text: str, *args: object) -> None:
    """An event that operators want to see; its level is written LOG."""
    _log.write(LOG, text, args)


def debug(text: str, *args: object) -> None:
    """Shown from -v on."""
    if _log.verbose >= 1:
        _log.write(DEBUG, text, args)


def noise(text: str, *args: object) -> None:
    """Shown from -v -v on."""
    if _log.verbose >= 2:
        _log.write(NOISE, text, args)


def write_lines(lines: bytes, records: bytes, lost: int) -> None:
    """What the relay has said; `records`: a RECORD of each line, `lost`: how many it had no space for."""
    if lines or lost:
        _log.write_lines(lines, records, lost)


def exception(text: str, exc: BaseException) -> None:
    """A bug: `text`, the exception and its traceback, innermost call last, on one line."""
    frames = traceback.extract_tb(exc.__traceback__)[-20:]
    path = " > ".join(f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames)
    try:
        shown = f"{type(exc).__name__}: {exc}"
    except Exception as e:  # an exception whose text cannot be made must not hide where it happened
        shown = f"{type(exc).__name__} (text failed: {type(e).__name__})"
    _log.write(ERROR, "%s: %s (Traceback: %s)", (text, shown, path))


def write_problem(severity: str, text: str) -> None:
    """A problem of a configuration, at the level its severity asks for."""
    (error if severity == "error" else warning)("%s", text)
