"""What an operator may ask for, and which requests may be another site's."""

import pytest

from pkgcache.rules.policy.changes import (
    Change,
    Check,
    Offline,
    Purge,
    Reload,
    parse_change,
    why_foreign,
    why_foreign_name,
)
from pkgcache.rules.routing.urls import parse_url


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"action": "check"}', Check()),
        (b'{"action": "reload"}', Reload()),
        (b'{"action": "offline", "on": true}', Offline(on=True)),
        (b' {"on": false, "action": "offline"}\n', Offline(on=False)),
        (b'{"action": "purge", "project": "Zope.Interface"}', Purge("zope-interface")),  # type: ignore[arg-type]
        (b'{"action": "purge", "project": "a__b"}', Purge("a-b")),  # type: ignore[arg-type]
    ],
)
def test_a_change(body: bytes, expected: Change) -> None:
    assert parse_change(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"5", b'"purge"', b"{", b"\xff\xfe", b"{}", b"[" * 4096, b'{"a":' * 800,
        b'{"action": "purge"}', b'{"action": "purge", "project": "*"}', b'{"action": "purge", "project": ""}',
        b'{"action": "purge", "project": "six "}', b'{"action": "purge", "project": "six*"}', b'{"action": "purge", "project": "-six"}',
        b'{"action": "purge", "project": "../etc"}', b'{"action": "purge", "project": "six\\u0000"}',
        b'{"action": "purge", "project": "six\\n"}',
        b'{"action": "purge", "project": ["six"]}', b'{"action": "purge", "project": {"a": 1}}', b'{"action": "purge", "project": null}',
        b'{"action": "purge", "project": "' + b"x" * 201 + b'"}', b'{"action": "purge", "project": "six", "all": true}',
        b'{"action": "purge", "project": "\\u017fix"}',  # a long s, whose upper case is S
        b'{"action": "offline"}', b'{"action": "offline", "on": "true"}', b'{"action": "offline", "on": 1}',
        b'{"action": "offline", "on": null}',
        b'{"action": "reload", "path": "/etc/passwd"}', b'{"action": "check", "token": "x"}', b'{"action": "set", "name": "dir"}',
        b'{"action": 1}', b'{"ACTION": "check"}', b'{"action": "Check"}', b"action=check",
    ],
)  # fmt: skip
def test_no_change(body: bytes) -> None:
    """Nothing is guessed: no pattern, no other type, nothing beside what belongs there."""
    with pytest.raises(ValueError, match=r"expected|JSON object|one project"):
        parse_change(body)


HERE = "10.0.0.5:8080"


@pytest.mark.parametrize(
    ("host", "origin", "site", "public", "foreign"),
    [
        (HERE, None, None, "", False),  # curl
        (HERE, "http://10.0.0.5:8080", "same-origin", "", False),
        (HERE, "http://10.0.0.5:8080", None, "", False),  # a browser without Fetch Metadata, as over plain http
        (HERE, "https://10.0.0.5:8080", None, "", False),  # TLS ends before the proxy
        (HERE, None, "none", "", False),
        (HERE, "HTTP://10.0.0.5:8080", None, "", False),
        ("[::1]:8080", "http://[::1]:8080", None, "", False),
        ("localhost:8080", "http://localhost:8080", None, "", False),
        ("LOCALHOST", "http://localhost", None, "", False),
        ("10.0.0.5", "http://10.0.0.5", None, "", False),
        ("proxy.test:8080", "http://proxy.test:8080", None, "http://proxy.test:8080", False),
        ("Proxy.test:8080", None, None, "http://proxy.test:8080", False),
        ("tools.test", "https://tools.test", None, "https://tools.test/pypi-cache", False),
        ("10.0.0.5:3128", "https://tools.test", None, "https://tools.test/pypi-cache", False),  # Host is rewritten on the way
        # Another site's page
        (HERE, "http://evil.test", None, "", True),
        (HERE, "http://evil.test", "cross-site", "", True),
        (HERE, "http://10.0.0.5:8081", None, "", True),  # another port is another origin (RFC 6454 §4)
        (HERE, "http://10.0.0.5", None, "", True),
        (HERE, "null", None, "", True),  # a sandboxed frame, a file
        (HERE, "", None, "", True),
        (HERE, "http://10.0.0.5:8080.evil.test", None, "", True),
        (HERE, "http://10.0.0.5:8080/", None, "", True),
        (HERE, "ftp://10.0.0.5:8080", None, "", True),
        (HERE, "http://10.0.0.5:8080, http://evil.test", None, "", True),
        (HERE, None, "cross-site", "", True),
        (HERE, None, "same-site", "", True),  # a neighbour of the same domain
        (HERE, "http://10.0.0.5:8080", "SAME-ORIGIN", "", True),
        (HERE, None, "", "", True),
        # A name that somebody points at this address
        ("evil.test:8080", "http://evil.test:8080", "same-origin", "", True),
        ("evil.test", None, None, "", True),
        ("evil.test", "http://evil.test", "same-origin", "http://proxy.test", True),
        ("proxy.test", "http://proxy.test", None, "http://proxy.test:8080", True),
        ("localhost.evil.test", None, None, "", True),
        ("10.0.0.5.evil.test", None, None, "", True),
        ("", None, None, "", True),
        ("10.0.0.5:8080:90", None, None, "", True),
        ("10.0.0.5:http", None, None, "", True),
        ("0x7f000001", None, None, "", True),
        ("2130706433", None, None, "", True),
        ("a" * 5000, None, None, "", True),
    ],
)  # fmt: skip
def test_whether_it_may_be_another_sites(
    host: str, origin: str | None, site: str | None, public: str, foreign: bool
) -> None:
    found = why_foreign(host, origin, site, parse_url(public) if public else None)
    assert bool(found) is foreign


@pytest.mark.parametrize(
    ("host", "public", "foreign"),
    [
        ("10.0.0.5:8080", "", False),
        ("10.0.0.5", "", False),
        ("[2001:db8::1]:8080", "", False),
        ("localhost:8080", "", False),
        ("Localhost.", "", False),
        ("build7:8080", "", False),
        ("BUILD7.corp.test.", "", False),
        ("proxy.test:8080", "http://proxy.test:8080", False),
        ("build7", "http://proxy.test:8080", False),
        ("Proxy.Test.:8080", "http://proxy.test:8080", False),  # the same name, written otherwise
        ("proxy.test:80", "http://proxy.test", False),
        ("proxy.test:443", "https://proxy.test/pypi-cache", False),
        ("proxy.test.", "https://proxy.test", False),
        ("proxy.test:", "https://proxy.test", False),
        ("proxy.test:443", "http://proxy.test", True),  # another port is another site's
        ("proxy.test:80", "https://proxy.test", True),
        ("proxy.test.:8081", "http://proxy.test:8080", True),
        ("proxy.test..", "http://proxy.test", True),
        ("proxy.test.evil.test:8080", "http://proxy.test:8080", True),
        # A name that anybody may have, and point here
        ("evil.test", "", True),
        ("evil.test:8080", "", True),
        ("proxy.test:8080", "", True),
        ("proxy.test", "http://proxy.test:8080", True),
        ("build7.evil.test", "", True),
        ("xbuild7", "", True),
        ("localhost.evil.test", "", True),
        ("10.0.0.5.evil.test", "", True),
        ("127.1", "", True),
        ("2130706433", "", True),
        ("0x7f.0.0.1", "", True),
        ("10.0.0.5@evil.test", "", True),
        ("evil.test, 10.0.0.5", "", True),
        ("", "", True),
        (" ", "", True),
    ],
)
def test_whether_a_name_may_be_another_sites(host: str, public: str, foreign: bool) -> None:
    """DNS rebinding: a page may read what its own name leads to. With `why_foreign` there is one rule for reading and for changes."""
    machine = {"build7", "build7.corp.test"}
    assert bool(why_foreign_name(host, parse_url(public) if public else None, machine)) is foreign
    assert bool(why_foreign(host, None, None, parse_url(public) if public else None, machine)) is foreign
