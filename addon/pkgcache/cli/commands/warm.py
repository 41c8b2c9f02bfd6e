"""`pypi-cache warm`: fill the store with what agents will ask for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from pkgcache.cli.exits import FOUND, InterruptedByUser, UnusableError
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, say, shown_size
from pkgcache.cli.proxy_client import ProxyClient, ProxyError, shown_url, without_credentials
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.cli.warming.environments import PLATFORMS, Environment, environments
from pkgcache.cli.warming.lock_model import Lock
from pkgcache.cli.warming.locks import LockError, read_lock
from pkgcache.cli.warming.plan import Plan, fetch, plan_lock, plan_requirements
from pkgcache.cli.warming.requirements import PipRoute, index_urls
from pkgcache.cli.warming.temporary_proxy import temporary_proxy
from pkgcache.cli.warming.warmer import Warmer
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.settings import SettingError
from pkgcache.units import redact

SETTLE_SECONDS = 10.0
"""How long to wait for a running proxy's downloads to end; some of them may be for other clients."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Fill the store with what agents will ask for.")
@click.argument("names", metavar="[REQUIREMENT]...", nargs=-1)
@click.option("-r", "--requirement", "requirements", multiple=True, type=_FILE, help="A requirements file.")
@click.option(
    "-l",
    "--lock",
    "locks",
    multiple=True,
    type=_FILE,
    help="uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751) or Pipfile.lock.",
)
@click.option(
    "--python-version",
    "pythons",
    multiple=True,
    metavar="3.12",
    help="Fetch for this Python; may be repeated.  [default: this one]",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="TAG",
    help=f"Fetch for this platform; may be repeated: {PLATFORMS}.  [default: this machine]",
)
@click.option(
    "--proxy", metavar="URL", help="Fetch through this running proxy.  [default: a temporary one, on the same store]"
)
@click.option("--index-url", metavar="URL", help="The index that agents use.  [default: pip's]")
@click.option(
    "--extra-index-url",
    "more_indexes",
    multiple=True,
    metavar="URL",
    help="Another index that agents use; may be repeated.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of fetches at a time."
)
@AS_JSON
@with_store_options
def warm(
    location: StoreLocation,
    names: tuple[str, ...],
    *,
    requirements: tuple[Path, ...],
    locks: tuple[Path, ...],
    pythons: tuple[str, ...],
    platforms: tuple[str, ...],
    proxy: str | None,
    index_url: str | None,
    more_indexes: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    """Fetch pages, files and metadata as agents would, so that their installs need no upstream.

    pip itself resolves requirements, for each given Python version and platform. Of a lock, all files are fetched that its installer
    would take there, with all extras and groups. This machine's settings of pip and uv are ignored; indexes in requirements files are
    not. For another Python or platform only wheels can be resolved, and a lock's sdists are fetched without their build requirements.

    \b
    pypi-cache warm -r requirements.txt --python-version 3.12 --python-version 3.13
    pypi-cache warm --lock uv.lock --platform manylinux_2_28_x86_64 --platform win_amd64

    Exit codes: 0 everything is in the store · 1 something could not be fetched; the output says what · 130 interrupted: run it again,
    and what is stored is not fetched again.
    """  # noqa: D301  click wants the character itself
    if not (names or requirements or locks):
        raise click.UsageError("nothing to fetch: expected -r FILE, --lock FILE or requirements such as 'flask>=3'")
    try:
        targets = environments(pythons, platforms)
    except ValueError as error:
        raise click.BadParameter(f"expected {error}", param_hint="--python-version / --platform") from None
    parsed_locks = [_read(path) for path in locks]
    _check_requirements(requirements)
    _check_indexes([*filter(None, [index_url]), *more_indexes, *_indexes_of(requirements)], None if proxy else location)
    with _proxy(location, proxy) as client, tempfile.TemporaryDirectory(prefix="pypi-cache-") as folder:
        warmer, plan = Warmer(client, jobs), Plan()
        route = _route(client, Path(folder), index_url, more_indexes)
        stored_before, limit = _figures(client, 0)
        with _interruptible(warmer):
            arguments = [*(f"--requirement={path}" for path in requirements), *names]
            plan_requirements(plan, arguments, requirements, targets, route, warmer)
            for lock in parsed_locks:
                plan_lock(plan, lock, targets, route)
            fetch(plan, warmer, route)
            warmer.outcome.stored = _figures(client, SETTLE_SECONDS)[0] - stored_before
    if warmer.outcome.size > limit:
        sizes = f"{shown_size(warmer.outcome.size)} of files, and the store may hold {shown_size(limit)}"
        warmer.outcome.failed(f"{sizes}: some were evicted again; expected a larger pypi_cache_max_size=…")
    _report(warmer, plan, targets, as_json=as_json)


@contextlib.contextmanager
def _interruptible(warmer: Warmer) -> Iterator[None]:
    """Let Ctrl-C end the block with one line that says what was fetched. Raises InterruptedByUser."""
    try:
        yield
    except KeyboardInterrupt:
        done = f"{counted(warmer.outcome.files, 'file')} fetched, {shown_size(warmer.outcome.size)}"
        raise InterruptedByUser(f"{done}; run it again to continue") from None


def _read(path: Path) -> Lock:
    try:
        return read_lock(str(path), path.read_text(encoding="utf-8"))
    except LockError as error:
        raise UnusableError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path} cannot be read: {error}") from None


def _check_requirements(paths: Sequence[Path]) -> None:
    """Refuse a lock among the requirements, since pip's own message would not explain the mistake. Raises UnusableError."""
    for path in paths:
        if path.name.endswith(".lock") or path.suffix == ".toml":
            raise UnusableError(f"--requirement {path}: not a requirements file; expected --lock {path}")


def _indexes_of(paths: Sequence[Path]) -> list[str]:
    try:
        return index_urls(paths)
    except OSError as error:
        raise UnusableError(f"{error.filename} cannot be read: {error.strerror}") from None


def _check_indexes(urls: Sequence[str], location: StoreLocation | None) -> None:
    """Refuse what is no URL, and indexes that a proxy with these settings would not cache. Raises UnusableError."""
    try:
        indexes = build_indexes(location.settings.index, pip_defaults()) if location else ()
    except SettingError as error:
        raise UnusableError(str(error)) from None
    known = {str(index.simple).rstrip("/") for index in indexes}
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise UnusableError(
                f"{redact(url)} is not an index's URL; expected one such as https://index.example/simple"
            )
        if known and without_credentials(url)[0].rstrip("/") not in known:
            shown = redact(url)
            raise UnusableError(
                f"{shown}: the proxy would not cache this index; expected --set 'pypi_cache_index=NAME={shown}'"
            )


@contextlib.contextmanager
def _proxy(location: StoreLocation, url: str | None) -> Iterator[ProxyClient]:
    """The proxy to fetch through: the one that was named, or a temporary one. Raises UnusableError."""
    if url is None:
        if location.settings.offline:
            raise UnusableError(
                "pypi_cache_offline is set, so nothing would be fetched; expected --set pypi_cache_offline=false"
            )
        with temporary_proxy(location) as client:
            yield client
        return
    try:
        client = ProxyClient(url)
        client.health()
    except ProxyError as error:
        raise UnusableError(f"--proxy {shown_url(url)}: {error}") from None
    yield client


def _figures(client: ProxyClient, seconds: float) -> tuple[int, int]:
    """Bytes of files that the proxy has stored since its start, and its limit, once no download is under way. Raises UnusableError."""
    try:
        found = client.stats_when_idle(seconds)
        return int(found["bytes"]["stored"]), int(found["store"]["max_bytes"])
    except ProxyError as error:
        raise UnusableError(str(error)) from None
    except (KeyError, TypeError, ValueError):
        raise UnusableError("the proxy's /stats is not that of this version of pypi-cache") from None


def _route(client: ProxyClient, folder: Path, index_url: str | None, more: Sequence[str]) -> PipRoute:
    """Fetch the proxy's certificates, trust them, and tell pip how to reach the proxy. Raises UnusableError."""
    bundle = folder / "bundle.pem"
    try:
        bundle.write_bytes(client.own("/bundle.pem"))
        client.trust(bundle.read_text())
    except ProxyError as error:
        raise UnusableError(str(error)) from None
    return PipRoute(proxy=client.url, bundle=bundle, index=index_url or "", more_indexes=tuple(more))


def _report(warmer: Warmer, plan: Plan, targets: Sequence[Environment], *, as_json: bool) -> None:
    outcome = warmer.outcome
    packages = len({(each.package.name, each.package.version) for each in plan.choices})
    if as_json:
        print_json(
            {
                "environments": [str(target) for target in targets],
                "packages": packages,
                "pages": outcome.pages,
                "files": outcome.files,
                "bytes": outcome.size,
                "stored_bytes": outcome.stored,
                "skipped": sorted(set(plan.skipped)),
                "failures": outcome.failures,
            }
        )
    else:
        for line in sorted(set(plan.skipped)):
            say(f"skipped: {line}")
        for line in outcome.failures:
            say(f"failed: {line}")
        print_line(
            f"{counted(packages, 'package')} for {_named(targets)}: {counted(outcome.pages, 'page')}, "
            f"{counted(outcome.files, 'file')}, {shown_size(outcome.size)}; {shown_size(outcome.stored)} newly stored"
        )
    if outcome.failures:
        raise click.exceptions.Exit(FOUND)


def _named(targets: Sequence[Environment]) -> str:
    return " and ".join(map(str, targets)) if len(targets) < 3 else f"{len(targets)} environments"
