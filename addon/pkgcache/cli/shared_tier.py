"""The shared tier as the command sees it: what it has, whether that is right, and removing it. The proxy need not run.

What has a name of its own (`engine/shared/object_names`) is looked at; anything else in the bucket is somebody else's, and left alone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import click

from pkgcache.cli.exits import UnusableError
from pkgcache.cli.progress_bar import Bar, bar
from pkgcache.cli.store_location import StoreLocation
from pkgcache.engine.shared.bucket import LETTING_GO_SECONDS, Bucket, BucketError, Found
from pkgcache.engine.shared.object_names import key_of_object, project_prefix
from pkgcache.engine.shared.page_objects import unpack
from pkgcache.engine.store.keys import ParsedKey, StoreKey, parse_key
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.settings import SettingError

READS: Final = 8
"""Objects that are read at a time."""

ANSWER_SECONDS: Final = 30.0
"""How long an answer may take to begin, and each piece of it to come."""

PROBE: Final = "probe-of-doctor"


@dataclass(frozen=True, slots=True)
class TierObject:
    """An object that the tier has, with the key of its entry."""

    name: str
    size: int
    key: StoreKey

    @property
    def parsed(self) -> ParsedKey:
        """What the entry is."""
        return parse_key(self.key)


@dataclass(slots=True)
class Checked:
    """What a look at the objects has brought. `wrong`: names, each with what is wrong."""

    objects: int = 0
    size: int = 0
    of: int = 0
    wrong: dict[str, str] = field(default_factory=dict)


def on_tier[T](location: StoreLocation, work: Callable[[Bucket], Coroutine[Any, Any, T]]) -> T:
    """Do some work on the tier. Raises UnusableError where there is none, and ClickException where it fails."""
    if not location.settings.shared:
        raise UnusableError(
            "there is no shared tier: expected --set pypi_cache_shared=s3://BUCKET/PREFIX, or config.yaml with it"
        )
    try:
        bucket = Bucket(location.settings.shared)
    except SettingError as error:
        raise UnusableError(str(error)) from None

    async def run() -> T:
        try:
            return await work(bucket)
        finally:
            await asyncio.sleep(LETTING_GO_SECONDS)

    try:
        return asyncio.run(run())
    except (BucketError, TimeoutError) as error:
        what = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, TimeoutError) else str(error)
        raise click.ClickException(f"the shared tier {location.settings.shared} has failed: {what}") from None


async def objects_of(bucket: Bucket, project: str = "") -> AsyncIterator[TierObject]:
    """The tier's objects; of a `project`, its public files. Raises BucketError."""
    for prefix in [project_prefix(PUBLIC, project)] if project else ["file", "page"]:
        async for name, size in bucket.names(prefix):
            if (key := key_of_object(name)) is not None:
                yield TierObject(name, size, key)


async def counts(bucket: Bucket) -> dict[str, Any]:
    """How many objects there are, and how large, by kind."""
    entries, sizes = Counter[str](), Counter[str]()
    async for each in objects_of(bucket):
        entries[each.parsed.kind] += 1
        sizes[each.parsed.kind] += each.size
    kinds = {kind: {"objects": entries[kind], "bytes": sizes[kind]} for kind in sorted(entries)}
    return {"objects": entries.total(), "bytes": sizes.total(), "kinds": kinds}


async def removed(bucket: Bucket, matches: Callable[[ParsedKey], bool], *, dry_run: bool) -> tuple[int, int]:
    """Remove the objects of some entries; how many they are, and their bytes."""
    found = [each async for each in objects_of(bucket) if matches(each.parsed)]
    if not dry_run:
        await bucket.remove([each.name for each in found])
    return len(found), sum(each.size for each in found)


def check_all(location: StoreLocation, sample: int | None, checked: Checked, *, dry_run: bool) -> None:
    """Read all objects, or a sample of them, and remove those that are wrong."""

    async def work(bucket: Bucket) -> None:
        found = [each async for each in objects_of(bucket)]
        checked.of = len(found)
        if sample is not None and sample < len(found):
            found = random.sample(found, sample)
        with bar("reading the shared tier", sum(each.size for each in found)) as progress:
            turn = asyncio.Semaphore(READS)
            async with asyncio.TaskGroup() as group:
                for each in found:
                    await turn.acquire()
                    task = group.create_task(_check(bucket, each, checked, progress, dry_run=dry_run))
                    task.add_done_callback(lambda _: turn.release())

    try:
        on_tier(location, work)
    except ExceptionGroup as group:
        raise click.ClickException(f"the shared tier has failed: {group.exceptions[0]}") from None


async def _check(bucket: Bucket, each: TierObject, checked: Checked, progress: Bar, *, dry_run: bool) -> None:
    fault = await _fault_of(bucket, each, progress)
    checked.objects += 1
    checked.size += each.size
    if fault:
        checked.wrong[each.name] = fault
        progress.say(f"wrong: {each.parsed}: {fault}" + ("" if dry_run else " (removed)"))
        if not dry_run:
            await bucket.remove([each.name])


async def _fault_of(bucket: Bucket, each: TierObject, progress: Bar) -> str:
    """What is wrong with an object; empty where nothing is, or it is gone by now."""
    async with asyncio.timeout(ANSWER_SECONDS):
        found = await bucket.get(each.name)
    if found is None:
        return ""
    if each.parsed.kind == "file":
        digest = Digest.parse(each.parsed.identity)
        hasher = digest.hasher()
        async for piece in _pieces(found):
            await asyncio.to_thread(hasher.update, piece)
            progress.advance(len(piece))
        return digest.mismatch(hasher.hexdigest())
    content = b"".join([piece async for piece in _pieces(found)])
    progress.advance(len(content))
    try:
        unpack(each.key, content)
    except ValueError as error:
        return str(error)
    return ""


async def _pieces(found: Found) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(ANSWER_SECONDS):
            piece = await anext(found.pieces, b"")
        if not piece:
            return
        yield piece


async def try_out(bucket: Bucket) -> Sequence[tuple[str, str]]:
    """Try what the proxy does with the tier: each right that it needs, with what is wrong; empty where that works."""

    async def lists() -> None:
        async for _ in bucket.names("page"):
            return

    attempts: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]]]] = [
        ("look for an object", lambda: bucket.size(PROBE)),
        ("list objects", lists),
        ("write an object", lambda: bucket.put(PROBE, b"pypi-cache doctor")),
        ("read an object", lambda: bucket.get(PROBE)),
        ("remove an object", lambda: bucket.remove([PROBE])),
    ]
    results = []
    for right, attempt in attempts:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await attempt()
        except TimeoutError:
            results.append((right, f"no answer within {ANSWER_SECONDS:g} s"))
        except BucketError as error:
            results.append((right, str(error)))
        else:
            results.append((right, ""))
    return results
