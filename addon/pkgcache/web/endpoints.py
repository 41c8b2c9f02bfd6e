"""The proxy's own pages, asked for at its own address.

`/` what to paste on an agent · `/healthz` · `/metrics` (Prometheus) · `/stats` (JSON) · `/ca.pem` · `/bundle.pem` (system roots and
our CA) · `/env.sh` (exports for an agent's shell).
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from multidict import CIMultiDict

from pkgcache import __version__
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.service import Service
from pkgcache.units import shown_duration
from pkgcache.web.onboarding import _agent_lines, _hostname, _index_line, _listening, _outward


class ProxyPages:
    """Answers for the proxy's own paths. `ca` is the CA's certificate, `bundle` gives it together with all roots."""

    def __init__(self, service: Service, ca: Path, bundle: Callable[[], bytes]) -> None:
        self._service = service
        self._ca = ca
        self._bundle = bundle
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._start_page,
            "/healthz": self._health,
            "/metrics": self._metrics,
            "/stats": self._stats,
            "/ca.pem": self._certificate,
            "/bundle.pem": self._certificates,
            "/env.sh": self._environment,
        }

    def has(self, path: str) -> bool:
        """Whether a path is one of these pages."""
        return path in self._pages

    async def answer(self, request: Request) -> Response:
        """The page that the request asks for."""
        reply = await self._pages[request.url.path](request)
        if request.method == "HEAD":
            reply.body = b""
        return reply

    def greeting(self, listens: Sequence[tuple[str, int]]) -> list[str]:
        """What the log says at start: where it listens, what it keeps where, and what to paste on an agent."""
        service, settings = self._service, self._service.settings
        indexes = [index for index in service.indexes if "@" not in index.name]
        kept = (
            f"{settings.dir}, at most {settings.max_size:,} bytes" if service.store.usable else "NONE: nothing is kept"
        )
        rules = {"offline": settings.offline, "cooldown": settings.cooldown and shown_duration(settings.cooldown)}
        rules |= {
            "allow": " ".join(settings.allow),
            "deny": " ".join(settings.deny),
            "private": " ".join(settings.private),
        }
        return [
            f"pypi-cache {__version__} listens on {', '.join(dict.fromkeys(map(_listening, listens))) or 'nowhere'}",
            f"  store   {kept}",
            f"  CA      {self._ca}",
            *(f"  index   {_index_line(index)}" for index in indexes),
            *([f"  parent  {service.client.parent}"] if service.client.parent else []),
            *(f"  {name:7} {value}" for name, value in rules.items() if value),
            "Paste on an agent"
            + ("" if settings.public_url else " (--set pypi_cache_public_url=… if it knows this proxy by another name)")
            + ":",
            *(f"  {line}" for line in _agent_lines(settings.public_url or _outward(listens))),
        ]

    async def _start_page(self, request: Request) -> Response:
        base = self._base(request)
        text = "\n".join(
            [f"pypi-cache {__version__}", "", "On an agent:", *(f"  {line}" for line in _agent_lines(base)), ""]
        )
        return Response.text(
            200, text + f"\nOr, without any of it: pip install -i {base}/pypi/simple --trusted-host {_hostname(base)} …"
        )

    async def _health(self, _: Request) -> Response:
        trouble = self._service.problems()
        figures = await self._service.store.figures()
        state = {
            "status": "trouble" if trouble else "ok",
            "version": __version__,
            "uptime_seconds": round(time.time() - self._service.started),
            "store": figures,
            "trouble": trouble,
        }
        return _json(state)

    async def _metrics(self, _: Request) -> Response:
        figures = await self._service.store.figures()
        store_trouble = bool(self._service.health.problems)
        return _reply(
            self._service.metrics.prometheus(figures, len(self._service.files.fills), store_trouble=store_trouble),
            "text/plain; version=0.0.4; charset=utf-8",
        )

    async def _stats(self, _: Request) -> Response:
        return _json(
            {
                **self._service.metrics.figures(),
                "store": await self._service.store.figures(),
                "fills": len(self._service.files.fills),
            }
        )

    async def _certificate(self, _: Request) -> Response:
        return _reply(self._ca.read_bytes(), "application/x-pem-file")

    async def _certificates(self, _: Request) -> Response:
        return _reply(self._bundle(), "application/x-pem-file")

    async def _environment(self, request: Request) -> Response:
        base = shlex.quote(self._base(request))
        text = f"""\
# settings=$(curl -fsS {base}/env.sh) && eval "$settings"   makes this shell's pip, uv, poetry, pdm and pipenv use the proxy
PYPI_CACHE_BUNDLE="${{XDG_CACHE_HOME:-$HOME/.cache}}/pypi-cache-bundle.pem"
mkdir -p "${{PYPI_CACHE_BUNDLE%/*}}" && curl -fsS --noproxy '*' -o "$PYPI_CACHE_BUNDLE" {base}/bundle.pem &&
export HTTPS_PROXY={base} https_proxy={base} PIP_CERT="$PYPI_CACHE_BUNDLE" SSL_CERT_FILE="$PYPI_CACHE_BUNDLE" \\
  REQUESTS_CA_BUNDLE="$PYPI_CACHE_BUNDLE" CURL_CA_BUNDLE="$PYPI_CACHE_BUNDLE"
"""
        return _reply(text.encode(), "text/x-shellscript; charset=utf-8")

    def _base(self, request: Request) -> str:
        """The proxy's address as agents know it: the option, else what the request named (the desk has checked it)."""
        return self._service.settings.public_url or request.url.origin


def _reply(body: bytes, content_type: str) -> Response:
    headers = CIMultiDict({"Content-Type": content_type, "Content-Length": str(len(body)), "Cache-Control": "no-store"})
    return Response(status=200, headers=headers, body=body)


def _json(value: object) -> Response:
    return _reply((json.dumps(value, indent=2) + "\n").encode(), "application/json")
