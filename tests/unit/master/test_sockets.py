"""Listening sockets, by real ones."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.config import Settings
from pooler.dev.processes import free_port
from pooler.errors import BootError
from pooler.master import sockets
from pooler.master.sockets import Listener, open_listeners


class Opener:
    """Opens listeners and closes them at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Listener] = []

    def __call__(self, *addresses: str, **settings: Any) -> list[Listener]:
        given: dict[str, Any] = {"listen_port": free_port(), "unix_socket_dir": str(self.folder), **settings}
        listeners = open_listeners(Settings(listen_addr=addresses, **given))
        self.opened += listeners
        return listeners


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    made = Opener(tmp_path)
    yield made
    for listener in made.opened:
        listener.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def names(listeners: list[Listener]) -> set[str]:
    return {listener.name for listener in listeners}


def test_unix_and_tcp(opener: Opener, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    listeners = opener("127.0.0.1", listen_port=port)
    path = f"{tmp_path}/.s.PGSQL.{port}"
    assert names(listeners) == {f"127.0.0.1:{port}", f"unix:{path}"}
    shown = capfd.readouterr().err
    assert f"listening on 127.0.0.1:{port}" in shown
    assert f"listening on unix:{path}" in shown
    for listener in listeners:
        assert listener.sock.getblocking() is False
        assert not os.get_inheritable(listener.sock.fileno())
        with socket.socket(listener.sock.family) as client:
            client.connect(listener.sock.getsockname())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777


def test_several_addresses(opener: Opener) -> None:
    port = free_port()
    got = names(opener("127.0.0.1", "127.0.0.2", "127.0.0.1", unix_socket_dir="", listen_port=port))
    assert got == {f"127.0.0.1:{port}", f"127.0.0.2:{port}"}


def test_star_is_ipv4_and_ipv6(opener: Opener) -> None:
    port = free_port()
    got = names(opener("*", unix_socket_dir="", listen_port=port))
    assert got == ({f"0.0.0.0:{port}", f"[::]:{port}"} if has_ipv6() else {f"0.0.0.0:{port}"})


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_only_takes_ipv6(opener: Opener) -> None:
    port = free_port()
    assert names(opener("::1", "127.0.0.1", unix_socket_dir="", listen_port=port)) == {
        f"[::1]:{port}",
        f"127.0.0.1:{port}",
    }


def test_port_in_use(opener: Opener, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BootError, match="failed to listen on any address in listen_addr list: "):
            opener("127.0.0.1", listen_port=port)
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capfd.readouterr().err
        assert list(opener.folder.iterdir()) == [], "the unix socket must be gone again"
        # One address that works is enough.
        assert f"127.0.0.2:{port}" in names(opener("127.0.0.1", "127.0.0.2", listen_port=port))


def test_unknown_host(
    opener: Opener, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(BootError, match="failed to listen on any address in listen_addr list: no-such-host"):
        opener("no-such-host.invalid")
    assert "cannot listen on no-such-host.invalid: Name or service not known" in capfd.readouterr().err


def test_nowhere(opener: Opener) -> None:
    with pytest.raises(BootError, match="nowhere to listen on"):
        opener(unix_socket_dir="")


def test_unix_socket_in_use(opener: Opener) -> None:
    port = free_port()
    opener(listen_port=port)
    with pytest.raises(BootError, match="unix socket is in use, cannot continue"):
        opener(listen_port=port)


def test_stale_unix_socket_is_replaced(opener: Opener, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / f".s.PGSQL.{port}"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (listener,) = opener(listen_port=port)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_stays(opener: Opener, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / f".s.PGSQL.{port}"
    path.write_text("precious")
    with pytest.raises(BootError, match="a file that is no socket is in the way"):
        opener(listen_port=port)
    assert path.read_text() == "precious"


def test_close_leaves_the_socket_of_a_successor(opener: Opener, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / f".s.PGSQL.{port}"
    (old,) = opener(listen_port=port)
    path.rename(tmp_path / "moved")
    opener(listen_port=port)
    old.close()
    assert path.exists()


def test_mode_and_group(opener: Opener, tmp_path: Path) -> None:
    port = free_port()
    opener(listen_port=port, unix_socket_mode=0o750, unix_socket_group=str(os.getgid()))
    found = (tmp_path / f".s.PGSQL.{port}").stat()
    assert stat.S_IMODE(found.st_mode) == 0o750
    assert found.st_gid == os.getgid()


def test_unknown_group(opener: Opener) -> None:
    with pytest.raises(BootError, match="there is no group 'nosuchgroup'"):
        opener(unix_socket_group="nosuchgroup")
    with pytest.raises(BootError, match=r"^cannot listen on unix:/no/such/folder"):
        opener(unix_socket_dir="/no/such/folder")


def test_abstract(opener: Opener) -> None:
    port = free_port()
    folder = f"@pooler-test-{os.getpid()}"
    (listener,) = opener(listen_port=port, unix_socket_dir=folder)
    assert listener.name == f"unix:{folder}/.s.PGSQL.{port}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{folder[1:]}/.s.PGSQL.{port}")
    with pytest.raises(BootError, match="unix socket is in use"):
        opener(listen_port=port, unix_socket_dir=folder)


def test_path_too_long(opener: Opener) -> None:
    with pytest.raises(BootError, match="107 is the most"):
        opener(unix_socket_dir="/tmp/" + "x" * 120)


def test_accepted_sockets_inherit(opener: Opener) -> None:
    (listener,) = opener(
        "127.0.0.1", unix_socket_dir="", tcp_defer_accept=0, tcp_keepcnt=3, tcp_keepidle=77, tcp_keepintvl=9,
        tcp_user_timeout=12345,
    )  # fmt: skip
    with socket.socket() as client:
        client.connect(listener.sock.getsockname())
        accepted, _ = listener.sock.accept()
    with accepted:
        tcp = socket.IPPROTO_TCP
        assert accepted.getsockopt(tcp, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(tcp, socket.TCP_KEEPCNT) == 3
        assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) == 77
        assert accepted.getsockopt(tcp, socket.TCP_KEEPINTVL) == 9
        assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 12345


def test_tune_again(opener: Opener) -> None:
    (listener,) = opener("127.0.0.1", unix_socket_dir="")
    sockets.tune(listener, Settings(tcp_keepalive=False))
    assert not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
