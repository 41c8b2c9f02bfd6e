"""How long a path and lists in headers may be: just below and just above."""

import pytest

from pkgcache.rules.http.request_limits import MAX_FIELD, MAX_PATH, too_long


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/", [], None),
        ("/" * MAX_PATH, [], None),
        ("/" * (MAX_PATH + 1), [], 414),
        ("/", [("Accept", "a" * MAX_FIELD)], None),
        ("/", [("Accept", "a" * (MAX_FIELD + 1))], 431),
        ("/", [("Accept", "a" * (MAX_FIELD + 1)), ("X", "b" * MAX_FIELD)], 431),
        ("/", [("X", "a" * (MAX_FIELD - 2)), ("Y", "b" * (MAX_FIELD - 2)), ("Z", "b" * (MAX_FIELD - 2))], None),
        ("/", [("Accept", "a" * (MAX_FIELD // 2)), ("ACCEPT", "a" * (MAX_FIELD // 2 + 1))], 431),
        ("/", [("Accept", "abc")] * (MAX_FIELD // 3 + 1), 431),
        ("/", [("Cookie", "a" * 60_000)], None),
        ("/", [("authorization", "a" * 60_000), ("PROXY-AUTHORIZATION", "a" * 60_000)], None),
        ("/", [("Cookie", "a" * 60_000), ("If-None-Match", "a" * (MAX_FIELD + 1))], 431),
    ],
)
def test_a_request(path: str, fields: list[tuple[str, str]], status: int | None) -> None:
    found = too_long(path, fields)
    assert (found and found.status) == status
