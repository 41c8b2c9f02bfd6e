"""The doctor's checks of a proxy's own machine: Python and its packages, CA, store, disk, limits."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click
from cryptography import x509
from packaging.requirements import Requirement

from pkgcache import __version__
from pkgcache.cli.common import Place, UnusableError, counted, opened, owner_name, shown_size
from pkgcache.engine.database import TROUBLE, described
from pkgcache.engine.entries import Entries, unowned

CA_NAME = "mitmproxy-ca-cert.pem"
FEW_FILES = 1024
SOON = timedelta(days=30)

type State = Literal["well", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw, and what to do about it; `todo` is empty where all is well."""

    check: str
    state: State
    said: str
    todo: str = ""


def check_python() -> Iterator[Finding]:
    """The interpreter, and the packages that the project asks for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.implementation.name == "cpython" and "t" not in sys.abiflags:
        yield Finding("Python", "well", f"{found}, {sys.executable}; pypi-cache {__version__}")
    else:
        yield Finding(
            "Python",
            "problem",
            f"{sys.executable} is not the ordinary CPython",
            "mitmproxy needs that one",
        )
    try:
        wanted = [Requirement(line) for line in requires("pypi-cache") or ()]
    except PackageNotFoundError:
        yield Finding(
            "packages",
            "note",
            "pypi-cache itself is not installed, only imported",
            "install it: pip install -e FOLDER, or ./run.sh",
        )
        return
    wrong = [said for each in wanted if (said := _lacking(each))]
    if wrong:
        yield Finding(
            "packages",
            "problem",
            "; ".join(wrong),
            f"{sys.executable} -m pip install {' '.join(_quoted(each) for each in wanted)}",
        )
    else:
        yield Finding(
            "packages",
            "well",
            f"mitmproxy {version('mitmproxy')}, diskcache {version('diskcache')}, aiohttp {version('aiohttp')}",
        )


def _lacking(requirement: Requirement) -> str:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    return (
        ""
        if requirement.specifier.contains(found, prereleases=True)
        else f"{requirement.name} is {found}, expected {requirement.specifier}"
    )


def _quoted(requirement: Requirement) -> str:
    return f"'{requirement}'"


def check_ca(place: Place) -> Iterator[Finding]:
    """mitmproxy's CA: that it is there, for how long, and for whose eyes."""
    path = place.confdir / CA_NAME
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        yield Finding(
            "CA", "note", f"{path} is not there yet", "start the proxy once, or name its folder with --confdir"
        )
        return
    except (OSError, ValueError) as error:
        yield Finding(
            "CA",
            "problem",
            f"{path} cannot be read: {error}",
            "remove it, start the proxy, and give the agents its new bundle.pem",
        )
        return
    until = certificate.not_valid_after_utc
    if until < datetime.now(UTC):
        yield Finding(
            "CA",
            "problem",
            f"{path} ended {until:%Y-%m-%d}",
            f"remove {path.parent}/mitmproxy-ca*, start the proxy, renew bundle.pem",
        )
    elif until < datetime.now(UTC) + SOON:
        yield Finding(
            "CA",
            "note",
            f"{path} ends {until:%Y-%m-%d}",
            "plan to make a new one, and to give the agents its bundle.pem",
        )
    else:
        yield Finding("CA", "well", f"{path}, until {until:%Y-%m-%d}")
    key = place.confdir / "mitmproxy-ca.pem"
    try:
        mode = key.stat().st_mode
    except OSError as error:
        yield Finding(
            "CA key", "problem", f"{key}: {error.strerror}", "restore it, or remove the CA, and start the proxy"
        )
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "CA key", "problem", f"others may read {key}: whoever has it can pretend to be any host", f"chmod 600 {key}"
        )


def check_store(place: Place) -> Iterator[Finding]:
    """The store's folder: whose it is, whether it can be used, and what lies about in it."""
    folder = place.folder
    try:
        status = folder.stat()
    except FileNotFoundError:
        yield Finding(
            "store", "note", f"{folder} is not there yet", "the first start of the proxy makes it; --dir names another"
        )
        return
    except OSError as error:
        yield Finding(
            "store", "problem", f"{folder}: {error.strerror}", f"see who may enter its parents: namei -l {folder}"
        )
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "store",
            "problem",
            f"others may enter {folder}, which holds what private indexes gave",
            f"chmod 700 {folder}",
        )
    if status.st_uid != os.geteuid():
        owner = owner_name(status.st_uid)
        yield Finding(
            "store",
            "problem",
            f"{folder} belongs to {owner}",
            f"run this as {owner}: sudo -u {owner} pypi-cache doctor",
        )
        return
    try:
        with opened(place) as entries:
            entries.probe()
            figures = entries.figures()
            said = f"{folder}: {counted(figures['entries'], 'entry', 'entries')}, {shown_size(figures['bytes'])}; it can be written"
            yield Finding("store", "well", said)
            yield from _lies_about(entries)
    except (UnusableError, click.ClickException) as error:
        yield Finding(
            "store", "problem", error.message, "see above; a store that is given up is simply removed, and filled anew"
        )
    except TROUBLE as error:
        yield Finding(
            "store",
            "problem",
            f"{folder}: {described(error)}",
            "make room or mend the disk; a damaged store is simply removed",
        )


def _lies_about(entries: Entries) -> Iterator[Finding]:
    left = 0
    for part in entries.growing.glob("*.part"):
        with unowned(part) as mine:
            left += mine
    if left:
        said = f"{counted(left, 'unfinished download')} that nobody goes on with"
        yield Finding("store", "note", said, "the proxy's next start, or pypi-cache verify, removes them")
    for aside in entries.directory.glob("entries.*-*"):
        yield Finding(
            "store",
            "note",
            f"{aside} was set aside, damaged or of an older format",
            "it is removed after a week; or remove it now",
        )
    kept = list((entries.directory / "quarantine").glob("*"))
    if kept:
        said = f"{counted(len(kept), 'file')} in quarantine: verify found them to be other than what was stored"
        yield Finding(
            "store", "note", said, f"see to the disk (smartctl, dmesg); then rm -r {entries.directory / 'quarantine'}"
        )


def check_disk(place: Place) -> Iterator[Finding]:
    """Whether the disk takes what the store may hold."""
    folder = next((each for each in (place.folder, *place.folder.absolute().parents) if each.is_dir()), Path("/"))
    disk = shutil.disk_usage(folder)
    settings = place.settings
    entries = Entries(folder, max_size=settings.max_size, min_free=settings.min_free)
    said = f"{shown_size(disk.free)} of {shown_size(disk.total)} free"
    if disk.free < entries.min_free:
        wanted = f"{said}, and {shown_size(entries.min_free)} are to stay free: nothing new is kept"
        yield Finding("disk", "problem", wanted, "make room, or lower pypi_cache_max_size or pypi_cache_min_free")
    elif settings.max_size > disk.total - entries.min_free:
        wanted = (
            f"{said}, and pypi_cache_max_size is {shown_size(settings.max_size)}: the disk is full before the store is"
        )
        yield Finding("disk", "note", wanted, "lower pypi_cache_max_size, or give another pypi_cache_dir")
    else:
        yield Finding("disk", "well", f"{said}; the store may have {shown_size(settings.max_size)}")
    ahead = folder.stat().st_mtime - time.time()
    if ahead > 60:
        yield Finding(
            "clock",
            "note",
            f"{folder} was changed {ahead:.0f} s in the future",
            "set the clock: it says how fresh pages are",
        )


def check_limits() -> Iterator[Finding]:
    """Open files: each client and each download takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEW_FILES:
        said = f"a process may open {hard:,} files at most, and each client takes one or two"
        yield Finding(
            "limits",
            "problem",
            said,
            "raise it: ulimit -Hn 65536, LimitNOFILE= in a systemd unit, nofile in limits.conf",
        )
    else:
        yield Finding(
            "limits",
            "well",
            f"open files: {soft:,}, and the proxy raises it to {'any number' if hard == resource.RLIM_INFINITY else f'{hard:,}'}",
        )
