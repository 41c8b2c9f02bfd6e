"""Changes that an operator asks for by HTTP: `POST /admin`, JSON, with the admin token in the header `Pypi-Cache-Token`.

Only where `pypi_cache_admin_token` is set. The token is read anew each time, so that its file can be replaced, and compared in constant
time; a client that gives wrong ones is not listened to for a while. What another site's page could send is refused before the token is
looked at (rules/policy/changes.py).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import logging
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, assert_never

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.rules.policy.changes import (
    Change,
    Check,
    Offline,
    Purge,
    Reload,
    parse_change,
    why_foreign,
    why_foreign_name,
)
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import SettingError
from pkgcache.web.attempts import Attempts

logger = logging.getLogger(__name__)

PATH: Final = "/admin"
HEADER: Final = "Pypi-Cache-Token"
MOST_BODY: Final = 4096
"""Bytes of a change's JSON. The longest that makes sense has three hundred."""

SINGLE: Final = ("Host", "Origin", "Sec-Fetch-Site", "Content-Type")
"""What is looked at of a request, beside the token."""

OPTION: Final = "pypi_cache_admin_token"
_TOKEN: Final = re.compile(r"[!-~]{16,256}")


class ChangeError(Exception):
    """A change cannot be made. The message says why, in one line."""


class OptionChanges(Protocol):
    """Changes the proxy's options. Both return what has been done, in one line, and raise ChangeError."""

    def set_offline(self, *, on: bool) -> str:
        """Answer from the store alone from now on, or no longer."""

    def reload(self) -> str:
        """Take what config.yaml says now."""


def read_token(source: str) -> str:
    """Return the token that `pypi_cache_admin_token` names; empty without one. Raises SettingError, and shows no token."""
    if source.startswith("@"):
        try:
            with Path(source[1:]).open(encoding="latin-1") as file:
                token = file.read(1024).strip()
        except OSError as error:
            raise SettingError(f"{OPTION}={source}: expected a file that can be read ({error.strerror})") from None
    elif source.startswith("env:"):
        token = os.environ.get(source.removeprefix("env:"), "").strip()
    else:
        return source
    if not _TOKEN.fullmatch(token):
        raise SettingError(f"{OPTION}={source}: expected a token of 16 to 256 characters without spaces there")
    return token


class Admin:
    """Checks tokens, and makes changes. `options` is None where none can be changed."""

    def __init__(
        self, service: Service, options: OptionChanges | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._options = options
        self._clock = clock
        self._attempts = Attempts()

    @property
    def is_open(self) -> bool:
        """Whether anything can be changed at all."""
        return bool(self._service.settings.admin_token)

    def refusal(self, request: Request) -> Response | None:
        """Return why this request's token opens nothing; None if it is right."""
        now = self._clock()
        if wait := self._attempts.wait(request.client, now):
            refusal = Response.text(429, f"too many wrong tokens from {request.client}; wait {wait} s")
            refusal.headers["Retry-After"] = str(wait)
            return refusal
        try:
            token = read_token(self._service.settings.admin_token)
        except SettingError as error:
            logger.warning("%s", error)
            return Response.text(503, "the admin token cannot be read; the proxy's log says why")
        given = request.headers.get(HEADER, "")
        if token and hmac.compare_digest(_digest(token), _digest(given)):
            return None
        self._attempts.failed(request.client, now)
        logger.warning("%s gave a wrong admin token", request.client)
        return Response.text(403, f"the header {HEADER} does not have the admin token")

    async def change(self, request: Request, body: bytes) -> tuple[str, Response | None]:
        """Make a change. Return what has been done, or the refusal."""
        if refusal := self._why_not(request, body) or self.refusal(request):
            return "", refusal
        try:
            change = parse_change(body)
            done = await self._make(change)
        except ValueError as error:
            return "", Response.text(400, str(error))
        except ChangeError as error:
            return "", Response.text(409, str(error))
        if not isinstance(change, Check):
            logger.warning("%s: %s", request.client, done)
        return done, None

    def _why_not(self, request: Request, body: bytes) -> Response | None:
        """Refuse what may not be an operator's own doing, and what is no change."""
        headers, public_url = request.headers, self._service.settings.public_url
        for name in (*SINGLE, HEADER):  # RFC 9110 §5.3: each may be there once, and of two one would go unseen
            if len(headers.getall(name, ())) > 1:
                return Response.text(400, f"{name} is there more than once")
        public = parse_url(public_url) if public_url else None
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if why := why_foreign(headers.get("Host", ""), origin, site, public, machine_names()):
            return Response.text(403, why)
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return Response.text(415, "expected Content-Type: application/json")
        return Response.text(413, f"a change has {MOST_BODY:,} bytes at most") if len(body) > MOST_BODY else None

    async def _make(self, change: Change) -> str:
        if isinstance(change, Offline | Reload) and self._options is None:
            raise ChangeError("no option can be changed here")
        match change:
            case Check():
                return "the token is right"
            case Purge(project=project):
                return await self._purge(project)
            case Offline(on=on):
                assert self._options is not None
                return self._options.set_offline(on=on)
            case Reload():
                assert self._options is not None
                return self._options.reload()
            case _:
                assert_never(change)

    async def _purge(self, project: str) -> str:
        store = self._service.store
        await store.flush_pending()
        entries, size = await store.catalogue.drop_project(project)
        if not entries:
            return f"{project}: nothing stored"
        return f"purged {project}: {entries:,} {'entry' if entries == 1 else 'entries'}, {size:,} bytes"


def foreign_reader(request: Request, public_url: str) -> Response | None:
    """Refuse to tell packages' names to what may be a page of another site: one whose name leads to the proxy (DNS rebinding)."""
    hosts = request.headers.getall("Host", ())
    public = parse_url(public_url) if public_url else None
    why = why_foreign_name(hosts[0] if len(hosts) == 1 else "", public, machine_names())
    return Response.text(403, why) if why else None


@functools.cache
def machine_names() -> frozenset[str]:
    """This machine's names, as it knows them itself: the first label alone, too."""
    name = socket.gethostname().rstrip(".").lower()
    return frozenset({name, name.partition(".")[0]}) - {""}


def _digest(text: str) -> bytes:
    """Hash a token, so that texts of any length are compared in the same time."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
