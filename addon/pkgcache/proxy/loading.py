"""Reads into memory what answers a known head, where the store has it: the first request for a page after its download, or after a pause.

The layers would find it as well, but then carry the rest of the connection, which costs each further request several times as much.
"""

from __future__ import annotations

from pkgcache.engine.files.identity import FileResolver
from pkgcache.engine.service import Service
from pkgcache.proxy.intake import Intake
from pkgcache.proxy.known_heads import HeadKey, KnownHead
from pkgcache.rules.routing.routes import ProjectPage, ReleaseFile


async def load(intake: Intake, key: HeadKey) -> bool:
    """Read what a request with this head wants into memory. Returns whether to ask `Intake.from_known_head` once more."""
    known = intake.known(key)
    if known is None:
        return False
    try:
        await _read(intake.service, known)
    except Exception as error:  # noqa: BLE001  this is only a short cut: the layers may still succeed
        intake.report_fault(f"reading {known.request.url} into memory", error)
        return False
    return True


async def _read(service: Service, known: KnownHead) -> None:
    store, route = service.store, known.route
    if not store.watch.is_current():  # nobody has asked for a while, and so nothing in memory may be given
        await store.watch.look()
    if isinstance(route, ProjectPage):
        await service.pages.load(known.request, route)
    elif isinstance(route, ReleaseFile):
        file = await FileResolver(service.known_files).resolve(route)
        entry = await store.get(file.key) if file.digest else None
        if entry is not None and entry.file is not None:  # too large for memory
            entry.file.close()
