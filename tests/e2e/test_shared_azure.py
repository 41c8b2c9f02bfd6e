"""The shared tier on Azurite, Azure's own stand-in for its Blob Storage. Skipped where that is not installed: npm install -g azurite."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.object_stores import CONTAINER, azurite, running_azurite
from tests.support.shared_tier import Farm, counted, get, open_farm, trouble
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel

pytest.importorskip(
    "obstore", reason="LOUD: the extra pypi-cache[shared] is not installed, so the shared tier is NOT tested"
)
if azurite() is None:
    pytest.skip(
        "LOUD: no `azurite-blob` (npm install -g azurite), so the shared tier is NOT tested with Azure",
        allow_module_level=True,
    )


@pytest.fixture
def farm(ca: Authority, tmp_path: Path) -> Iterator[Farm]:
    """An upstream, and machines before a tier there."""
    with (
        running_azurite(tmp_path / "azurite") as env,
        open_farm(ca, tmp_path, f"az://{CONTAINER}/pypi-cache", env) as farm,
    ):
        yield farm


def test_two_machines(farm: Farm) -> None:
    """The second asks no upstream, and the leases work."""
    releases = [make_wheel(f"wheel{size}", payload_size=size) for size in (0, 100_000, 20_000_000)]
    farm.upstream.add(*releases)
    one = farm.proxy()
    for release in releases:
        assert get(one, release).sha256 == release.sha256
    eventually(counted(one, 'shared_writes_total{result="stored"}'), lambda count: count == len(releases))
    assert counted(one, 'shared_leases_total{result="owner"}')() == len(releases)
    asked = farm.upstream.count()
    two = farm.proxy()
    for release in releases:
        assert get(two, release).sha256 == release.sha256
        part = get(two, release, Range="bytes=-10")
        assert (part.status, part.body) == (206, release.content[-10:])
    assert farm.upstream.count() == asked
    assert (trouble(one), trouble(two)) == ({}, {})
    assert (one.stop(), two.stop()) == (0, 0)
    assert not re.search("Eby8vdM02", one.output + two.output)
