"""Several machines and one shared tier, here a folder: what one has fetched no other asks an upstream for.

A tier that lies, or is gone, fails nobody's install.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.house import versions_on
from tests.support.index import JSON_TYPE
from tests.support.names import page_url
from tests.support.proxy import Proxy
from tests.support.shared_tier import Farm, counted, get, open_farm, trouble
from tests.support.upstream import PAGE_CACHE_CONTROL
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, fetch

pytest.importorskip(
    "obstore", reason="LOUD: the extra pypi-cache[shared] is not installed, so the shared tier is NOT tested"
)

STORED = 'shared_writes_total{result="stored"}'
LARGE = 17 << 20
"""Much more than is held back of what an upstream sends."""


@pytest.fixture(scope="module")
def farm(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """An upstream and a tier; two machines."""
    with open_farm(ca, tmp_path_factory.mktemp("farm")) as farm:
        yield farm


@pytest.fixture(scope="module")
def one(farm: Farm) -> Proxy:
    """The machine that fetches first."""
    return farm.proxy({"pypi_cache_shared_follow": "1h"})


@pytest.fixture(scope="module")
def two(farm: Farm) -> Proxy:
    """The next one."""
    return farm.proxy({"pypi_cache_shared_follow": "1h"})


def page(proxy: Proxy, project: str, **headers: str) -> Fetched:
    """A project's page, as JSON."""
    return fetch(proxy.port, page_url(project), ca=proxy.ca, headers={"Accept": JSON_TYPE, **headers})


def published(farm: Farm, name: str, size: int = 100_000) -> ReleaseFile:
    """A wheel that the upstream has and nobody else."""
    release = make_wheel(name, payload_size=size)
    farm.upstream.add(release)
    return release


@pytest.mark.parametrize("size", [0, 100_000])
def test_the_next_machine_asks_no_upstream(farm: Farm, one: Proxy, two: Proxy, size: int) -> None:
    release = published(farm, f"shared{size}", size)
    assert page(one, f"shared{size}").status == 200
    assert get(one, release).sha256 == release.sha256
    assert farm.object_of(release).read_bytes() == release.content
    asked = farm.upstream.count()
    eventually(lambda: f"page/-/pypi/shared{size}/json" in farm.objects)
    assert "; hit; ttl=" in page(two, f"shared{size}").headers["Cache-Status"]
    answer = get(two, release)
    assert answer.sha256 == release.sha256
    assert "fwd=miss" in answer.headers["Cache-Status"]
    two.at_rest()
    again = get(two, release)
    assert (again.sha256, "; hit" in again.headers["Cache-Status"]) == (release.sha256, True)
    assert farm.upstream.count() == asked
    assert counted(two, STORED)() == 0, "all came from there"


def test_ranges_and_heads(farm: Farm, one: Proxy, two: Proxy) -> None:
    """A resolver reads the end of a wheel, and need not have all of it (RFC 9110 §14)."""
    release = published(farm, "ranged", 3_000_000)
    get(one, release)
    farm.object_of(release)
    asked, total = farm.upstream.count(), len(release.content)
    for header, expected in [("bytes=-100", release.content[-100:]), ("bytes=10-19", release.content[10:20])]:
        answer = get(two, release, Range=header)
        assert (answer.status, answer.body) == (206, expected)
        assert answer.headers["Content-Range"].endswith(f"/{total}")
    head = get(two, release, method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(total))
    assert farm.upstream.count() == asked
    several = get(two, release, Range="bytes=0-1,5-6")
    assert several.status in {200, 206}, "an upstream answers what the tier is not asked for"
    outside = get(two, published(farm, "unknown"), Range="bytes=99999999-")
    assert outside.status == 416
    assert trouble(two) == {}


@pytest.mark.parametrize(
    ("lie", "size"),
    [("other bytes", 100_000), ("cut", 100_000), ("empty", 100_000), ("longer", 100_000), ("other bytes", LARGE)],
)
def test_a_wrong_object(farm: Farm, one: Proxy, two: Proxy, lie: str, size: int) -> None:
    """No client has a byte of it; the upstream is asked; one line says so; and the object is written anew."""
    release = published(farm, f"lie-{lie.replace(' ', '-')}-{size}", size)
    get(one, release)
    path, right = farm.object_of(release), release.content
    wrong = {"other bytes": bytes(len(right)), "cut": right[:-1], "empty": b"", "longer": right + b"x"}[lie]
    path.unlink()
    path.write_bytes(wrong)
    answer = get(two, release)
    assert answer.sha256 == release.sha256
    eventually(lambda: farm.object_of(release).read_bytes() == right)
    two.at_rest()
    assert get(two, release).sha256 == release.sha256


def test_what_a_wrong_object_says(farm: Farm, one: Proxy) -> None:
    """One warning that names the object, and a red line while it is not written anew."""
    release = published(farm, "said")
    get(one, release)
    path = farm.object_of(release)
    path.unlink()
    path.write_bytes(bytes(len(release.content)))
    three = farm.proxy()
    assert get(three, release).sha256 == release.sha256
    assert three.output.count("wrong object") == 1
    assert release.filename in three.output
    assert counted(three, 'shared_reads_total{result="wrong"}')() == 1
    assert b"pypi_cache_upstream_failures_total{" not in three.get("/metrics").body, "no upstream has failed"
    three.close()


def test_dead_upstream_and_offline(farm: Farm, one: Proxy) -> None:
    """A new, empty machine. Offline, what neither tier has is not asked of anybody."""
    release, absent = published(farm, "outlives"), published(farm, "absent")
    newer = make_wheel("outlives", "2.0")
    farm.upstream.add(newer)
    page(one, "outlives")
    get(one, release)
    farm.object_of(release)
    eventually(lambda: "page/-/pypi/outlives/json" in farm.objects)
    three = farm.proxy({"pypi_cache_offline": "true"})
    asked = farm.upstream.count()
    assert versions_on(page(three, "outlives")) == {"1.0"}, "what can be had: the version of which a tier has the file"
    assert get(three, release).sha256 == release.sha256
    assert get(three, release, method="HEAD").status == 200
    for more in ({}, {"Range": "bytes=-10"}):
        answer = get(three, absent, **more)
        assert (answer.status, b"the proxy is offline" in answer.body) == (504, True)
    assert farm.upstream.count() == asked
    farm.upstream.down()
    try:
        four = farm.proxy()
        assert versions_on(page(four, "outlives")) == {"1.0", "2.0"}
        assert get(four, release).sha256 == release.sha256
        assert get(four, absent).status in {502, 503, 504}
    finally:
        farm.upstream.up()
    three.close()
    four.close()


def test_a_page_by_its_own_age(farm: Farm, one: Proxy) -> None:
    """RFC 9111 §4.2.3: half of its lifetime here is half of it there. A stale one is revalidated, as for no-cache."""
    published(farm, "aged")
    farm.upstream.page_cache_control = "max-age=7200"
    try:
        page(one, "aged")
    finally:
        farm.upstream.page_cache_control = PAGE_CACHE_CONTROL
    eventually(lambda: "page/-/pypi/aged/json" in farm.objects)
    three = farm.proxy()
    three.lapse(3600)
    asked = farm.upstream.count()
    answer = page(three, "aged")
    assert 3600 <= int(answer.headers["Age"] or 0) < 7200
    assert "; hit; ttl=" in answer.headers["Cache-Status"]
    assert farm.upstream.count() == asked
    revalidated = page(three, "aged", **{"Cache-Control": "no-cache"})
    assert "fwd-status=304" in revalidated.headers["Cache-Status"]
    assert farm.upstream.count() == asked + 1
    four = farm.proxy()
    four.lapse(3 * 3600)
    assert "fwd=stale" in page(four, "aged").headers["Cache-Status"]
    three.close()
    four.close()


def test_a_page_that_another_machine_has_refreshed(farm: Farm) -> None:
    """Then nobody asks the upstream again."""
    published(farm, "renewed")
    options = {"pypi_cache_index_ttl": "1h"}
    three, four = farm.proxy(options), farm.proxy(options)
    page(three, "renewed")
    eventually(lambda: "page/-/pypi/renewed/json" in farm.objects)
    page(four, "renewed")
    before = farm.objects["page/-/pypi/renewed/json"].read_bytes()
    three.lapse(7200)
    four.lapse(7200)
    farm.upstream.add(make_wheel("renewed", "2.0"))
    assert "fwd=stale" in page(three, "renewed").headers["Cache-Status"]
    eventually(lambda: farm.objects["page/-/pypi/renewed/json"].read_bytes() != before)
    asked = farm.upstream.count()
    assert versions_on(page(four, "renewed")) == {"1.0", "2.0"}
    assert farm.upstream.count() == asked
    three.close()
    four.close()


def test_one_download_for_several_machines(farm: Farm, one: Proxy, two: Proxy) -> None:
    """A file that the tier does not have, asked for by both at once."""
    release = published(farm, "cold", 3_000_000)
    asked = farm.upstream.count()
    farm.upstream.pace(2_000_000)  # bytes a second: the second one comes while the first downloads
    try:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda machine: get(machine, release), (one, two)))
    finally:
        farm.upstream.pace(None)
    assert {answer.sha256 for answer in answers} == {release.sha256}
    assert farm.upstream.count() == asked + 1
    eventually(lambda: not [name for name in farm.objects if name.startswith("lease/")])


def test_a_tier_that_is_gone(farm: Farm, one: Proxy) -> None:
    """The folder is no folder any more: one warning for reading, one for writing; installs go on."""
    first, second = published(farm, "gone-one"), published(farm, "gone-two")
    tier = farm.folder / "gone"
    three = farm.proxy({"pypi_cache_shared": f"file://{tier}"})
    shutil.rmtree(tier)
    tier.write_bytes(b"")
    for release in (first, second):
        assert get(three, release).sha256 == release.sha256
    lines = eventually(lambda: trouble(three), lambda found: len(found) == 2)
    assert set(lines) == {"shared tier", "shared tier, writing"}
    assert three.output.count("the shared tier does not answer") == 1
    assert counted(three, "shared_trouble")() == 1
    assert json.loads(three.get("/healthz").body)["status"] == "trouble"
    assert three.stop() == 0


def test_what_credentials_fetched_stays_here(farm: Farm, one: Proxy) -> None:
    release = published(farm, "private")
    login = {"Authorization": "Basic bWU6c2VjcmV0"}
    answer = fetch(one.port, farm.upstream.file_url(release), ca=one.ca, headers=login)
    assert answer.sha256 == release.sha256
    public = published(farm, "public")
    get(one, public)
    farm.object_of(public)  # it came later, and is there
    assert not [name for name in farm.objects if "private" in name]
    assert all(name.startswith(("file/-/", "page/-/")) for name in farm.objects)


def test_the_exit_waits_for_what_is_written(farm: Farm) -> None:
    """Python aborts where a transfer is cut off by its end (134)."""
    for number in range(2):
        machine = farm.proxy()
        releases = [published(farm, f"exit-{number}-{each}", 1_000_000) for each in range(2)]
        for release in releases:
            assert get(machine, release).sha256 == release.sha256
        assert machine.stop() == 0, machine.output
        assert {release.filename for release in releases} <= {path.name for path in farm.objects.values()}


def test_without_the_option_nothing_is_imported(farm: Farm) -> None:
    machine = farm.proxy({"pypi_cache_shared": ""})
    assert b"shared_reads" not in machine.get("/metrics").body
    maps = Path(f"/proc/{machine.pid}/maps")
    if os.name == "posix" and maps.exists():
        assert "obstore" not in maps.read_text()
    machine.close()
