"""Rows that somebody else has written to: each is a miss that is fetched again, or is served as it should be; never a 500.

One store with a project for each of `poisons`; the proxy is stopped, all rows are changed, and it is started again.
"""

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from pkgcache.engine.store.keys import parse_key
from tests.support.factories import MakeProxy
from tests.support.house import ACCEPTS
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, fetch

TIMES: Final = (math.nan, math.inf, -math.inf, 1e308, -1.0, 253402300799, 10**18, 10**300, "now", True, None, [])
PAIRS: Final = [["Set-Cookie", "a=b"], ["Transfer-Encoding", "chunked"], ["Connection", "X-A"], ["X-A", "b"]]
HEADERS: Final = (
    *(
        PAIRS,
        [["Cache-Control", "max-age=9\r\nSet-Cookie: a=b"]],
        [["Cache-Control\r\nSet-Cookie", "b"]],
        [["a", 1]],
        {},
    ),
    *([["X", "y"]] * 5000, [["Link", "x" * 100_000]], None, 7),
)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def changed(tag: str, **more: Any) -> str:
    return json.dumps(json.loads(tag) | more)


def poisons() -> dict[str, Callable[[str], object]]:
    """What becomes of a row's notes."""
    found: dict[str, Callable[[str], object]] = {}
    for name in ("request_time", "response_time"):
        for time in TIMES:
            found[f"{name} {time!r:.12}"] = lambda tag, name=name, time=time: changed(tag, **{name: time})
    for number, headers in enumerate(HEADERS):
        both = {"headers": headers, "upstream_headers": headers}
        found[f"headers {number}"] = lambda tag, both=both: changed(tag, **both)
    for size in (-1, 10**30, "1", None, True, 1.5):
        found[f"size {size}"] = lambda tag, size=size: changed(tag, size=size)
    for status in (0, 404.0, 500, "200", None, True):
        found[f"status {status!r}"] = lambda tag, status=status: changed(tag, status=status)
    for digest in ("", "sha256:" + "0" * 64, "md5:00", 7, None, '"\r\nSet-Cookie: a=b'):
        found[f"digest {digest!r:.10}"] = lambda tag, digest=digest: changed(tag, digest=digest, of=digest, etag=digest)
    found |= {
        "nothing": lambda _: "",
        "no JSON": lambda _: "{",
        "a list": lambda _: "[]",
        "null": lambda _: None,
        "bytes": lambda tag: tag.encode(),
        "a number": lambda _: 7,
        "nested": lambda _: nested(100_000),
        "nested within": lambda tag: tag.replace("{", f'{{"response_time": {nested(5000)}, "x": ', 1),
        "nested as a last field": lambda tag: tag[:-1] + f', "response_time": {nested(900)}}}',
    }
    return found


def asked(proxy: Proxy, url: str) -> Fetched:
    return fetch(proxy.port, url, ca=proxy.ca, headers={"Accept": ACCEPTS["json"]})


def poison(proxy: Proxy, by_project: dict[str, Callable[[str], object]]) -> int:
    """Change the notes of all rows of these projects: how many they are."""
    count = 0
    with contextlib.closing(sqlite3.connect(proxy.store / "entries" / "cache.db")) as database, database:
        for rowid, key, tag in database.execute("SELECT rowid, key, tag FROM Cache").fetchall():
            if change := by_project.get(parse_key(key).project):
                database.execute("UPDATE Cache SET tag = ? WHERE rowid = ?", (change(tag), rowid))
                count += 1
    return count


def test_poisoned_rows(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream)
    changes = dict(enumerate(poisons().items()))
    releases = {number: make_wheel(f"p{number}", payload_size=40_000 * (number % 2), seed=number) for number in changes}
    upstream.add(*releases.values())
    pages = {number: asked(proxy, page_url(f"p{number}")).body for number in changes}
    for release in releases.values():
        assert asked(proxy, file_url(release)).sha256 == release.sha256
    proxy.stop()
    assert poison(proxy, {f"p{number}": change for number, (_, change) in changes.items()}) >= 3 * len(changes)
    proxy.start()
    wrong = []
    for number, (name, _) in changes.items():
        for what, url in (("page", page_url(f"p{number}")), ("file", file_url(releases[number]))):
            answer = asked(proxy, url)
            right = pages[number] if what == "page" else releases[number].content
            odd = {"set-cookie", "transfer-encoding", "x-a", "x"} & {each.lower() for each in answer.headers}
            if (answer.status, answer.complete, answer.body == right, odd) != (200, True, True, set()):
                wrong.append(f"{name}: {what}: {answer.status}, {odd}, {answer.body[:80]!r}")
    assert not wrong, "\n".join(wrong)
    assert not proxy.complaints, proxy.output
    assert json.loads(proxy.get("/healthz").body)["status"] == "ok"
