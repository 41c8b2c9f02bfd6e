"""The doctor's checks of what is around a store: the running proxy, a client's environment, the parent proxy, the upstreams."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from pkgcache.cli.checks.findings import Finding, note, problem, well
from pkgcache.cli.checks.local import CA_NAME
from pkgcache.cli.proxy_client import EnvironmentProxy, ProxyClient, ProxyError, shown_url, without_credentials
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.parent_proxy import parent_of_environment
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.simple.representations import Representation
from pkgcache.units import redact

WRONG_URL = "see whether the URL is that of a simple index"
UPSTREAM_SECONDS = 20.0
ASKED_PROJECT = "pip"
"""Whose page every index of all packages has."""

_BUNDLES = {"PIP_CERT": "pip", "SSL_CERT_FILE": "uv", "REQUESTS_CA_BUNDLE": "poetry and pipenv"}
_SETTING = re.compile(r"^[^=\s]*\.(index-url|extra-index-url|find-links|proxy|cert|no-index)='(.*)'$", re.MULTILINE)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_ADVICE: Mapping[Failure, str] = {
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
        if asked_for:
            yield problem("proxy", str(error), "start it: ./run.sh")
        else:
            yield note("proxy", str(error), "start it (./run.sh), or name it with --proxy")
        return
    trouble = health["trouble"]
    if not isinstance(trouble, dict) or not trouble:
        yield well("proxy", f"{shown_url(url)}: pypi-cache {health['version']}, {health['status']}")
        return
    for component, line in trouble.items():
        todo = "what is stored is served meanwhile; its log says more"
        yield problem("proxy", f"{shown_url(url)}: {component}: {line}", todo)


# A client


def check_client(
    confdir: Path, indexes: Sequence[Index], agents: EnvironmentProxy | None, proxy: str | None, *, only_client: bool
) -> Iterator[Finding]:
    """Whether this environment's pip and uv come to the proxy (`agents`), and trust it; `proxy` is the one that was named."""
    if agents is None:
        said = "this environment is no agent's: HTTPS_PROXY is not set"
        todo = f'settings=$(curl -fsS {shown_url(proxy or "http://proxy.example:8080")}/env.sh) && eval "$settings"'
        yield note("client", said, todo) if only_client else well("client", said)
        return
    shown = f"HTTPS_PROXY={shown_url(agents.url)}"
    if agents.client is None:
        if only_client or proxy:
            yield problem("client", f"{shown}: {agents.error}", "let HTTPS_PROXY name the proxy: http://HOST:PORT")
        else:
            todo = "it is the proxy's parent, if the proxy has this environment"
            yield note("client", f"{shown}: {agents.error}", todo)
        return
    yield well("client", f"{shown} is a pypi-cache")
    yield from _check_spellings(agents.url)
    yield from _check_no_proxy(indexes)
    yield from _check_trust(confdir, agents.client)
    yield from _check_pip(indexes, agents.client)


def _check_spellings(named: str) -> Iterator[Finding]:
    """curl and others take the lower-case name first, requests too."""
    upper, lower = os.environ.get("HTTPS_PROXY"), os.environ.get("https_proxy")
    if upper and lower and upper != lower:
        said = f"https_proxy={shown_url(lower)} is another, and wins in most clients"
        yield problem("client", said, f"export https_proxy={shown_url(named)}")


def _check_no_proxy(indexes: Sequence[Index]) -> Iterator[Finding]:
    value = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = {
        url.authority
        for index in indexes
        for url in (index.simple, *(up.files for up in index.upstreams if up.files))
        if "@" not in index.name
    }
    if passed := sorted(host for host in hosts if proxy_bypass_environment(host, {"no": value})):
        said = f"NO_PROXY={value} leads past the proxy to {', '.join(passed)}"
        yield problem("client", said, "take these out of NO_PROXY and no_proxy")


def _check_trust(confdir: Path, client: ProxyClient) -> Iterator[Finding]:
    """pip takes PIP_CERT (or REQUESTS_CA_BUNDLE, but not with --proxy), uv SSL_CERT_FILE, poetry REQUESTS_CA_BUNDLE."""
    ca = _authority(confdir, client)
    todo = f"curl -fsS --noproxy '*' {shown_url(client.url)}/bundle.pem -o pypi-cache.pem, and let it name that file"
    for name, whose in _BUNDLES.items():
        path = os.environ.get(name, "")
        if not path:
            yield note("client", f"{name} is not set: {whose} will not trust the proxy's certificates", todo)
            continue
        try:
            found = fingerprints(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            yield problem("client", f"{name}={path} cannot be read: {error}", todo)
            continue
        if ca is not None and ca not in found:
            yield problem("client", f"{name}={path} does not hold the proxy's CA", todo)
        elif len(found) < 2:
            yield problem("client", f"{name}={path} holds the proxy's CA alone: tunnelled hosts are not trusted", todo)
        else:
            yield well("client", f"{name}={path} holds the proxy's CA")


def _authority(confdir: Path, client: ProxyClient) -> bytes | None:
    """The fingerprint of the proxy's CA: as it says itself, else as its folder has it."""
    reads: Sequence[Callable[[], bytes]] = (lambda: client.own("/ca.pem"), (confdir / CA_NAME).read_bytes)
    for read in reads:
        with contextlib.suppress(ProxyError, OSError, ValueError):
            return next(iter(fingerprints(read())))
    return None


def fingerprints(bundle: bytes) -> set[bytes]:
    """The SHA-256 of each certificate (PEM). Raises ValueError where there is none.

    They are not parsed: some public roots are not as RFC 5280 wants them.
    """
    found = {hashlib.sha256(base64.b64decode(each)).digest() for each in _PEM.findall(bundle)}
    if not found:
        raise ValueError("no certificate in it")
    return found


def _check_pip(indexes: Sequence[Index], client: ProxyClient) -> Iterator[Finding]:
    """pip's own settings, which can lead it elsewhere."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    known = {str(index.simple).rstrip("/") for index in indexes}
    for name, value in _SETTING.findall(done.stdout):
        if name in {"index-url", "extra-index-url"}:
            for url in value.split():
                at_proxy = (urlsplit(url).hostname, urlsplit(url).port) == (client.host, client.port)
                if not at_proxy and without_credentials(url)[0].rstrip("/") not in known:
                    said = f"pip's {name} is {redact(url)}, which the proxy knows no index by: it is not cached"
                    yield note("client", said, f"start the proxy with --set 'pypi_cache_index=NAME={redact(url)}'")
        elif name == "find-links":
            said = f"pip's find-links is {redact(value)}: what lies there comes past the proxy"
            yield note("client", said, "pip config unset it, if it is not meant")
        elif name == "proxy" and value.rstrip("/") != client.url:
            said = f"pip's proxy is {shown_url(value)}, and wins over HTTPS_PROXY"
            yield problem("client", said, "pip config unset global.proxy (or user., site.)")


# Upstreams


def check_parent() -> Iterator[Finding]:
    """The parent proxy that a proxy started in this environment would take."""
    parent, trouble = parent_of_environment(())
    if trouble:
        todo = "let HTTPS_PROXY of the proxy's environment name an http:// proxy, or unset it"
        yield problem("parent", trouble, todo)
    elif parent:
        yield well("parent", f"{parent}, for a proxy that is started in this environment")


def check_upstreams(indexes: Sequence[Index]) -> Iterator[Finding]:
    """Whether each upstream answers with an index page."""
    upstreams = [(index, upstream) for index in indexes if "@" not in index.name for upstream in index.upstreams]
    yield from asyncio.run(_ask_all(upstreams))


async def _ask_all(upstreams: Sequence[tuple[Index, Upstream]]) -> list[Finding]:
    named = {(up.simple.host, up.simple.port) for _, up in upstreams}
    client = UpstreamClient(
        may_be_private=named.__contains__, via="1.1 pypi-cache-doctor", parent=parent_of_environment(())[0]
    )
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
        async with (
            asyncio.timeout(UPSTREAM_SECONDS),
            client.request("GET", url, headers, upstream.authorization) as answer,
        ):
            status, kind = answer.status, answer.headers.get("Content-Type", "")
    except UpstreamError as error:
        return problem(check, str(error), _ADVICE.get(error.failure, WRONG_URL))
    except TimeoutError:
        return problem(check, f"{upstream.name}: no answer within {UPSTREAM_SECONDS:g} s", _ADVICE[Failure.TIMEOUT])
    return judged(check, index, upstream, status, kind, f"{time.monotonic() - began:.1f} s")


def judged(check: str, index: Index, upstream: Upstream, status: int, kind: str, took: str) -> Finding:
    """What an upstream's answer to the page of ASKED_PROJECT says of it: `kind` is the Content-Type."""
    name = upstream.name
    if status in {401, 403}:
        todo = "write them into pypi_cache_index: https://USER:PASSWORD@…"
        return note(check, f"{name} wants credentials ({status})", todo)
    if status == 200 and ("html" in kind or "json" in kind):
        return well(check, f"{name} answers in {took}")
    if status == 404:
        said = f"{name} answers in {took}, and has no {ASKED_PROJECT}"
        todo = "see whether the URL ends on the folder that holds the projects' pages: …/simple"
        return note(check, said, todo) if index.name == "pypi" else well(check, said)
    return problem(check, f"{name} answers {status} {kind or 'without a type'}", WRONG_URL)
