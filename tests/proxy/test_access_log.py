"""The access log: one JSON object for each exchange that is over."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.runtime.health import Health
from pkgcache.engine.runtime.request_figures import CLIENT_LEFT
from pkgcache.proxy.access_log import AccessLog, open_access_log
from pkgcache.proxy.exchange import Exchange
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import parse_url
from tests.proxy.connections import make_client, make_request

AGENT = 'pip/26.0 {"ci":true}'


def make_exchange(*, at_proxy: bool = False) -> Exchange:
    request = Request(
        method="GET",
        url=parse_url("https://index.test/simple/six/?x=1"),
        headers=CIMultiDictProxy(CIMultiDict({"User-Agent": AGENT})),
        at_proxy_address=at_proxy,
        client="192.0.2.1",
    )
    exchange = Exchange(
        request=request, route=None, source=make_request(), client=make_client(), finished=lambda _: None, started=1.5
    )
    exchange.response = Response.text(200, "ok")
    exchange.sent = 3
    return exchange


def written(path: Path, *exchanges: Exchange) -> list[dict[str, object]]:
    log = AccessLog(str(path), Health())
    for exchange in exchanges:
        log.write(exchange)
    log.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line(tmp_path: Path) -> None:
    (entry,) = written(tmp_path / "log", make_exchange())
    assert entry.pop("seconds", 0) != 0
    assert entry == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "client": "192.0.2.1",
        "method": "GET",
        "url": "https://index.test/simple/six/?x=***",
        "status": 200,
        "bytes": 3,
        "cache": "pypi-cache",
        "upstream": "",
        "agent": "pip/26.0",
    }


@pytest.mark.parametrize(
    ("cache", "shown"),
    [
        (CacheStatus(hit=True, ttl=9), ""),
        (CacheStatus(hit=True, ttl=-9, detail="stale-if-error"), ""),
        (CacheStatus(fwd="stale", fwd_status=304), "mirror.test"),
        (CacheStatus(fwd="miss", fwd_status=200, stored=True), "mirror.test"),
        (CacheStatus(fwd="miss", fwd_status=200, collapsed=True), "mirror.test"),
    ],
    ids=str,
)
def test_no_upstream_is_named_on_a_hit(cache: CacheStatus, shown: str, tmp_path: Path) -> None:
    """A hit on a page that was revalidated earlier named the upstream of that."""
    exchange = make_exchange()
    assert exchange.response is not None
    exchange.response.cache, exchange.response.upstream = cache, "mirror.test"
    (entry,) = written(tmp_path / "log", exchange)
    assert entry["upstream"] == shown


@pytest.mark.parametrize(
    ("status", "text", "upstream", "reason"),
    [
        (200, "ok", "", None),
        (404, "b\n  c", "https://m.test", None),  # an upstream's own answer
        (403, "six is refused by pypi_cache_deny=six", "", "six is refused by pypi_cache_deny=six"),
        (502, "six cannot be had:\n  m.test: 500", "", "six cannot be had:; m.test: 500"),
        (504, "https://me:secret@m.test/x?y=z", "", "https://***@m.test/x?y=***"),
    ],
)
def test_what_the_client_was_told(status: int, text: str, upstream: str, reason: str | None, tmp_path: Path) -> None:
    exchange = make_exchange()
    exchange.response = Response.text(status, text)
    exchange.response.upstream = upstream
    (entry,) = written(tmp_path / "log", exchange)
    assert entry.get("reason") == reason


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ('a"b\\c', 'a"b\\c'),
        ("caf\u00e9/1", "caf\u00e9/1"),
        ("\ud800", "\ud800"),
        ("a\x1b[1m\x00", "a\x1b[1m\x00"),
        ("pip\n{}", "pip\n{}"),
        ("a?token=1", "a?token=***"),
        ("x" * 2000, "x" * 2000),
    ],
)
def test_whatever_an_agent_calls_itself_is_one_json_string(agent: str, shown: str, tmp_path: Path) -> None:
    """Each twice: the second time it is known."""
    exchange = make_exchange()
    exchange.request = replace(exchange.request, headers=CIMultiDictProxy(CIMultiDict({"User-Agent": agent})))
    exchange.user = exchange.cut = agent.partition("?")[0]
    entries = written(tmp_path / "log", exchange, exchange)
    assert [entry["agent"] for entry in entries] == [shown, shown]
    assert {entry["user"] for entry in entries} == {entry["cut"] for entry in entries} == {exchange.user}


def test_the_proxys_own_paths_have_no_host(tmp_path: Path) -> None:
    """The host would be the agent's spelling of the proxy."""
    (entry,) = written(tmp_path / "log", make_exchange(at_proxy=True))
    assert entry["url"] == "/simple/six/?x=***"


def test_a_client_that_left_before_its_answer(tmp_path: Path) -> None:
    exchange = make_exchange()
    exchange.response = None
    exchange.leave()
    (entry,) = written(tmp_path / "log", exchange)
    assert (entry["status"], entry["cut"], entry["cache"]) == (CLIENT_LEFT, "the client left", "")


def test_lines_are_added(tmp_path: Path) -> None:
    """A restart, or logrotate's copytruncate, loses nothing."""
    written(tmp_path / "log", make_exchange())
    assert len(written(tmp_path / "log", make_exchange(), make_exchange())) == 3


def test_a_line_is_there_at_once(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), Health())
    log.write(make_exchange())
    assert (tmp_path / "log").read_text().endswith("}\n")
    log.close()


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-", Health())
    log.write(make_exchange())
    log.close()
    log.write(make_exchange())  # standard output is not the log's to close
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("", Health())
    log.write(make_exchange())
    log.close()
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        AccessLog(str(tmp_path / "no" / "such" / "folder"), Health())


def test_who_has_logged_in(tmp_path: Path) -> None:
    """The user of `proxyauth`; without a login there is no such field."""
    exchange = make_exchange()
    exchange.user = "ann\n"
    assert [entry.get("user") for entry in written(tmp_path / "log", exchange, make_exchange())] == ["ann\n", None]


@pytest.mark.parametrize(
    ("path", "at_proxy", "status", "lines"),
    [
        ("/healthz", True, 200, 0),
        ("/readyz", True, 200, 0),
        ("/metrics", True, 200, 0),
        ("/readyz", True, 503, 1),  # that is news
        ("/metrics", True, 401, 1),
        ("/stats", True, 200, 1),
        ("/env.sh", True, 200, 1),
        ("/healthz", False, 200, 1),  # another host's
    ],
)
def test_polls_that_find_all_well_are_left_out(
    path: str, at_proxy: bool, status: int, lines: int, tmp_path: Path
) -> None:
    exchange = make_exchange(at_proxy=at_proxy)
    exchange.request = replace(exchange.request, url=replace(exchange.request.url, path=path))
    exchange.response = Response.text(status, "x")
    assert len(written(tmp_path / "log", exchange)) == lines


async def test_what_ends_together_is_one_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a moment go out in one write, in order; later ones in the next."""
    appended: list[bytes] = []
    monkeypatch.setattr("pkgcache.proxy.log_file.LogFile.append", lambda _, lines: appended.append(lines))
    log = AccessLog(str(tmp_path / "log"), Health())
    for number, moment in enumerate(((1, 2, 3), (4,)), 1):
        for sent in moment:
            exchange = make_exchange()
            exchange.sent = sent
            log.write(exchange)
        while len(appended) < number:
            await asyncio.sleep(0.001)
    assert [[json.loads(line)["bytes"] for line in lines.splitlines()] for lines in appended] == [[1, 2, 3], [4]]


async def test_nothing_is_lost_at_the_end(tmp_path: Path) -> None:
    """What still waits is written when the log is closed."""
    assert len(written(tmp_path / "log", make_exchange(), make_exchange())) == 2


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request fails for it. /healthz says so until a line can be written again."""
    health = Health()
    log = AccessLog("/dev/full", health)
    log.write(make_exchange())
    assert "No space left on device" in health.problems["access log"]
    monkeypatch.setattr("pkgcache.proxy.log_file.LogFile.append", lambda *_: None)
    log.write(make_exchange())
    assert health.problems == {}


@pytest.mark.parametrize(("has_screen", "lines"), [(True, 0), (False, 1)])
def test_the_consoles_screen(has_screen: bool, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines were written over the flows that it shows."""
    open_access_log("-", Health(), has_screen=has_screen).write(make_exchange())
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_a_file_beside_the_consoles_screen(tmp_path: Path) -> None:
    open_access_log(str(tmp_path / "log"), Health(), has_screen=True).write(make_exchange())
    assert (tmp_path / "log").read_text().endswith("}\n")
