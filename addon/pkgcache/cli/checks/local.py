"""Checks of the proxy's own machine: Python and its packages, CA, store, disk, limits."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click
from cryptography import x509
from packaging.requirements import Requirement

from pkgcache import __version__
from pkgcache.cli.checks.findings import Finding, note, problem, well
from pkgcache.cli.opening import opened, owner_name
from pkgcache.cli.output import counted, shown_size
from pkgcache.cli.store_location import StoreLocation
from pkgcache.engine.store.database import SMALL_BYTES
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.eviction import Limits
from pkgcache.engine.store.growing import unowned
from pkgcache.engine.store.keys import PROBE_KEY
from pkgcache.engine.store.safe_files import open_regular_path
from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, NEXT_NAME, OLD_NAME, ca_path, own_certificates

_NEW_CA = "remove it, restart the proxy, and give the agents its new bundle.pem"
_ROTATION = {
    NEXT_NAME: (
        f"once all agents have fetched the bundle, rename {CA_KEY_NAME} to {OLD_NAME} and this one to {CA_KEY_NAME}, "
        "and restart the proxy"
    ),
    OLD_NAME: "remove it once all agents have fetched the bundle since the CA was replaced",
}
FEW_FILES = 1024
SOON = timedelta(days=30)
CLOCK_SECONDS = 60.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


# Python


def check_python() -> Iterator[Finding]:
    """Check the interpreter, and the versions of the packages that the project requires."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.implementation.name == "cpython" and "t" not in sys.abiflags:
        yield well("Python", f"{found}, {sys.executable}; pypi-cache {__version__}")
    else:
        yield problem(
            "Python", f"{sys.executable} is not CPython with its lock", "mitmproxy needs the ordinary CPython"
        )
    try:
        requirements = [Requirement(line) for line in requires("pypi-cache") or ()]
    except PackageNotFoundError:
        message = "pypi-cache is imported without being installed"
        yield note("packages", message, "install it: pip install -e FOLDER, or ./run.sh")
        return
    if wrong := [message for each in requirements if (message := lacking(each))]:
        advice = " ".join([sys.executable, "-m pip install", *(f"'{each}'" for each in requirements)])
        yield problem("packages", "; ".join(wrong), advice)
    else:
        shown = ("mitmproxy", "diskcache", "aiohttp")
        yield well("packages", ", ".join(f"{name} {version(name)}" for name in shown))


def lacking(requirement: Requirement) -> str:
    """Say how a requirement is not met; empty if it is, or is not for this machine."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(found, prereleases=True)
    return "" if fits else f"{requirement.name} is {found}, expected {requirement.specifier}"


# CA


def check_ca(folder: Path) -> Iterator[Finding]:
    """Check mitmproxy's CA: that it exists, how long it is valid, whether its chain is whole, and who may read its key."""
    path, key = ca_path(folder), folder / CA_KEY_NAME
    try:
        path.stat()
        certificates = [x509.load_pem_x509_certificate(each) for each in own_certificates(folder)]
    except FileNotFoundError:
        yield note("CA", f"{path} does not exist yet", "start the proxy once, or name its folder with --confdir")
        return
    except (OSError, ValueError) as error:
        yield problem("CA", f"{path} cannot be read: {error}", _NEW_CA)
        return
    if not certificates:
        yield problem("CA", f"{path} has no certificate that can be read", _NEW_CA)
        return
    yield from _validity(path, certificates[0].not_valid_after_utc)
    yield from _chain(folder, *certificates)
    try:
        mode = key.stat().st_mode
    except OSError as error:
        yield problem("CA key", f"{key}: {error.strerror}", "restore it, or remove the CA and restart the proxy")
        return
    if mode & _OTHERS:
        message = f"other users may read {key}, and could impersonate any host with it"
        yield problem("CA key", message, f"chmod 600 {key}")


def _validity(path: Path, until: datetime) -> Iterator[Finding]:
    if until < datetime.now(UTC):
        advice = f"remove {path.parent}/mitmproxy-ca*, restart the proxy, and give the agents its new bundle.pem"
        yield problem("CA", f"{path} expired on {until:%Y-%m-%d}", advice)
    elif until < datetime.now(UTC) + SOON:
        advice = "plan to replace it (docs/pages/security.md, The CA), and to give the agents the new bundle.pem"
        yield note("CA", f"{path} expires on {until:%Y-%m-%d}", advice)
    else:
        yield well("CA", f"{path}, valid until {until:%Y-%m-%d}")


def _chain(folder: Path, used: x509.Certificate, *more: x509.Certificate) -> Iterator[Finding]:
    """Check that the bundle leads from the CA to a root, and say whether it has other CAs as well."""
    above, subjects = used, {each.subject: each for each in more}
    while above.issuer != above.subject and above.issuer in subjects:
        above = subjects.pop(above.issuer)
    if above.issuer != above.subject:
        message = (
            f"the CA is issued by {above.issuer.rfc4514_string()}, whose certificate is not in {folder / CA_KEY_NAME}"
        )
        yield note("CA", message, "append it there, unless the agents trust it already, or SSL_CERT_FILE has it")
    for name, advice in _ROTATION.items():
        if (folder / name).exists():
            yield note("CA", f"agents are told to trust {folder / name} too", advice)


# Store


def check_store(location: StoreLocation) -> Iterator[Finding]:
    """Check the store's folder: its owner and modes, whether it can be written, and what is left in it."""
    folder = location.folder
    try:
        status = folder.stat()
    except FileNotFoundError:
        advice = "the proxy creates it at its first start; --dir names another"
        yield note("store", f"{folder} does not exist yet", advice)
        return
    except OSError as error:
        yield problem(
            "store", f"{folder}: {error.strerror}", f"check who may enter its parent folders: namei -l {folder}"
        )
        return
    for inner in (folder / "entries", folder / "growing"):
        if inner.is_dir() and status.st_mode & inner.stat().st_mode & _OTHERS:
            yield problem(
                "store", f"other users may enter {inner}, which holds files of private indexes", f"chmod 700 {inner}"
            )
    if status.st_uid != os.geteuid():
        owner = owner_name(status.st_uid)
        yield problem(
            "store", f"{folder} belongs to {owner}", f"run this as {owner}: sudo -u {owner} pypi-cache doctor"
        )
        return
    try:
        with opened(location) as entries:
            entries.put(PROBE_KEY, bytes(2 * SMALL_BYTES), {})
            entries.drop(PROBE_KEY)
            figures = entries.figures()
            held = f"{counted(figures['entries'], 'entry', 'entries')}, {shown_size(figures['bytes'])}"
            yield well("store", f"{folder}: {held}; it can be written")
            yield from _leftovers(entries)
    except click.ClickException as error:
        advice = "make room, or repair the disk; or remove the store, and the proxy fills a new one"
        yield problem("store", error.message, advice)


def _leftovers(entries: Entries) -> Iterator[Finding]:
    abandoned = 0
    for part in entries.growing.glob("*.part"):
        with unowned(functools.partial(open_regular_path, part)) as is_unowned:
            abandoned += is_unowned
    if abandoned:
        message = f"{counted(abandoned, 'unfinished download')} that no process continues"
        yield note("store", message, "the proxy's next start or pypi-cache verify removes them")
    for aside in entries.directory.glob("entries.*-*"):
        message = f"{aside} was set aside because it was damaged or of an older format"
        yield note("store", message, "the proxy removes it after a week; it may be removed now")
    quarantine = entries.directory / "quarantine"
    if files := list(quarantine.glob("*")):
        message = f"{counted(len(files), 'file')} in quarantine: verify found that the content had changed"
        yield note("store", message, f"check the disk (smartctl, dmesg); then rm -r {quarantine}")


# Disk and limits


def check_disk(location: StoreLocation) -> Iterator[Finding]:
    """Check whether the disk has room for all that the store may hold, and whether the clock is right."""
    folder = next((each for each in (location.folder, *location.folder.absolute().parents) if each.is_dir()), Path("/"))
    disk = shutil.disk_usage(folder)
    limit = location.settings.max_size
    reserve = Limits(max_size=limit, min_free=location.settings.min_free).min_free_on(folder)
    message = f"{shown_size(disk.free)} of {shown_size(disk.total)} free"
    if disk.free < reserve:
        advice = "make room, or lower pypi_cache_max_size or pypi_cache_min_free"
        yield problem("disk", f"{message}, and {shown_size(reserve)} are kept free: nothing new is stored", advice)
    elif limit > disk.total - reserve:
        more = f"and pypi_cache_max_size is {shown_size(limit)}: the disk will be full before the store is"
        yield note("disk", f"{message}, {more}", "lower pypi_cache_max_size, or choose another pypi_cache_dir")
    else:
        yield well("disk", f"{message}; the store may hold {shown_size(limit)}")
    if (ahead := folder.stat().st_mtime - time.time()) > CLOCK_SECONDS:
        message = f"{folder} was changed {ahead:.0f} s in the future: this machine's clock is slow"
        yield note("clock", message, "set the clock: the freshness of pages depends on it")


def check_limits() -> Iterator[Finding]:
    """Check the limit of open files: each client and each download takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    if not unlimited and hard < FEW_FILES:
        message = f"a process may open {hard:,} files at most, and each client takes one or two"
        advice = "raise it: ulimit -Hn 65536, LimitNOFILE= in a systemd unit, nofile in limits.conf"
        yield problem("limits", message, advice)
    else:
        yield well(
            "limits", f"open files: {soft:,}, and the proxy raises it to {'any number' if unlimited else f'{hard:,}'}"
        )
