"""What the proxy says at start, and what an agent's user is told to paste."""

import socket
from pathlib import Path
from typing import Any, Self

import pytest

from pkgcache.engine.service import Service
from pkgcache.engine.upstream.parent_proxy import ParentProxy
from pkgcache.settings import make_settings
from pkgcache.web.onboarding import agent_lines, greeting, reachable_url, start_page
from tests.support.names import INDEX_URL

LISTENS = [("192.0.2.9", 8080)]


def lines(folder: Path, listens: list[tuple[str, int]] = LISTENS, parent: str = "", **options: Any) -> list[str]:
    given = {f"pypi_cache_{name}": value for name, value in options.items()}
    service = Service(make_settings({"pypi_cache_dir": str(folder), **given}))
    if parent:
        service.client.parent = ParentProxy.parse(parent)
    return greeting(service, listens)


def about(name: str, greeted: list[str]) -> list[str]:
    """The rest of the lines that begin with a name."""
    return [line.split(maxsplit=1)[1] for line in greeted if line.startswith(f"  {name} ")]


def test_store_ca_and_index(tmp_path: Path) -> None:
    greeted = lines(tmp_path, max_size="1g")
    assert greeted[0].startswith("pypi-cache ")
    assert greeted[0].endswith(" listens on 192.0.2.9:8080")
    assert about("CA", greeted) == ["http://192.0.2.9:8080/ca.pem"], "not the file, which may have the key in it"
    assert about("index", greeted) == [f"pypi: {INDEX_URL}"]
    for name in ("parent", "offline", "cooldown", "allow", "deny", "private"):
        assert about(name, greeted) == [], "only what is in force"


def test_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pkgcache.engine.store.store.Store.usable", True)
    assert about("store", lines(tmp_path, max_size="1g")) == [f"{tmp_path}, up to 1 GiB"]
    monkeypatch.setattr("pkgcache.engine.store.store.Store.usable", False)
    assert about("store", lines(tmp_path)) == ["UNUSABLE: nothing is kept"]


@pytest.mark.parametrize(
    ("listens", "expected"),
    [
        ([("127.0.0.1", 8080)], "127.0.0.1:8080"),
        ([("0.0.0.0", 8080), ("::", 8080)], "*:8080"),
        ([("::1", 8080)], "[::1]:8080"),
        ([("127.0.0.1", 8080), ("127.0.0.1", 8081)], "127.0.0.1:8080, 127.0.0.1:8081"),
    ],
)
def test_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: list[tuple[str, int]], expected: str
) -> None:
    monkeypatch.setattr("pkgcache.web.onboarding.reachable_url", lambda _: "http://any.test:8080")
    assert lines(tmp_path, listens)[0].endswith(f" listens on {expected}")


def test_it_listens_on_nothing(tmp_path: Path) -> None:
    """`mitmdump --no-server`."""
    greeted = lines(tmp_path, [], public_url="http://proxy.example:8080")
    assert greeted[0].endswith(" listens on nothing")


def test_indexes(tmp_path: Path) -> None:
    """A mirror is named with its index, and is no index of its own."""
    greeted = lines(
        tmp_path, index=["pypi=https://one.test/simple https://two.test/simple", "torch=https://wheels.test/cpu"]
    )
    assert about("index", greeted) == [
        f"pypi: {INDEX_URL}, fetched from https://one.test/simple/, https://two.test/simple/",
        "torch: https://wheels.test/cpu/",
    ]


def test_no_password_is_greeted(tmp_path: Path) -> None:
    greeted = lines(
        tmp_path, index=["pypi=https://user:sesame@one.test/simple"], parent="http://user:sesame@parent.test:3128"
    )
    assert about("parent", greeted) == ["http://***@parent.test:3128"]
    assert "sesame" not in "\n".join(greeted)


def test_rules(tmp_path: Path) -> None:
    greeted = lines(tmp_path, offline=True, cooldown="7d", allow=["a*", "b"], deny=["c"], private=["d=pypi"])
    assert about("offline", greeted) == ["yes: only what is stored is served"]
    assert about("cooldown", greeted) == ["7d"]
    greeted += lines(tmp_path, cooldown="7d", cooldown_except=["acme-*", "*=pypi"])
    assert about("cooldown", greeted)[1:] == ["7d, but not for acme-* *=pypi"]
    assert about("allow", greeted) == ["a* b"]
    assert about("deny", greeted) == ["c"]
    assert about("private", greeted) == ["d=pypi"]


def test_the_public_url_is_pasted(tmp_path: Path) -> None:
    greeted = lines(tmp_path, public_url="http://proxy.example:3128")
    assert "Paste on an agent:" in greeted
    assert greeted[-4:] == [f"  {line}" for line in agent_lines("http://proxy.example:3128")]


def test_without_a_public_url_it_is_asked_for(tmp_path: Path) -> None:
    greeted = lines(tmp_path)
    assert any("pypi_cache_public_url" in line for line in greeted)
    assert greeted[-4:] == [f"  {line}" for line in agent_lines("http://192.0.2.9:8080")]


class Probe:
    """A datagram socket, of which `connect` chooses an interface."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self, address: tuple[str, int]) -> None:
        pass

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.77", 12345)


class NoNetwork(Probe):
    """The same on a machine without any network."""

    def connect(self, address: tuple[str, int]) -> None:
        raise OSError("Network is unreachable")


@pytest.mark.parametrize(
    ("listens", "probe", "expected"),
    [
        ([("192.0.2.9", 8080)], NoNetwork, "http://192.0.2.9:8080"),
        ([("2001:db8::1", 8080)], NoNetwork, "http://[2001:db8::1]:8080"),
        ([("0.0.0.0", 8080)], Probe, "http://192.0.2.77:8080"),
        ([("::", 8081)], Probe, "http://192.0.2.77:8081"),
        ([("::", 8081)], NoNetwork, "http://127.0.0.1:8081"),
        ([], NoNetwork, "http://127.0.0.1:8080"),
    ],
)
def test_reachable_url(
    monkeypatch: pytest.MonkeyPatch, listens: list[tuple[str, int]], probe: type[Probe], expected: str
) -> None:
    monkeypatch.setattr(socket, "socket", probe)
    assert reachable_url(listens) == expected


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://proxy.example:8080", "proxy.example"),
        ("http://proxy.example", "proxy.example"),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]"),
        ("http://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_the_start_page(base: str, host: str) -> None:
    text = start_page(base)
    assert f"pip install -i {base}/pypi/simple --trusted-host {host} …" in text
    for line in agent_lines(base):
        assert f"\n  {line}\n" in text
