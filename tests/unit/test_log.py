"""The log: its format, and that nothing about it can fail or wait."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler import log
from pooler.log import LEVELS, LINE_BYTES, RECORD, Log, Sink

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[(\d+)\] (\w+) (.*)")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The log of this process goes to this file; afterwards it is as before."""
    path = tmp_path / "log"
    former, log._log = log._log, Log()
    log.configure(str(path), verbose=2, stderr=False)
    yield path
    log.configure(stderr=False)
    log._log = former


def lines(path: Path) -> list[tuple[str, ...]]:
    found = []
    for line in path.read_text().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append(match.groups())
    return found


def test_format(file: Path) -> None:
    log.info("listening on %s", "127.0.0.1:6432")
    assert lines(file) == [(str(os.getpid()), "LOG", "listening on 127.0.0.1:6432")]


def test_levels(file: Path) -> None:
    for write in (log.fatal, log.error, log.warning, log.info, log.debug, log.noise):
        write("x")
    assert [level for _, level, _ in lines(file)] == ["FATAL", "ERROR", "WARNING", "LOG", "DEBUG", "NOISE"]


@pytest.mark.parametrize(
    ("verbose", "shown"), [(0, ["LOG"]), (1, ["LOG", "DEBUG"]), (3, ["LOG", "DEBUG", "NOISE"])]
)
def test_verbosity(file: Path, verbose: int, shown: list[str]) -> None:
    log.configure(str(file), verbose=verbose, stderr=False)
    for write in (log.info, log.debug, log.noise):
        write("x")
    assert [level for _, level, _ in lines(file)] == shown


def test_no_line_can_be_forged(file: Path) -> None:
    log.info("login %s", "a\r\n2026-01-01 FATAL \x1b[31m\x7f\x85\u2028\udcff\ud800ü")
    ((_, _, text),) = lines(file)
    assert text == r"login a\x0d\x0a2026-01-01 FATAL \x1b[31m\x7f\x85\u2028\xff\ud800ü"


def test_never_raises(file: Path) -> None:
    class Awkward(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log.info("%d of %s", "one")
    log.info("100%", 1)
    log.info("plain 100%")
    log.exception("bug", Awkward())
    texts = [text for _, _, text in lines(file)]
    assert texts[0] == "%d of %s (TypeError in this log line)"
    assert texts[2] == "plain 100%"
    assert texts[3].startswith("bug: Awkward (text failed: RuntimeError)")


def test_an_argument_without_text(file: Path) -> None:
    class Awkward:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    log.info("got %s", Awkward())
    assert len(lines(file)) == 1


def test_exception_is_one_line_with_its_place(file: Path) -> None:
    try:
        int("x\ny")
    except ValueError as e:
        log.exception("bug in the test", e)
    ((_, level, text),) = lines(file)
    assert level == "ERROR"
    assert text.startswith("bug in the test: ValueError: invalid literal")
    assert re.search(r"\(Traceback: test_log\.py:\d+ test_exception_is", text)


def test_long_lines_are_cut(file: Path) -> None:
    log.info("x" * 10_000)
    log.info("ü" * 10_000)
    log.info("next")
    data = file.read_bytes()
    assert [len(line) for line in data.splitlines(keepends=True)][:2] == [LINE_BYTES, LINE_BYTES]
    assert data.endswith(b" LOG next\n")


def test_file_mode(file: Path) -> None:
    log.info("x")
    assert stat.S_IMODE(file.stat().st_mode) & 0o137 == 0


def test_reopen_follows_rotation(file: Path) -> None:
    log.info("one")
    file.rename(file.with_suffix(".1"))
    log.info("two")
    log.follow(str(file), 0)
    log.info("three")
    assert [text for _, _, text in lines(file.with_suffix(".1"))] == ["one", "two"]
    assert [text for _, _, text in lines(file)] == ["three"]


def test_a_file_that_cannot_be_opened_changes_nothing(file: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        log.configure(str(tmp_path / "missing" / "log"), stderr=False)
    log.info("still here")
    assert lines(file)[-1][2] == "still here"


def test_reopening_in_vain_keeps_the_old_file(file: Path) -> None:
    file.rename(file.with_suffix(".1"))
    file.mkdir()
    log.follow(str(file), 0)
    log.info("still here")
    texts = [text for _, _, text in lines(file.with_suffix(".1"))]
    assert texts == [f"cannot open log file {file}: Is a directory", "still here"]
    file.rmdir()


def test_full_disk_drops_and_counts(file: Path) -> None:
    log.configure("/dev/full", stderr=False)
    log.info("lost")
    log.info("lost")
    assert log.dropped() == 2


def test_full_pipe_drops_counts_and_recovers(file: Path) -> None:
    reader, writer = os.pipe()
    log._log.file, former = Sink(writer), log._log.file
    assert former is not None
    former.close()
    while not log.dropped():  # would wait here for ever if it waited
        log.info("x" * 1000)
    log.info("lost too")
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass
    log.info("here again")
    report, line = os.read(reader, 65536).decode().splitlines()
    assert report.endswith("WARNING 2 log lines were lost")
    assert line.endswith("LOG here again")
    assert log.dropped() == 2
    assert os.get_blocking(writer), "the descriptor is shared with our parent: its flags are not ours"
    os.close(reader)


def test_closed_pipe_is_dropped(file: Path) -> None:
    reader, writer = os.pipe()
    log._log.file = Sink(writer)
    os.close(reader)
    log.info("lost")
    assert log.dropped() == 1


def test_socket_that_nobody_reads(file: Path) -> None:
    """systemd gives its services a socket as standard error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log._log.file = Sink(ours.fileno(), owned=False)
        while not log.dropped():
            log.info("x" * 1000)
        assert LINE.match(theirs.recv(65536).decode().splitlines()[0])
        log._log.file = None


def test_fork_and_threads(file: Path) -> None:
    """Lines of many writers stay whole."""

    def write(count: int = 200) -> None:
        for n in range(count):
            log.info("%d %s", n, "x" * 300)

    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            write()
            os._exit(0)
        pids.append(pid)
    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pid in pids:
        os.waitpid(pid, 0)
    found = lines(file)
    assert len(found) == 800
    assert {int(pid) for pid, _, _ in found} == {*pids, os.getpid()}


def test_speak(file: Path) -> None:
    assert log._log.stderr is None
    log.speak()
    assert log._log.stderr is not None
    log._log.stderr = None


def test_problems(file: Path) -> None:
    log.write_problem("error", "p.ini:1: error: 100%")
    log.write_problem("warning", "p.ini:2: warning: x")
    assert [(level, text) for _, level, text in lines(file)] == [
        ("ERROR", "p.ini:1: error: 100%"),
        ("WARNING", "p.ini:2: warning: x"),
    ]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> Path:
    """Where syslog listens; nobody does yet."""
    path = tmp_path / "syslog"
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(path))
    return path


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(5)
    return sock


def test_syslog(daemon: Path, file: Path) -> None:
    with listening(daemon) as sock:
        log.configure(str(file), stderr=False, syslog=("bouncer", "local3"))
        log.warning("a %s\nline", "forged")
        told = sock.recv(4096).decode()
        match = re.fullmatch(r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d bouncer\[(\d+)\]: (.*)", told)
        assert match, told
        assert (int(match[1]) >> 3, int(match[1]) & 7) == (19, 4)
        assert int(match[2]) == os.getpid()
        assert match[3] == r"a forged\x0aline"
        assert lines(file)[-1][1:] == ("WARNING", r"a forged\x0aline")
        log.configure(str(file), stderr=False, syslog=("bouncer", "no such facility"))
        log.info("x")
        assert sock.recv(4096).startswith(b"<30>")


def test_syslog_that_is_not_there_and_comes_back(daemon: Path, file: Path) -> None:
    log.configure(str(file), stderr=False, syslog=("bouncer", "daemon"))
    log.info("nobody hears this")
    for _ in range(2):  # each time another socket of the same name
        log.info("nor this")
        with listening(daemon) as sock:
            log.info("back")
            assert re.search(rb"\d+ log lines were lost", sock.recv(4096))
            assert sock.recv(4096).endswith(b": back")
        daemon.unlink()
        log.info("nobody again")
    assert len(lines(file)) == 7


def test_syslog_that_does_not_read_is_not_waited_for(daemon: Path, file: Path) -> None:
    with listening(daemon):
        log.configure(str(file), stderr=False, syslog=("bouncer", "daemon"))
        before = log.dropped()
        for _ in range(5000):
            log.info("x" * 100)
        assert log.dropped() > before
    assert len(lines(file)) == 5000


def made(*texts: str, level: str = log.LOG) -> tuple[bytes, bytes, int]:
    """Lines as the relay makes them."""
    whole = [log._log._line(level, text.encode()) for text in texts]
    records = [
        RECORD.pack(len(line), len(line) - len(text.encode()) - 1, LEVELS.index(level))
        for line, text in zip(whole, texts, strict=True)
    ]
    return b"".join(whole), b"".join(records), 0


def test_lines_of_the_relay(file: Path) -> None:
    log.write_lines(*made("one", "two"))
    log.write_lines(b"", b"", 0)
    log.write_lines(*made("three", level=log.WARNING))
    assert [(level, text) for _, level, text in lines(file)] == [
        ("LOG", "one"),
        ("LOG", "two"),
        ("WARNING", "three"),
    ]


def test_lines_that_the_relay_lost_are_missing_where_they_would_be(file: Path) -> None:
    batch, records, _ = made("one", "two")
    log.write_lines(batch, records, 7)
    assert [text for _, _, text in lines(file)] == ["one", "two", "7 log lines were lost"]
    assert log.dropped() == 7


def test_many_lines_in_few_writes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets whole lines, at most LINE_BYTES of them at once; a file all."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    written: list[bytes] = []
    assert log._log.file is not None
    real = log._log.file._write

    def write(data: bytes) -> int:
        written.append(data)
        return real(data)

    log._log.file._write = write
    with ours, theirs:
        log._log.stderr = Sink(ours.fileno(), owned=False)
        batch = made(*(f"{n} " + "x" * 500 for n in range(40)))
        log.write_lines(*batch)
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < len(batch[0]):
            pieces.append(theirs.recv(65536))
        log._log.stderr = None
    assert written == [batch[0]]
    assert b"".join(pieces) == batch[0]
    assert all(len(piece) <= LINE_BYTES and piece.endswith(b"\n") for piece in pieces)
    assert len(pieces) < 10


def test_lines_of_the_relay_that_a_full_pipe_drops(file: Path) -> None:
    reader, writer = os.pipe()
    log._log.file, former = Sink(writer), log._log.file
    assert former is not None
    former.close()
    log.write_lines(*made(*["x" * 1000] * 100))
    dropped = log.dropped()
    assert 0 < dropped < 100
    there = os.read(reader, 1 << 20).decode().splitlines()
    assert len(there) == 100 - dropped
    log.write_lines(*made("here again"))
    report, line = os.read(reader, 65536).decode().splitlines()
    assert report.endswith(f"WARNING {dropped} log lines were lost")
    assert line.endswith("LOG here again")
    os.close(reader)


def test_a_batch_that_was_written_in_part(file: Path) -> None:
    """What is there of a line stays by itself, and counts as dropped."""
    log.write_lines(*made("one"))
    sink = log._log.file
    assert sink is not None
    whole, sink._write = sink._write, lambda data: os.write(sink.fd, data[:-5])
    log.write_lines(*made("two", "three"))
    assert log.dropped() == 1
    sink._write = whole
    log.write_lines(*made("four"))
    texts = [line.split("] ")[1] for line in file.read_text().splitlines()]
    assert texts == ["LOG one", "LOG two", "LOG t", "WARNING 1 log lines were lost", "LOG four"]


def test_lines_of_the_relay_in_syslog(daemon: Path, file: Path) -> None:
    with listening(daemon) as sock:
        log.configure(str(file), stderr=False, syslog=("bouncer", "daemon"))
        log.write_lines(*made("one", "two"))
        log.write_lines(*made("three", level=log.WARNING))
        told = [sock.recv(4096) for _ in range(3)]
    assert [datagram[:4] for datagram in told] == [b"<30>", b"<30>", b"<28>"]
    assert [datagram.split(b": ", 1)[1] for datagram in told] == [b"one", b"two", b"three"]


def test_lines_of_the_relay_without_syslog(daemon: Path, file: Path) -> None:
    log.configure(str(file), stderr=False, syslog=("bouncer", "daemon"))
    log.write_lines(*made("one", "two"))
    assert log.dropped() == 2
    assert len(lines(file)) == 2
