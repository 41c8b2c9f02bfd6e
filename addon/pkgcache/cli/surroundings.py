"""The doctor's checks of what is around a store: the running proxy, a client's environment, the parent proxy, the upstreams."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pkgcache.cli.checkups import CA_NAME, Finding
from pkgcache.cli.client import ProxyClient, ProxyError
from pkgcache.cli.common import Place
from pkgcache.engine.upstream import Failure, UpstreamClient, UpstreamError, parent_proxy
from pkgcache.rules.indexes import Index, Upstream
from pkgcache.rules.media import Representation
from pkgcache.settings import redact

UPSTREAM_SECONDS = 20.0
ASKED_PROJECT = "pip"
"""Whose page every index of all packages has."""

_BUNDLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_SETTING = re.compile(r"^[^=\s]*\.(index-url|extra-index-url|find-links|proxy|cert|no-index)='(.*)'$", re.MULTILINE)
_TODO: Mapping[Failure, str] = {
    Failure.UNREACHABLE: "see to name service and firewall; behind a parent proxy set HTTPS_PROXY for the proxy",
    Failure.TIMEOUT: "see to the network; behind a parent proxy set HTTPS_PROXY for the proxy",
    Failure.TLS: "an inspecting firewall's CA belongs into a file that SSL_CERT_FILE of the proxy's environment names",
    Failure.REFUSED_ADDRESS: "a private address is asked only if pypi_cache_index names it",
}


# The running proxy


def check_proxy(url: str, *, asked_for: bool) -> Iterator[Finding]:
    """What `/healthz` says."""
    try:
        health = ProxyClient(url).health()
    except ProxyError as error:
        state, todo = (
            ("problem", "start it: ./run.sh") if asked_for else ("note", "start it (./run.sh), or name it with --proxy")
        )
        yield Finding("proxy", "problem" if state == "problem" else "note", str(error), todo)
        return
    trouble = health["trouble"]
    if not isinstance(trouble, dict) or not trouble:
        yield Finding("proxy", "well", f"{redact(url)}: pypi-cache {health['version']}, {health['status']}")
        return
    for component, line in trouble.items():
        yield Finding(
            "proxy",
            "problem",
            f"{redact(url)}: {component}: {line}",
            "what is stored is served meanwhile; its log says more",
        )


# A client


def check_client(place: Place, indexes: Sequence[Index], proxy: str | None, *, only_client: bool) -> Iterator[Finding]:
    """Whether this environment's pip and uv come to the proxy, and trust it."""
    named = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or ""
    if not named:
        wanted = proxy or "http://proxy.example:8080"
        todo = f'settings=$(curl -fsS {redact(wanted)}/env.sh) && eval "$settings"' if only_client else ""
        yield Finding(
            "client", "note" if only_client else "well", "this environment is no agent's: HTTPS_PROXY is not set", todo
        )
        return
    try:
        client = ProxyClient(named)
        client.health()
    except ProxyError as error:
        state = "problem" if only_client or proxy else "note"
        todo = (
            "let HTTPS_PROXY name the proxy: http://HOST:PORT"
            if state == "problem"
            else "it is the proxy's parent, if the proxy has this environment"
        )
        yield Finding(
            "client", "problem" if state == "problem" else "note", f"HTTPS_PROXY={redact(named)}: {error}", todo
        )
        return
    yield Finding("client", "well", f"HTTPS_PROXY={redact(named)} is a pypi-cache")
    yield from _check_spellings(named)
    yield from _check_no_proxy(indexes)
    yield from _check_trust(place, client)
    yield from _check_pip(indexes, client)


def _check_spellings(named: str) -> Iterator[Finding]:
    """curl and others take the lower-case name first, requests too."""
    upper, lower = os.environ.get("HTTPS_PROXY"), os.environ.get("https_proxy")
    if upper and lower and upper != lower:
        yield Finding(
            "client",
            "problem",
            f"https_proxy={redact(lower)} is another, and wins in most clients",
            f"export https_proxy={redact(named)}",
        )


def _check_no_proxy(indexes: Sequence[Index]) -> Iterator[Finding]:
    value = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = {
        url.authority
        for index in indexes
        for url in (index.simple, *(up.files for up in index.upstreams if up.files))
        if "@" not in index.name
    }
    passed = sorted(host for host in hosts if proxy_bypass_environment(host, {"no": value}))
    if passed:
        yield Finding(
            "client",
            "problem",
            f"NO_PROXY={value} leads past the proxy to {', '.join(passed)}",
            "take these out of NO_PROXY and no_proxy",
        )


def _check_trust(place: Place, client: ProxyClient) -> Iterator[Finding]:
    """pip takes PIP_CERT (or REQUESTS_CA_BUNDLE, but not with --proxy), uv SSL_CERT_FILE, poetry REQUESTS_CA_BUNDLE."""
    ca = _authority(place, client)
    todo = f"curl -fsS --noproxy '*' {redact(client.url)}/bundle.pem -o pypi-cache.pem, and let it name that file"
    for name in _BUNDLES:
        path = os.environ.get(name, "")
        whose = {"PIP_CERT": "pip", "SSL_CERT_FILE": "uv", "REQUESTS_CA_BUNDLE": "poetry and pipenv"}[name]
        if not path:
            yield Finding("client", "note", f"{name} is not set: {whose} will not trust the proxy's certificates", todo)
            continue
        try:
            found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            yield Finding("client", "problem", f"{name}={path} cannot be read: {error}", todo)
            continue
        if ca is not None and ca not in {each.fingerprint(hashes.SHA256()) for each in found}:
            yield Finding("client", "problem", f"{name}={path} does not hold the proxy's CA", todo)
        elif len(found) < 2:
            yield Finding(
                "client", "problem", f"{name}={path} holds the proxy's CA alone: tunnelled hosts are not trusted", todo
            )
        else:
            yield Finding("client", "well", f"{name}={path} holds the proxy's CA")


def _authority(place: Place, client: ProxyClient) -> bytes | None:
    """The fingerprint of the proxy's CA: as it says itself, else as its folder has it."""
    try:
        return x509.load_pem_x509_certificate(client.own("/ca.pem")).fingerprint(hashes.SHA256())
    except (ProxyError, ValueError):
        pass
    try:
        return x509.load_pem_x509_certificate((place.confdir / CA_NAME).read_bytes()).fingerprint(hashes.SHA256())
    except (OSError, ValueError):
        return None


def _check_pip(indexes: Sequence[Index], client: ProxyClient) -> Iterator[Finding]:
    """pip's own settings, which can lead it elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    )
    known = {str(index.simple).rstrip("/") for index in indexes}
    for name, value in _SETTING.findall(done.stdout):
        shown = redact(value)
        if name in {"index-url", "extra-index-url"}:
            for url in value.split():
                at_proxy = (urlsplit(url).hostname, urlsplit(url).port) == (client.host, client.port)
                if re.sub(r"//[^/@]*@", "//", url).rstrip("/") not in known and not at_proxy:
                    said = f"pip's {name} is {redact(url)}, which the proxy knows no index by: it is not cached"
                    yield Finding(
                        "client", "note", said, f"start the proxy with --set 'pypi_cache_index=NAME={redact(url)}'"
                    )
        elif name == "find-links":
            yield Finding(
                "client",
                "note",
                f"pip's find-links is {shown}: what lies there comes past the proxy",
                "pip config unset it, if it is not meant",
            )
        elif name == "proxy" and value.rstrip("/") != client.url:
            yield Finding(
                "client",
                "problem",
                f"pip's proxy is {shown}, and wins over HTTPS_PROXY",
                "pip config unset global.proxy (or user., site.)",
            )


# Upstreams


def check_parent() -> Iterator[Finding]:
    """The parent proxy that a proxy started in this environment would take."""
    parent, trouble = parent_proxy(())
    if trouble:
        yield Finding(
            "parent",
            "problem",
            trouble,
            "let HTTPS_PROXY of the proxy's environment name an http:// proxy, or unset it",
        )
    elif parent:
        yield Finding("parent", "well", f"{redact(parent)}, for a proxy that is started in this environment")


def check_upstreams(indexes: Sequence[Index]) -> Iterator[Finding]:
    """Whether each upstream answers with an index page."""
    upstreams = [(index, upstream) for index in indexes if "@" not in index.name for upstream in index.upstreams]
    yield from asyncio.run(_ask_all(upstreams))


async def _ask_all(upstreams: Sequence[tuple[Index, Upstream]]) -> list[Finding]:
    named = {(up.simple.host, up.simple.port) for _, up in upstreams}
    client = UpstreamClient(operators=named.__contains__, via="1.1 pypi-cache-doctor", parent=parent_proxy(())[0])
    client.open()
    try:
        return list(await asyncio.gather(*(_ask(client, index, upstream) for index, upstream in upstreams)))
    finally:
        await client.close()


async def _ask(client: UpstreamClient, index: Index, upstream: Upstream) -> Finding:
    check = f"upstream of {index.name}"
    url = upstream.simple.with_path(f"{upstream.simple.path}{ASKED_PROJECT}/")
    began = time.monotonic()
    headers = {"Accept": f"{Representation.JSON.content_type}, text/html;q=0.1", "Accept-Encoding": "gzip"}
    try:
        async with asyncio.timeout(UPSTREAM_SECONDS), client.ask("GET", url, headers, upstream.authorization) as answer:
            status, kind = answer.status, answer.headers.get("Content-Type", "")
    except UpstreamError as error:
        return Finding(
            check, "problem", str(error), _TODO.get(error.failure, "see whether the URL is that of a simple index")
        )
    except TimeoutError:
        return Finding(
            check, "problem", f"{upstream.name}: no answer within {UPSTREAM_SECONDS:g} s", _TODO[Failure.TIMEOUT]
        )
    took = f"{time.monotonic() - began:.1f} s"
    if status in {401, 403}:
        return Finding(
            check,
            "note",
            f"{upstream.name} wants credentials ({status})",
            "write them into pypi_cache_index: https://USER:PASSWORD@…",
        )
    if status == 200 and ("html" in kind or "json" in kind):
        return Finding(check, "well", f"{upstream.name} answers in {took}")
    if status == 404:
        state = "note" if index.name == "pypi" else "well"
        todo = (
            "see whether the URL ends on the folder that holds the projects' pages: …/simple" if state == "note" else ""
        )
        return Finding(
            check,
            "note" if state == "note" else "well",
            f"{upstream.name} answers, and has no {ASKED_PROJECT} ({took})",
            todo,
        )
    return Finding(
        check,
        "problem",
        f"{upstream.name} answers {status} {kind or 'without a type'}",
        "see whether the URL is that of a simple index",
    )
