"""The tier with a bucket that fails in every way: who waits, who asks again, what is written, and what /healthz says."""

import asyncio
from typing import Any

import pytest

from pkgcache.engine.shared import bucket as bucket_module
from pkgcache.engine.shared import tier as module
from pkgcache.engine.shared import writes
from pkgcache.engine.shared.bucket import Bucket, BucketError
from pkgcache.engine.shared.client import SharedTierClient
from pkgcache.engine.shared.object_names import shared_url
from pkgcache.engine.shared.opening import check_shared
from pkgcache.engine.shared.unavailable import TierUnavailableError
from pkgcache.engine.store.keys import file_key, parse_key
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import SettingError, make_settings
from tests.engine.shared.fakes import KEY, NAME, FakeBucket, Scene, settled


def wrong(name: str = NAME, failure: Failure = Failure.WRONG_DIGEST) -> UpstreamError:
    """What a fill says of an object."""
    return UpstreamError(failure, shared_url(name), "its sha256 is another")


async def test_what_is_there_and_what_is_not() -> None:
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    assert await scene.read() == b"content"
    assert await scene.read(wanted=(1, 3)) == b"on"
    assert await scene.read(wanted={"offset": 4}) == b"ent"
    assert await scene.read("file/-/other") is None
    assert await scene.tier.size(NAME) == 7
    assert await scene.tier.size("file/-/other") is None
    assert (scene.count("reads", "hit"), scene.count("reads", "miss"), scene.count("reads", "failed")) == (3, 1, 0)
    assert scene.tier.health.problems == {}
    await scene.tier.close()


async def test_a_range_that_lies_behind_the_end() -> None:
    """Any client may ask for one: that must not take the tier away from all others."""
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    assert await scene.read(wanted=(7, 9)) is None
    assert await scene.read(wanted={"offset": 10**12}) is None
    assert scene.tier.health.problems == {}
    assert scene.count("reads", "failed") == 0
    await scene.tier.close()


@pytest.mark.parametrize("how", ["fails", "stalls"])
async def test_a_failure_is_waited_for_once(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody asks, until a probe was answered: one warning, one red line."""
    monkeypatch.setattr(module, "PROBE_SECONDS", (0.0, 0.0))
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    setattr(scene.bucket, how, "503 Slow Down" if how == "fails" else True)
    for _ in range(3):
        with pytest.raises(TierUnavailableError):
            await scene.read()
    assert [each for each in scene.bucket.asked if each.startswith("get")] == [f"get {NAME}"]
    assert list(scene.tier.health.problems) == ["shared tier"]
    assert (scene.count("reads", "failed"), scene.count("reads", "skipped")) == (1, 2)
    setattr(scene.bucket, how, "" if how == "fails" else False)
    while scene.tier.health.problems:
        await asyncio.sleep(0.01)
    assert await scene.read() == b"content"
    await scene.tier.close()


async def test_an_object_that_stalls_in_the_middle() -> None:
    """A fill gets a response whose body stops coming; after the set time that is a failure of the tier, and not a wait."""
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    scene.bucket.stalls_in_body = True
    client = SharedTierClient(scene.tier, offline=False, may_be_private=lambda _address: False, via="1.1 test")
    async with client.request("GET", shared_url(NAME), {}) as response:
        assert response.headers["Content-Length"] == "7"
        assert await response.chunk() == b"c"
        with pytest.raises(UpstreamError) as failure:
            await response.chunk()
    assert failure.value.failure is Failure.TIMEOUT
    assert failure.value.of_shared_tier
    assert list(scene.tier.health.problems) == ["shared tier"]
    await scene.tier.close()


@pytest.mark.parametrize(
    ("header", "status", "content_range", "body"),
    [
        (None, 200, None, b"content"),
        ("bytes=0-", 206, "bytes 0-6/7", b"content"),
        ("bytes=2-3", 206, "bytes 2-3/7", b"nt"),
        ("bytes=2-99", 206, "bytes 2-6/7", b"ntent"),
        ("bytes=7-", 404, None, b""),
        ("pages=1-2", 200, None, b"content"),
    ],
)
async def test_ranges_are_read_as_ranges(
    header: str | None, status: int, content_range: str | None, body: bytes
) -> None:
    """RFC 9110 §14. What the tier cannot answer an upstream can: it is as if the tier did not have it."""
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    client = SharedTierClient(scene.tier, offline=False, may_be_private=lambda _address: False, via="1.1 test")
    headers = {} if header is None else {"Range": header}
    async with client.request("GET", shared_url(NAME), headers) as response:
        assert (response.status, response.headers.get("Content-Range")) == (status, content_range)
        assert await response.body(100) == body
    await scene.tier.close()


@pytest.mark.parametrize(
    "header", ["bytes=0-1,3-4", "bytes=1", "bytes=-0,1-2", "bytes=5-2", "bytes=-0", "bytes=99999999999999999999999-"]
)
async def test_ranges_that_the_tier_is_not_asked_for(header: str) -> None:
    scene = Scene()
    client = SharedTierClient(scene.tier, offline=False, may_be_private=lambda _address: False, via="1.1 test")
    with pytest.raises(UpstreamError):
        async with client.request("GET", shared_url(NAME), {"Range": header}):
            pass
    assert scene.bucket.asked == []
    await scene.tier.close()


async def test_offline_the_tier_alone_is_asked() -> None:
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    client = SharedTierClient(scene.tier, offline=True, may_be_private=lambda _address: False, via="1.1 test")
    async with client.request("GET", shared_url(NAME), {}) as response:
        assert await response.body(100) == b"content"
    upstream = parse_url("https://files.example/x")
    with pytest.raises(UpstreamError) as refusal:
        async with client.request("GET", upstream, {}):
            pass
    assert refusal.value.failure is Failure.OFFLINE
    assert client.healthy_first([(upstream, ""), (parse_url("https://mirror.example/x"), "")]) == [(upstream, "")]
    await scene.tier.close()


async def test_those_who_would_queue_ask_an_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nobody's failure, so the tier stays open to all others."""
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    monkeypatch.setattr(scene.tier, "_reading", asyncio.Semaphore(1))
    async with scene.tier.read(NAME):
        with pytest.raises(TierUnavailableError) as refusal:
            await scene.read()
    assert refusal.value.failure is Failure.BUSY
    assert scene.tier.health.problems == {}
    assert await scene.read() == b"content"
    await scene.tier.close()


async def test_what_the_store_takes_is_written_once() -> None:
    scene = Scene()
    await scene.keep(KEY, b"content")
    await scene.keep(KEY, b"content")
    assert scene.bucket.objects == {NAME: b"content"}
    assert (scene.count("writes", "stored"), scene.count("writes", "present")) == (1, 1)
    await scene.tier.close()


async def test_what_came_from_the_tier_is_not_written_again() -> None:
    scene = Scene()
    scene.bucket.objects[NAME] = b"content"
    scene.tier.given(NAME)
    await scene.keep(KEY, b"content")
    assert scene.bucket.asked == []
    await scene.tier.close()


@pytest.mark.parametrize("failure", [Failure.WRONG_DIGEST, Failure.WRONG_LENGTH, Failure.WRONG_SPAN])
async def test_a_wrong_object_is_written_anew(failure: Failure) -> None:
    """Although it is there already, with the same length."""
    scene = Scene()
    scene.bucket.objects[NAME] = b"c0ntent"
    scene.tier.given(NAME)
    scene.metrics.upstream_failed(wrong(failure=failure))
    assert "wrong object" in scene.tier.health.problems["shared tier, content"]
    assert scene.count("reads", "wrong") == 1
    await scene.keep(KEY, b"content")
    assert scene.bucket.objects == {NAME: b"content"}
    assert scene.tier.health.problems == {}
    await scene.tier.close()


def test_health_names_no_object(caplog: pytest.LogCaptureFixture) -> None:
    """/healthz needs no login, and the name of a private project is nobody else's to know. The log has it."""
    scene = Scene()
    scene.metrics.upstream_failed(wrong(failure=Failure.WRONG_DIGEST))
    assert NAME not in str(scene.tier.health.problems)
    assert "six" not in str(scene.tier.health.problems)
    assert caplog.text.count(NAME) == 1


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ("error performing GET http://s3.example/b/p/file/-/acme-tool/sha256%3D3Aab/acme.whl in 2ms - 500", "/file/… in 2ms - 500"),
        ("GET https://s3.example/b/page/0123456789abcdef/corp/acme-tool/json?X-Amz-Signature=abc: denied", "/page/…?X-Amz-Signature=***"),
        ('Object at location "/srv/tier/lease/-/sha256=3Aab/acme.whl/3" not found', '"/srv/tier/lease/…" not found'),
        ("Generic S3 error: no such bucket", "Generic S3 error: no such bucket"),
        ("Unable to open /srv/file/share", "Unable to open /srv/file/share"),
    ],
)  # fmt: skip
def test_errors_name_no_object(says: str, shown: str) -> None:
    error = str(BucketError(ValueError(says)))
    assert shown in error
    assert "acme" not in error


async def test_a_wrong_object_that_nobody_mends_stays_red() -> None:
    scene = Scene()
    scene.metrics.upstream_failed(wrong())
    await scene.keep(file_key("-", "sha256:" + "cd" * 32, "other-1.0.tar.gz"), b"content")
    assert list(scene.tier.health.problems) == ["shared tier, content"]
    await scene.tier.close()


@pytest.mark.parametrize(
    "failure", [Failure.NOT_FOUND, Failure.TIMEOUT, Failure.UNREACHABLE, Failure.BUSY, Failure.BROKEN]
)
async def test_other_failures_say_nothing_of_the_content(failure: Failure) -> None:
    scene = Scene()
    scene.metrics.upstream_failed(wrong(failure=failure))
    assert scene.tier.health.problems == {}
    assert not [name for name, value in scene.metrics.figures().items() if "upstream_failures" in name and value]
    await scene.tier.close()


def test_what_the_tier_lacks_is_no_answer_of_an_upstream() -> None:
    """A 404 for all clients comes of upstreams alone; so do a 502 and what it says."""
    missing = UpstreamError(Failure.NOT_FOUND, "https://files.example/x", "it does not have it (404)", status=404)
    error = AllFailedError([wrong(failure=Failure.TIMEOUT), missing])
    assert error.failures == {Failure.NOT_FOUND}
    assert error.status == 404
    assert "shared" not in str(error)


async def test_a_bucket_that_may_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only, or full: it is read as before, and asked to take something once in a while."""
    scene = Scene()
    scene.bucket.objects["file/-/x"] = b"x"
    scene.bucket.refuses_writes = "AccessDenied"
    for number in range(3):
        await scene.keep(file_key("-", "sha256:" + "ab" * 32, f"six-{number}.tar.gz"), b"content")
    assert (scene.count("writes", "failed"), scene.count("writes", "dropped")) == (1, 2)
    assert "AccessDenied" in scene.tier.health.problems["shared tier, writing"]
    assert await scene.read("file/-/x") == b"x"
    scene.bucket.refuses_writes = ""
    monkeypatch.setattr(scene.tier._writes, "_paused_until", 0.0)
    await scene.keep(KEY, b"content")
    assert scene.tier.health.problems == {}
    await scene.tier.close()


async def test_the_end_waits_for_what_is_being_written() -> None:
    scene = Scene()
    scene.store.entries[KEY] = b"content"
    scene.tier.stored(KEY)
    await scene.tier.close()
    assert scene.bucket.objects == {NAME: b"content"}
    scene.tier.stored(KEY)
    await settled()
    assert len(scene.bucket.asked) == 2, "it is closed"


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "CLOSE_SECONDS", 0.05)
    scene = Scene()
    scene.bucket.stalls_in_put = True
    await scene.keep(KEY, b"content")
    assert scene.bucket.under_way == 1
    await scene.tier.close()
    assert scene.bucket.under_way == 0


@pytest.mark.parametrize("private", [False, True])
async def test_what_was_fetched_with_credentials(*, private: bool) -> None:
    key = file_key("0f" * 16, "sha256:" + "ab" * 32, "six-1.0.tar.gz")
    assert parse_key(key).private
    scene = Scene(private=private)
    await scene.keep(key, b"content")
    assert bool(scene.bucket.asked) is private
    assert bool(scene.tier.sources(key)) is private
    assert scene.tier.sources(KEY)
    await scene.tier.close()


def test_without_obstore_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingError, match=r"pypi_cache_shared='s3://bucket': .*pip install 'pypi-cache\[shared\]'"):
        check_shared(make_settings({"pypi_cache_shared": "s3://bucket"}))
    check_shared(make_settings({}))


@pytest.mark.parametrize("url", ["file:///dev/null/x", "az://account"])
def test_what_leads_to_no_object_store(url: str) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(SettingError, match="pypi_cache_shared") as refusal:
        check_shared(make_settings({"pypi_cache_shared": url}))
    assert "\n" not in str(refusal.value)


def test_an_error_in_one_line_without_secrets() -> None:
    """obstore's have a second part, of many lines."""
    error = BucketError(
        ValueError("Error performing GET https://a.example/c?sig=secret in 2s\n\nDebug source:\nsecret")
    )
    assert "secret" not in str(error)
    assert "\n" not in str(error)
    assert "a.example" in str(error)


@pytest.mark.parametrize("name", ["PermissionDeniedError", "UnauthenticatedError"])
def test_an_error_that_is_a_refusal(name: str) -> None:
    kind: Any = type(name, (Exception,), {})
    assert BucketError(kind("403")).denied
    assert not BucketError(ValueError("403")).denied


def test_a_fake_is_a_bucket() -> None:
    """What the tests above say holds for the real one too."""
    for name in ("get", "size", "put"):
        assert getattr(FakeBucket, name).__annotations__.keys() == getattr(Bucket, name).__annotations__.keys()
