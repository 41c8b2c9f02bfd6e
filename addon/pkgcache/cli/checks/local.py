"""The doctor's checks of a proxy's own machine: Python and its packages, CA, store, disk, limits."""

from __future__ import annotations

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
from pkgcache.engine.store.entries import Entries, unowned

CA_NAME = "mitmproxy-ca-cert.pem"
CA_KEY_NAME = "mitmproxy-ca.pem"
FEW_FILES = 1024
SOON = timedelta(days=30)
CLOCK_SECONDS = 60.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


# Python


def check_python() -> Iterator[Finding]:
    """The interpreter, and the packages that the project asks for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.implementation.name == "cpython" and "t" not in sys.abiflags:
        yield well("Python", f"{found}, {sys.executable}; pypi-cache {__version__}")
    else:
        yield problem("Python", f"{sys.executable} is not the ordinary CPython", "mitmproxy needs that one")
    try:
        wanted = [Requirement(line) for line in requires("pypi-cache") or ()]
    except PackageNotFoundError:
        said = "pypi-cache itself is not installed, only imported"
        yield note("packages", said, "install it: pip install -e FOLDER, or ./run.sh")
        return
    if wrong := [said for each in wanted if (said := lacking(each))]:
        todo = " ".join([sys.executable, "-m pip install", *(f"'{each}'" for each in wanted)])
        yield problem("packages", "; ".join(wrong), todo)
    else:
        shown = ("mitmproxy", "diskcache", "aiohttp")
        yield well("packages", ", ".join(f"{name} {version(name)}" for name in shown))


def lacking(requirement: Requirement) -> str:
    """What is wrong with the package that is meant; empty: nothing."""
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
    """mitmproxy's CA: that it is there, for how long, and for whose eyes."""
    path, key = folder / CA_NAME, folder / CA_KEY_NAME
    try:
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except FileNotFoundError:
        yield note("CA", f"{path} is not there yet", "start the proxy once, or name its folder with --confdir")
        return
    except (OSError, ValueError) as error:
        todo = "remove it, start the proxy, and give the agents its new bundle.pem"
        yield problem("CA", f"{path} cannot be read: {error}", todo)
        return
    if until < datetime.now(UTC):
        todo = f"remove {folder}/mitmproxy-ca*, start the proxy, and give the agents its new bundle.pem"
        yield problem("CA", f"{path} ended {until:%Y-%m-%d}", todo)
    elif until < datetime.now(UTC) + SOON:
        todo = "plan to make a new one, and to give the agents its bundle.pem"
        yield note("CA", f"{path} ends {until:%Y-%m-%d}", todo)
    else:
        yield well("CA", f"{path}, until {until:%Y-%m-%d}")
    try:
        mode = key.stat().st_mode
    except OSError as error:
        yield problem("CA key", f"{key}: {error.strerror}", "restore it, or remove the CA, and start the proxy")
        return
    if mode & _OTHERS:
        said = f"others may read {key}: whoever has it can pretend to be any host"
        yield problem("CA key", said, f"chmod 600 {key}")


# Store


def check_store(place: StoreLocation) -> Iterator[Finding]:
    """The store's folder: whose it is, whether it can be used, and what lies about in it."""
    folder = place.folder
    try:
        status = folder.stat()
    except FileNotFoundError:
        todo = "the first start of the proxy makes it; --dir names another"
        yield note("store", f"{folder} is not there yet", todo)
        return
    except OSError as error:
        yield problem("store", f"{folder}: {error.strerror}", f"see who may enter its parents: namei -l {folder}")
        return
    for inner in (folder / "entries", folder / "growing"):
        if inner.is_dir() and status.st_mode & inner.stat().st_mode & _OTHERS:
            yield problem(
                "store", f"others may enter {inner}, which holds what private indexes gave", f"chmod 700 {inner}"
            )
    if status.st_uid != os.geteuid():
        owner = owner_name(status.st_uid)
        yield problem(
            "store", f"{folder} belongs to {owner}", f"run this as {owner}: sudo -u {owner} pypi-cache doctor"
        )
        return
    try:
        with opened(place) as entries:
            entries.put("probe", bytes(2 * SMALL_BYTES), {})
            entries.drop("probe")
            figures = entries.figures()
            held = f"{counted(figures['entries'], 'entry', 'entries')}, {shown_size(figures['bytes'])}"
            yield well("store", f"{folder}: {held}; it can be written")
            yield from _lies_about(entries)
    except click.ClickException as error:
        todo = "make room, or mend the disk; a store that is given up is simply removed, and filled anew"
        yield problem("store", error.message, todo)


def _lies_about(entries: Entries) -> Iterator[Finding]:
    left = 0
    for part in entries.growing.glob("*.part"):
        with unowned(part) as mine:
            left += mine
    if left:
        said = f"{counted(left, 'unfinished download')} that nobody goes on with"
        yield note("store", said, "the proxy's next start, or pypi-cache verify, removes them")
    for aside in entries.directory.glob("entries.*-*"):
        said = f"{aside} was set aside, damaged or of an older format"
        yield note("store", said, "it is removed after a week; or remove it now")
    quarantine = entries.directory / "quarantine"
    if kept := list(quarantine.glob("*")):
        said = f"{counted(len(kept), 'file')} in quarantine: verify found them to be other than what was stored"
        yield note("store", said, f"see to the disk (smartctl, dmesg); then rm -r {quarantine}")


# Disk and limits


def check_disk(place: StoreLocation) -> Iterator[Finding]:
    """Whether the disk takes what the store may hold."""
    folder = next((each for each in (place.folder, *place.folder.absolute().parents) if each.is_dir()), Path("/"))
    disk = shutil.disk_usage(folder)
    limit = place.settings.max_size
    stays = Entries(folder, max_size=limit, min_free=place.settings.min_free).min_free
    said = f"{shown_size(disk.free)} of {shown_size(disk.total)} free"
    if disk.free < stays:
        todo = "make room, or lower pypi_cache_max_size or pypi_cache_min_free"
        yield problem("disk", f"{said}, and {shown_size(stays)} are to stay free: nothing new is kept", todo)
    elif limit > disk.total - stays:
        more = f"and pypi_cache_max_size is {shown_size(limit)}: the disk is full before the store is"
        yield note("disk", f"{said}, {more}", "lower pypi_cache_max_size, or give another pypi_cache_dir")
    else:
        yield well("disk", f"{said}; the store may have {shown_size(limit)}")
    if (ahead := folder.stat().st_mtime - time.time()) > CLOCK_SECONDS:
        said = f"{folder} was changed {ahead:.0f} s in the future"
        yield note("clock", said, "set the clock: it says how fresh pages are")


def check_limits() -> Iterator[Finding]:
    """Open files: each client and each download takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = hard == resource.RLIM_INFINITY
    if not endless and hard < FEW_FILES:
        said = f"a process may open {hard:,} files at most, and each client takes one or two"
        todo = "raise it: ulimit -Hn 65536, LimitNOFILE= in a systemd unit, nofile in limits.conf"
        yield problem("limits", said, todo)
    else:
        yield well(
            "limits", f"open files: {soft:,}, and the proxy raises it to {'any number' if endless else f'{hard:,}'}"
        )
