"""Who downloads a file that the tier does not have: one, as far as the tier can tell; and never nobody."""

import asyncio

import pytest

from pkgcache.engine.shared import leases as module
from pkgcache.engine.shared.object_names import key_of_object, lease_number, lease_prefix
from tests.engine.shared.fakes import KEY, NAME, FakeBucket, Scene, settled

FIRST = f"{lease_prefix(NAME)}/1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow at once, and nothing else has an end that a busy machine could reach."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.001)
    monkeypatch.setattr(module, "STALE_SECONDS", 1000.0)


def farm(count: int, bucket: FakeBucket) -> list[Scene]:
    """Machines with one bucket."""
    return [Scene(wait=30.0, follow=1000.0, bucket=bucket) for _ in range(count)]


async def test_one_downloads_and_all_others_follow() -> None:
    bucket = FakeBucket()
    scenes = farm(20, bucket)
    downloads = []

    async def machine(scene: Scene) -> None:
        if not await scene.tier.comes(NAME):
            downloads.append(scene)
            await asyncio.sleep(0.05)
            await scene.keep(KEY, b"content")
            while NAME not in bucket.objects:
                await asyncio.sleep(0)
        assert await scene.read() == b"content"

    await asyncio.gather(*(asyncio.Task(machine(scene)) for scene in scenes))
    assert len(downloads) == 1
    assert (downloads[0].count("leases", "owner"), sum(scene.count("leases", "followed") for scene in scenes)) == (
        1,
        19,
    )
    for scene in scenes:
        await scene.tier.close()
    assert bucket.objects.keys() == {NAME}, "the lease is removed"


async def test_an_owner_that_fails_is_followed_by_another() -> None:
    """Its download ends, nothing is stored, and the lease is given up at once."""
    bucket = FakeBucket()
    one, two = farm(2, bucket)

    async def failing() -> None:
        assert not await one.tier.comes(NAME)
        await asyncio.sleep(0.01)

    first = asyncio.Task(failing())
    while one.count("leases", "owner") == 0:
        await asyncio.sleep(0)
    assert not await two.tier.comes(NAME)
    assert first.done()
    assert two.count("leases", "owner") == 1
    await one.tier.close()
    await two.tier.close()


async def test_an_owner_that_lives_renews_its_lease() -> None:
    """By the next number; the last two stay."""
    bucket = FakeBucket()
    (one,) = farm(1, bucket)

    async def slow() -> None:
        await one.tier.comes(NAME)
        while not any(lease_number(name) >= 5 for name in bucket.objects):
            await asyncio.sleep(0.001)
        assert len(bucket.objects) <= 3
        assert FIRST not in bucket.objects

    await asyncio.Task(slow())
    await one.tier.close()
    assert bucket.objects == {}


async def test_a_lease_of_a_dead_machine_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has stood still: what matters is how long this machine has seen it so."""
    monkeypatch.setattr(module, "STALE_SECONDS", 0.01)
    bucket = FakeBucket()
    bucket.objects[f"{lease_prefix(NAME)}/41"] = b""
    (one,) = farm(1, bucket)
    assert not await asyncio.Task(one.tier.comes(NAME))
    assert one.count("leases", "taken-over") == 1
    await one.tier.close()


async def test_who_waits_too_long_downloads_it_too() -> None:
    bucket = FakeBucket()
    bucket.objects[FIRST] = b""
    one = Scene(wait=30.0, follow=0.02, bucket=bucket)
    assert not await one.tier.comes(NAME)
    assert one.count("leases", "gave-up") == 1
    await one.tier.close()
    assert bucket.objects.keys() == {FIRST}, "another one's lease is not touched"


@pytest.mark.parametrize("how", ["refuses_writes", "fails"])
async def test_without_conditional_writes_everybody_downloads(how: str) -> None:
    """Or where the tier fails."""
    bucket = FakeBucket()
    setattr(bucket, how, "not implemented")
    scenes = farm(4, bucket)
    assert await asyncio.gather(*(scene.tier.comes(NAME) for scene in scenes)) == [False] * 4
    for scene in scenes:
        await scene.tier.close()


async def test_no_patience_no_lease() -> None:
    scene = Scene(wait=30.0, follow=0.0)
    assert not await scene.tier.comes(NAME)
    assert scene.bucket.asked == []
    await scene.tier.close()


async def test_a_wrong_object_is_not_waited_for() -> None:
    """It is there, and would be taken for what another machine has just downloaded."""
    scene = Scene(wait=30.0, follow=1000.0)
    scene.bucket.objects |= {NAME: b"wrong", FIRST: b""}
    key = key_of_object(NAME)
    assert key is not None
    scene.tier._wrong[key] = 0.0
    assert not await scene.tier.comes(NAME)
    await settled()
    assert scene.bucket.asked == []
    await scene.tier.close()


@pytest.mark.parametrize(
    ("name", "number"),
    [(FIRST, 1), (f"{lease_prefix(NAME)}/41", 41), ("lease/-/x/y", 0), ("lease/-/x/1/", 0), ("lease/-/x/-1", 0),
     ("lease/-/x/²", 0), ("9" * 5000, 0)],
)  # fmt: skip
def test_the_number_of_a_lease(name: str, number: int) -> None:
    assert lease_number(name) == number
