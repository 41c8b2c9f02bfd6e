"""Checks of what surrounds a store: the running proxy, a client's environment, the parent proxy, the upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pkgcache
from pkgcache.cli.checks.agent import Agent, fingerprints, pip_settings
from pkgcache.cli.checks.findings import Finding, State, note, problem, well
from pkgcache.cli.proxy_client import EnvironmentProxy, ProxyClient, ProxyError, shown_url
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.own_ca import own_certificates
from pkgcache.engine.upstream.parent_proxy import parent_of_environment
from pkgcache.rules.routing.indexes import Index, Upstream
from pkgcache.rules.routing.paths import page_at
from pkgcache.rules.simple.representations import Representation

WRONG_URL = "check whether the URL is that of a simple index"
START = "./run.sh" if (Path(pkgcache.__file__).parents[2] / "run.sh").is_file() else "pypi-cache serve"
CUT = ("closed connection", "reset by peer")
"""What http.client and the system say where a connection was accepted, and closed without an answer."""

UPSTREAM_SECONDS = 20.0
ASKED_PROJECT = "pip"
"""A project that every complete index has."""

_ADVICE: Mapping[Failure, str] = {
    Failure.UNREACHABLE: "check DNS and firewall; behind a parent proxy set HTTPS_PROXY for the proxy",
    Failure.TIMEOUT: "check the network; behind a parent proxy set HTTPS_PROXY for the proxy",
    Failure.TLS: "put an inspecting firewall's CA into a file, and name it with SSL_CERT_FILE in the proxy's environment",
    Failure.REFUSED_ADDRESS: "the proxy asks a private address only if pypi_cache_index names it",
}


# The running proxy


def check_proxy(url: str, *, was_named: bool) -> Iterator[Finding]:
    """Check `/healthz`. That no proxy answers is a problem only if the user named it (`was_named`)."""
    try:
        health = ProxyClient(url).health()
    except ProxyError as error:
        is_cut = any(each in str(error) for each in CUT)
        more = "; or it requires a PROXY header (pypi_cache_proxy_protocol): ask through the balancer" if is_cut else ""
        if was_named:
            yield problem("proxy", str(error), f"start it: {START}{more}")
        else:
            yield note("proxy", str(error), f"start it ({START}), or name it with --proxy{more}")
        return
    trouble = health["trouble"]
    if not isinstance(trouble, dict) or not trouble:
        yield well("proxy", f"{shown_url(url)}: pypi-cache {health['version']}, {health['status']}")
        return
    for component, line in trouble.items():
        advice = "it serves what is stored meanwhile; its log says more"
        yield problem("proxy", f"{shown_url(url)}: {component}: {line}", advice)


# A client


def check_client(
    confdir: Path,
    indexes: Sequence[Index],
    environment_proxy: EnvironmentProxy | None,
    proxy: str | None,
    *,
    only_client: bool,
) -> Iterator[Finding]:
    """Check whether pip and uv reach the proxy from this environment (`environment_proxy`: its HTTPS_PROXY), and trust it.

    `proxy` is the URL that the user gave, if any; `only_client`: this machine should be an agent.
    """
    if environment_proxy is None:
        message = "HTTPS_PROXY is not set, so this is not an agent's environment"
        advice = f'eval "$(curl -fsS {shown_url(proxy or "http://proxy.example:8080")}/env.sh || echo false)"'
        yield note("client", message, advice) if only_client else well("client", message)
        return
    shown = f"HTTPS_PROXY={shown_url(environment_proxy.url)}"
    if environment_proxy.client is None:
        if only_client or proxy:
            yield problem(
                "client", f"{shown}: {environment_proxy.error}", "set HTTPS_PROXY to the proxy: http://HOST:PORT"
            )
        else:
            advice = "a proxy started in this environment uses it as its parent"
            yield note("client", f"{shown}: {environment_proxy.error}", advice)
        return
    yield well("client", f"{shown} is a pypi-cache")
    known = sorted(
        {url for index in indexes if "@" not in index.name for url in (str(index.simple), *_file_hosts(index))}
    )
    asked = environment_proxy.client
    ca, clock = _authority(confdir, asked), asked.clock()
    agent = Agent(os.environ, asked.url, known, ca=ca, clock=clock, pip=pip_settings())
    for state, message, advice in agent.check():
        yield Finding("client", cast("State", state), message, advice)


def _file_hosts(index: Index) -> list[str]:
    return [f"https://{upstream.files.authority}/" for upstream in index.upstreams if upstream.files]


def _authority(confdir: Path, client: ProxyClient) -> bytes | None:
    """The fingerprint of the proxy's CA: from the proxy, else from its folder; None if neither can be read."""
    reads: Sequence[Callable[[], bytes]] = (
        lambda: client.own("/ca.pem"),
        lambda: b"".join(own_certificates(confdir)),
    )
    for read in reads:
        with contextlib.suppress(ProxyError, OSError, ValueError):
            return fingerprints(read())[0]  # the one in use
    return None


# Upstreams


def check_parent() -> Iterator[Finding]:
    """Check the parent proxy that a proxy started in this environment would use."""
    parent, trouble = parent_of_environment(())
    if trouble:
        advice = "set HTTPS_PROXY in the proxy's environment to an http:// proxy, or unset it"
        yield problem("parent", trouble, advice)
    elif parent:
        yield well("parent", f"{parent}, for a proxy that is started in this environment")


def check_upstreams(indexes: Sequence[Index]) -> Iterator[Finding]:
    """Check whether each upstream answers with an index page."""
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
    url = page_at(upstream, ASKED_PROJECT)
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
    """Judge an upstream by its answer for the page of ASKED_PROJECT; `kind` is the Content-Type, `took` the time it took."""
    name = upstream.name
    if status in {401, 403}:
        advice = "add them in pypi_cache_index: https://USER:PASSWORD@…"
        return note(check, f"{name} requires credentials ({status})", advice)
    if status == 200 and ("html" in kind or "json" in kind):
        return well(check, f"{name} answers in {took}")
    if status == 404:
        message = f"{name} answers in {took}, and has no {ASKED_PROJECT}"
        advice = "check whether the URL ends with the folder that holds the projects' pages: …/simple"
        return note(check, message, advice) if index.name == "pypi" else well(check, message)
    return problem(check, f"{name} answers {status} {kind or 'without a Content-Type'}", WRONG_URL)
