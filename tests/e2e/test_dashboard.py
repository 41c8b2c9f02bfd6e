"""The dashboard over HTTP: who gets which page, what guards it, and its figures beside those of /stats and /metrics."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, open_house
from tests.support.names import INDEX_URL, file_url, page_url
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire

BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PARTS: Final = ("/", "/dashboard.css", "/dashboard.js", "/dashboard.json", "/entries.json")


@pytest.fixture(scope="module")
def house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The operator refuses some names, and keeps others for one index."""
    options = {"pypi_cache_deny": ["evil*"], "pypi_cache_private": ["acme-*=pypi"]}
    with open_house(ca, tmp_path_factory.mktemp("house"), options=options) as opened:
        opened.upstream.add(make_wheel("six"), make_wheel("acme-secret"))
        yield opened


def seen(house: House, path: str = "/dashboard.json", **headers: str) -> Fetched:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return house.fetch(path, headers={"Accept": BROWSER, **named})


def dashboard(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(seen(house).body)
    return found


def shown(house: House, part: str, what: str) -> dict[str, Any]:
    """The row of a table that is about something, once it is there."""
    rows = eventually(
        lambda: [row for row in dashboard(house)[part] if what in (row.get("what") or row.get("name"))], bool
    )
    return dict(rows[0])


@pytest.mark.parametrize("path", PARTS)
def test_what_guards_it(house: House, path: str) -> None:
    """Nothing from elsewhere, no frame around it, nothing guessed, nothing kept."""
    answer = seen(house, path)
    assert answer.status == 200
    assert "default-src 'none'" in (answer.headers["Content-Security-Policy"] or "")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert (
        house.fetch(path, method="HEAD", headers={"Accept": BROWSER}).headers["Content-Type"]
        == (answer.headers["Content-Type"])
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [(BROWSER, "text/html"), ("*/*", "text/plain"), (None, "text/plain"), ("text/html;q=0, */*", "text/plain")],
)
def test_the_root_is_for_browsers_and_for_curl(house: House, accept: str | None, content_type: str) -> None:
    """`curl http://proxy:8080/` shows what to paste, as ever; both name each other."""
    answer = house.fetch("/", headers={"Accept": accept} if accept else {})
    assert (answer.headers["Content-Type"] or "").startswith(content_type)
    assert answer.headers["Vary"] == "Accept"
    text = answer.body.decode()
    assert f"{house.proxy.url}/env.sh" in text
    assert ('href="start.txt"' in text) == (content_type == "text/html")


@pytest.mark.parametrize("host", ['"><script>x</script>', "evil.test/<b>", "a b", "x'onload=1", "[::1]<i>"])
def test_a_host_that_is_markup(house: House, host: str) -> None:
    """It would be written into the line to paste."""
    answer = seen(house, "/", Host=host)
    assert answer.status == 400
    assert host.encode() not in answer.body


@pytest.mark.parametrize("path", ["/dashboard.json", "/entries.json", "/entries.json?q=six"])
@pytest.mark.parametrize(
    ("host", "foreign"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3:8080", False),
        ("[::1]:8080", False),
        ("LOCALHOST:8080", False),
        (socket.gethostname(), False),
        ("evil.test", True),
        ("evil.test:8080", True),
        (f"{socket.gethostname()}.evil.test", True),
    ],
)
def test_what_a_name_that_leads_here_may_read(house: House, path: str, host: str, foreign: bool) -> None:
    """DNS rebinding: a page in an agent's browser read the names of packages."""
    answer = seen(house, path, Host=host)
    assert answer.status == (403 if foreign else 200)


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/stats", "/env.sh", "/ca.pem", "/pypi/simple/six/", "/start.txt"]
)
def test_what_agents_need_is_there_under_any_name(house: House, path: str) -> None:
    """As in their index-url: no list of names has to be kept for them."""
    assert seen(house, path, Host="any-name.test:8080").status == 200


def test_figures_are_those_of_stats_and_metrics(house: House) -> None:
    release = make_wheel("counted", payload_size=90_000)
    house.upstream.add(release)
    for _ in range(3):
        house.fetch(file_url(release))
        house.proxy.at_rest()

    def same() -> bool:
        """Between two looks at the figures other requests may end: these very ones, for three."""
        shown_, stats = dashboard(house)["stats"], json.loads(house.fetch("/stats").body)
        for each in (shown_, stats):
            each.pop("uptime_seconds")
            each["requests"].pop("total")
            each["requests"]["by_status"].pop("200")
            each["requests"]["by_source"].pop("proxy")
            each["bytes"].pop("sent")
            each["bytes"]["sent_by_source"].pop("proxy")
            each["store"].pop("disk_free_bytes")
        return bool(shown_ == stats)

    eventually(same)
    stats, metrics = dashboard(house)["stats"], house.fetch("/metrics").body.decode()

    def metric(name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE))

    for source in ("store", "shared", "upstream"):
        requests = metric(rf'pypi_cache_requests_total\{{source="{source}",status="\d+"\}}')
        assert stats["requests"]["by_source"][source] == requests
        assert stats["bytes"]["sent_by_source"][source] == metric(
            rf'pypi_cache_response_bytes_total\{{source="{source}"\}}'
        )
    assert stats["saved"]["bytes"] == sum(stats["bytes"]["sent_by_source"][source] for source in ("store", "shared"))
    assert stats["store"]["bytes"] == metric("pypi_cache_store_bytes")
    assert stats["store"]["max_bytes"] == metric("pypi_cache_store_max_bytes")
    assert stats["store"]["disk_bytes"] == metric("pypi_cache_disk_bytes") > 0
    assert stats["evictions"] == {
        "entries": metric("pypi_cache_evictions_total"),
        "bytes": metric("pypi_cache_evicted_bytes_total"),
    }


def test_requests_projects_and_refusals(house: House) -> None:
    house.fetch(page_url("six"), headers={"User-Agent": "spy/1.0"})
    row = shown(house, "recent", "six (page)")
    assert (row["status"], set(row)) == (200, {"time", "what", "status", "cache", "source", "bytes", "seconds"})
    assert shown(house, "projects", "six")["requests"] >= 1
    assert house.fetch(page_url("evilware")).status == 403
    assert "pypi_cache_deny=evil*" in shown(house, "refused", "evilware")["why"]
    assert [(row["index"], row["state"]) for row in dashboard(house)["upstreams"]] == [("pypi", "ok")]
    text = seen(house).body.decode()
    assert "127.0.0.1" not in text.replace(house.upstream.origin, "")
    assert "spy/1.0" not in text


def test_a_download_under_way(house: House) -> None:
    """Its bytes so far and its length, until it is over."""
    release = make_wheel("slow", payload_size=3_000_000)
    house.upstream.add(release)
    house.upstream.script(Behaviour(r"slow-.*\.whl$", pace=1_500_000))
    url = file_url(release)
    with Wire(house.proxy.port, url, ca=house.proxy.ca) as wire:
        wire.request(url, read_limit=1000)
        row = shown(house, "downloads", "slow")
        assert row["total"] == release.size
        assert row["name"] == release.filename
    house.upstream.unscript()
    eventually(lambda: dashboard(house)["downloads"], lambda rows: not rows)


def test_an_upstream_that_fails(house: House) -> None:
    """Also once the circuit breaker lets requests through again."""
    house.upstream.down()
    house.fetch(page_url("unreachable"))
    (row,) = eventually(lambda: dashboard(house)["upstreams"], lambda rows: rows[0]["state"] != "ok")
    assert row["state"] in {"failing", "dead"}
    assert "cannot be reached" in row["why"]
    house.upstream.up()
    house.fetch(page_url("six-again"))
    eventually(lambda: dashboard(house)["upstreams"][0], lambda row: (row["state"], row["why"]) == ("ok", ""))


def test_private_names_stay_out(house: House) -> None:
    """One that the operator keeps for an index, one that came with a client's credentials; no login anywhere."""
    login = {"Authorization": "Basic bWU6c2VzYW1l"}
    house.fetch(page_url("acme-secret"))
    veiled = make_wheel("veiled")
    house.upstream.add(veiled)
    house.fetch(page_url("veiled"), headers=login)
    house.fetch(f"{INDEX_URL}six/?token=sesame")
    house.fetch(f"{INDEX_URL}me:sesame@six/")
    shown(house, "recent", "(private)")
    everything = " ".join(seen(house, path).body.decode() for path in PARTS)
    for secret in ("acme-secret", "veiled", "sesame", "bWU6"):
        assert secret not in everything
    assert "(private)" in everything


@pytest.mark.parametrize(
    "name",
    ["%3Cimg%20src=x%20onerror=alert(1)%3E", "%3C/script%3E%3Cscript%3Ealert(1)%3C/script%3E", "a%1b%5b31m", "a%0d%0aSet-Cookie:x=1",
     "%e2%80%ae%e2%80%aeexe.six", "x" * 3000],
)  # fmt: skip
def test_hostile_names(house: House, name: str) -> None:
    """JSON that is never taken for a page, without control characters; and the page itself holds no text of a client."""
    house.fetch(f"{INDEX_URL}{name}/", headers={"User-Agent": "<script>alert(1)</script>"})
    house.fetch(f"/pypi/packages/aa/bb/{'c' * 60}/{name}.whl")
    answer = seen(house)
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.body) < 100_000
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", answer.body)
    assert b"alert(1)" not in seen(house, "/").body


def test_polls_are_not_in_the_access_log(house: House) -> None:
    """An open dashboard asks every two seconds."""
    house.fetch(page_url("six"))
    before = len(house.proxy.access_log())
    for _ in range(3):
        seen(house)
    seen(house, "/start.txt")
    lines = house.proxy.access_log(at_least=before + 1)
    assert not [line for line in lines[before:] if line["url"].startswith("/dashboard.json")]
