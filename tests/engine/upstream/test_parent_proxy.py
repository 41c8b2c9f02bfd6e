"""The parent proxy: where its URL comes from, what it holds, and which hosts bypass it."""

import base64

import pytest

from pkgcache.engine.upstream.parent_proxy import ParentProxy, parent_of_environment

NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "scheme", "address"),
    [
        ("http://proxy.test:3128", "http", ("proxy.test", 3128)),
        ("https://proxy.test:3129/", "https", ("proxy.test", 3129)),
        ("proxy.test:3128", "http", ("proxy.test", 3128)),
        ("http://proxy.test", "http", ("proxy.test", 80)),
        ("https://proxy.test", "https", ("proxy.test", 443)),
        ("http://[2001:db8::1]:3128", "http", ("2001:db8::1", 3128)),
        ("http://user:secret@Proxy.test:3128", "http", ("proxy.test", 3128)),
    ],
)
def test_a_url(url: str, scheme: str, address: tuple[str, int]) -> None:
    parent = ParentProxy.parse(url)
    assert (parent.scheme, parent.address) == (scheme, address)


@pytest.mark.parametrize(
    "url", ["socks5://proxy.test:1080", "http://", "http://u:secret@proxy.test:x", "ftp://proxy.test"]
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        ParentProxy.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("http://proxy.test:3128", ""),
        ("http://user:secret@proxy.test:3128", "user:secret"),
        ("user:secret@proxy.test:3128", "user:secret"),
        ("http://user:p%40ss%2Fword@proxy.test:3128", "user:p@ss/word"),
        ("http://user@proxy.test:3128", "user:"),
    ],
)
def test_credentials(url: str, credentials: str) -> None:
    value = ParentProxy.parse(url).authorization
    assert value == ("Basic " + base64.b64encode(credentials.encode()).decode() if credentials else "")


def test_no_credentials_are_shown() -> None:
    parent = ParentProxy.parse("http://user:secret@proxy.test:3128")
    shown = f"{parent} {parent!r}"
    assert "secret" not in shown
    assert base64.b64encode(b"user:secret").decode() not in shown
    assert "proxy.test:3128" in str(parent)


@pytest.mark.parametrize(
    ("no_proxy", "host", "expected"),
    [
        ("", "index.test", True),
        ("index.test", "index.test", False),
        ("index.test", "INDEX.test", False),
        ("test", "index.test", False),  # a suffix, as for curl
        (".test", "index.test", False),
        ("dex.test", "index.test", True),
        ("a.test, index.test", "index.test", False),
        ("*", "index.test", False),
        ("index.test:8443", "index.test:8443", False),
        ("index.test:8443", "index.test", True),
        ("index.test", "index.test:8443", False),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, *, expected: bool) -> None:
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert ParentProxy.parse("http://proxy.test:3128").applies_to(host) is expected


def test_the_lower_case_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "upper.test")
    monkeypatch.setenv("no_proxy", "lower.test")
    parent = ParentProxy.parse("http://proxy.test:3128")
    assert (parent.applies_to("upper.test"), parent.applies_to("lower.test")) == (True, False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://plain.test:1"}, None),
        ({"HTTPS_PROXY": "http://one.test:1"}, ("one.test", 1)),
        ({"https_proxy": "http://two.test:2"}, ("two.test", 2)),
        ({"ALL_PROXY": "http://all.test:3"}, ("all.test", 3)),
        ({"HTTPS_PROXY": "http://one.test:1", "ALL_PROXY": "http://all.test:3"}, ("one.test", 1)),
        ({"HTTPS_PROXY": "one.test:1"}, ("one.test", 1)),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[str, int] | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    parent, ignored = parent_of_environment(())
    assert (parent.address if parent else None) == expected
    assert ignored == ""


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://user:secret@127.0.0.1:8080", "is this proxy itself"),
        ("socks5://user:secret@proxy.test:1080", "only http:// and https://"),
        ("http://user:secret@proxy.test:port", "not the URL of a proxy"),
        ("user:secret@:8080", "not the URL of a proxy"),
    ],
)
def test_what_is_ignored(monkeypatch: pytest.MonkeyPatch, url: str, reason: str) -> None:
    """The proxy starts without a parent, and says why, without the password."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    parent, ignored = parent_of_environment({("127.0.0.1", 8080)})
    assert parent is None
    assert reason in ignored
    assert "secret" not in ignored
