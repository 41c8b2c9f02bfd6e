"""The sockets that several workers share."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pkgcache.proxy.serve import serve
from pkgcache.proxy.workers.arguments import read_options
from pkgcache.proxy.workers.listening import Sockets, addresses, bind_again, bind_all, why_impossible

pytestmark = pytest.mark.skipif(why_impossible() is not None, reason=f"{why_impossible()}")

LOOPBACK = ("127.0.0.1", 0)


def refuse(*_: object) -> None:
    raise OSError(92, "Protocol not available")


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """socket(7): Linux has it since 3.9. macOS has the name, and gives all connections to one of the sockets."""
    with monkeypatch.context() as patched:
        patched.delattr(socket, "SO_REUSEPORT")
        assert why_impossible() == "this system lacks SO_REUSEPORT"
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        assert str(why_impossible()).startswith("this system's SO_REUSEPORT does not spread connections")
    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "setsockopt", refuse)
        assert why_impossible() == "this system lacks SO_REUSEPORT (Protocol not available)"


def test_it_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(SystemExit) as end:
        serve(["--workers", "2", "--set", f"confdir={tmp_path}"])
    line = "pypi-cache serve: --workers: this system lacks SO_REUSEPORT; start it without that option\n"
    assert (end.value.code, capfd.readouterr()) == (1, ("", line))


@contextmanager
def bound(*wanted: tuple[str, int], count: int = 3) -> Iterator[list[Sockets]]:
    found = bind_all(wanted, count)
    try:
        yield found
    finally:
        for each in found:
            each.close()


def test_one_port_for_all() -> None:
    with bound(LOOPBACK) as found:
        ports = [each.bound() for each in found]
        assert len({port for each in ports for port in each.values()}) == 1
        assert ports[0].keys() == {LOOPBACK}


def test_no_socket_listens_before_its_worker_does() -> None:
    """Else the kernel would give it connections, which nobody would take if no worker can start."""
    with bound(LOOPBACK) as found, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", found[0].bound()[LOOPBACK]), 1)


def test_all_of_the_machines_addresses_are_ipv4_and_ipv6() -> None:
    with bound(("", 0), count=2) as found:
        families = [{each.family for each in sockets.take(("", 0))} for sockets in found]
        assert families[0] == families[1]
        assert socket.AF_INET in families[0]


def test_taken_once() -> None:
    """mitmproxy closes what it was given, and a second socket of that address would be another one."""
    with bound(LOOPBACK, count=1) as (sockets,):
        (taken,) = sockets.take(LOOPBACK)
        taken.close()
        assert sockets.take(LOOPBACK) == []
        assert sockets.take(("127.0.0.1", 1)) == []


def test_a_successors_socket_has_the_others_port() -> None:
    with bound(LOOPBACK, count=2) as found:
        ports = found[0].bound()
        (other,) = found[1].take(LOOPBACK)
        other.listen()
        found[0].close()
        again = bind_again(ports)
        assert again.bound() == ports
        again.close()
        other.close()


@pytest.mark.parametrize("reuses_port", [False, True])
def test_a_port_that_somebody_listens_on_is_refused(*, reuses_port: bool) -> None:
    """Another proxy with workers too: the kernel would let both share the port, and each would get half of the requests."""
    with socket.socket() as other:
        if reuses_port:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(LOOPBACK)
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"^.*cannot listen on 127.0.0.1:{port}: Address already in use$"):
            bind_all([("127.0.0.1", port)], 2)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.example"])
def test_an_address_that_is_not_this_machines(host: str) -> None:
    """RFC 5737: nobody has the first one."""
    with pytest.raises(OSError, match=r"cannot listen|not known|Temporary failure|No address"):
        bind_all([(host, 0)], 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [("", 8080)]),
        (["-p", "3128"], [("", 3128)]),
        (
            ["--listen-host", "127.0.0.1", "--mode", "regular", "--mode", "regular@9000"],
            [("127.0.0.1", 8080), ("127.0.0.1", 9000)],
        ),
        (["--mode", "upstream:http://parent.example:3128"], [("", 8080)]),
        (["--mode", "regular@127.0.0.2:9000"], [("127.0.0.2", 9000)]),
    ],
)
def test_addresses(words: list[str], expected: list[tuple[str, int]]) -> None:
    options = read_options(words)
    assert options is not None
    assert addresses(options) == expected


@pytest.mark.parametrize("mode", ["wireguard", "local", "dns", "reverse:dns://192.0.2.1"])
def test_modes_that_have_no_socket_to_share(mode: str) -> None:
    options = read_options(["--mode", mode])
    assert options is not None
    with pytest.raises(ValueError, match=f"^--workers: mode '{mode}' does not listen on TCP$"):
        addresses(options)
