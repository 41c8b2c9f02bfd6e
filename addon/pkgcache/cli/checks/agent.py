"""pypi-cache's doctor for an agent: does this machine reach the proxy, trust it, and go past it nowhere? It changes nothing.

    curl -fsS http://proxy.example:8080/doctor.py | python3 -
    curl -fsS http://proxy.example:8080/doctor.py | python3 - flask     what is hidden of flask, and why?

The proxy hands out this very file, and `pypi-cache doctor --client` imports it. So it needs nothing but Python 3.7 or newer, where
pypi-cache is not installed. Exit code 1 if there is a problem.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

SERVED: Mapping[str, Any] = {}
"""Filled in by the proxy: its own URL (`proxy`), and the indexes that it caches (`indexes`)."""

BUNDLES = {"PIP_CERT": "pip", "SSL_CERT_FILE": "uv", "REQUESTS_CA_BUNDLE": "poetry and pipenv"}
INDEXES_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
CLOCK_SECONDS = 300
_SETTING = re.compile(r"^[^=\s]*\.(index-url|extra-index-url|find-links|proxy|cert|trusted-host)='(.*)'$", re.MULTILINE)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
_UNSET = "pip config unset global.{} (or user., site.)"


class Found(NamedTuple):
    """What a check found: `state` is well, note (may be intended) or problem. `advice` is empty if there is nothing to do."""

    state: str
    message: str
    advice: str = ""


@dataclass
class Agent:
    """An environment and a proxy. `ca` and `clock` are the proxy's, and None if it does not tell; `pip` is `pip_settings()`."""

    environment: Mapping[str, str]
    proxy: str
    indexes: Sequence[str]
    ca: bytes | None
    clock: float | None
    pip: Sequence[tuple[str, str]]

    def check(self) -> Iterator[Found]:
        """Make all checks."""
        yield from self._spellings()
        yield from self.check_clock()
        yield from self._no_proxy()
        yield from self._trust()
        yield from self.check_pip()
        yield from self._uv()

    def _spellings(self) -> Iterator[Found]:
        # curl, requests and others take the lower-case name first.
        upper, lower = (self.environment.get(name) for name in ("HTTPS_PROXY", "https_proxy"))
        if upper and lower and upper != lower:
            message = f"https_proxy={shown(lower)} is different, and most clients prefer it"
            yield Found("problem", message, f"export https_proxy={shown(upper)}")

    def check_clock(self) -> Iterator[Found]:
        """Check the clock against the proxy's."""
        off = 0 if self.clock is None else time.time() - self.clock
        if abs(off) > CLOCK_SECONDS:
            message = (
                f"this machine's clock is {shown_duration(abs(off))} {'ahead of' if off > 0 else 'behind'} the proxy's"
            )
            yield Found("problem", f"{message}: certificates look expired, or not valid yet", "set the clock (NTP)")

    def _no_proxy(self) -> Iterator[Found]:
        value = self.environment.get("no_proxy") or self.environment.get("NO_PROXY") or ""
        hosts = {urllib.parse.urlsplit(url).netloc for url in self.indexes}
        bypassing = sorted(host for host in hosts if urllib.request.proxy_bypass_environment(host, {"no": value}))  # type: ignore[attr-defined]
        if bypassing:
            message = f"NO_PROXY={value} makes clients bypass the proxy for {', '.join(bypassing)}"
            yield Found("problem", message, "remove these from NO_PROXY and no_proxy")

    def _trust(self) -> Iterator[Found]:
        # pip takes PIP_CERT (or REQUESTS_CA_BUNDLE, but not with --proxy), uv SSL_CERT_FILE, poetry REQUESTS_CA_BUNDLE.
        advice = f"curl -fsS --noproxy '*' {shown(self.proxy)}/bundle.pem -o pypi-cache.pem, and set the variable to that file"
        places = {name: self.environment.get(name, "") for name in BUNDLES}
        certs = [value for name, value in self.pip if name == "cert"]
        if not any(places.values()) and not certs:
            if self.ca is not None and self.ca in {
                digest(each) for each in ssl.create_default_context().get_ca_certs(True)
            }:
                yield Found("well", "this machine's own roots hold the proxy's CA")
                return
            message = (
                "no certificates are set with HTTPS_PROXY: installs end with `unable to get local issuer certificate`"
            )
            script = f'eval "$(curl -fsS {shown(self.proxy)}/env.sh || echo false)"'
            yield Found("problem", message, f"{script}   (or set {', '.join(BUNDLES)})")
            return
        if certs and not places["PIP_CERT"]:
            yield self._bundle("pip's cert", certs[-1], advice)
        for name, tool in BUNDLES.items():
            if places[name]:
                yield self._bundle(name, places[name], advice)
            elif not (name == "PIP_CERT" and certs):
                yield Found("note", f"{name} is not set: {tool} will not trust the proxy's certificates", advice)

    def _bundle(self, name: str, path: str, advice: str) -> Found:
        try:
            with open(path, "rb") as file:
                found = fingerprints(file.read())
        except (OSError, ValueError) as error:
            return Found("problem", f"{name}={path} cannot be read: {error}", advice)
        if self.ca is not None and self.ca not in found:
            return Found("problem", f"{name}={path} does not hold the proxy's CA", advice)
        if len(found) < 2:
            return Found("problem", f"{name}={path} holds only the proxy's CA: tunnelled hosts are not trusted", advice)
        return Found("well", f"{name}={path} holds the proxy's CA")

    def check_pip(self) -> Iterator[Found]:
        """Check pip's own configuration, its variables among it, which can lead it past the proxy."""
        trusted = " ".join(value for name, value in self.pip if name == "trusted-host").split()
        for name, value in self.pip:
            if name in {"index-url", "extra-index-url"}:
                for url in value.split():
                    yield from self._index(f"pip's {name}", url, trusted)
            elif name == "find-links":
                message = f"pip's find-links is {shown(value)}: files from there bypass the proxy"
                yield Found("note", message, f"{_UNSET.format(name)}, if it is not intended")
            elif name == "proxy" and authority(value) != authority(self.proxy):
                yield Found("problem", f"pip's proxy is {shown(value)}, and overrides HTTPS_PROXY", _UNSET.format(name))

    def _uv(self) -> Iterator[Found]:
        for name in INDEXES_OF_UV:
            for url in self.environment.get(name, "").split():
                yield from self._index(name, url.rpartition("=")[2], None)

    def _index(self, name: str, url: str, trusted: Sequence[str] | None) -> Iterator[Found]:
        """Check an index of pip's or uv's; `trusted` are pip's trusted hosts."""
        plain = _LOGIN.sub("", url).rstrip("/")
        host, port = authority(url)
        if (host, port) == authority(self.proxy):
            if trusted is not None and plain.startswith("http:") and not {host, f"{host}:{port}"} & {*trusted, *LOCAL}:
                message = f"{name} is at the proxy, by plain http, and pip ignores hosts that it does not trust"
                yield Found("problem", message, f"pip config set global.trusted-host {host}")
        elif plain not in {each.rstrip("/") for each in self.indexes}:
            message = f"{name} is {shown(url)}, which is no index of the proxy: it is not cached"
            yield Found("note", message, f"start the proxy with --set 'pypi_cache_index=NAME={shown(url)}'")
        elif plain.startswith("http:") and not (
            self.environment.get("HTTP_PROXY") or self.environment.get("http_proxy")
        ):
            yield Found(
                "problem",
                f"{name} is {shown(url)}: plain http goes past the proxy",
                f"export http_proxy={shown(self.proxy)}",
            )


LOCAL = ("localhost", "127.0.0.1", "::1")


def pip_settings() -> Sequence[tuple[str, str]]:
    """Ask pip for those of its settings that matter here, from its files and variables; none where there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return [(name, value) for name, value in _SETTING.findall(done.stdout.decode(errors="replace")) if value]


def authority(url: str) -> tuple[str, int]:
    """The host and the port of a URL; empty for a text that is none."""
    try:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", 0


def shown(url: str) -> str:
    """A URL without its login.

    >>> shown("user:secret@proxy.example:8080"), shown("https://user:secret@index.example/simple")
    ('http://***@proxy.example:8080', 'https://***@index.example/simple')
    """
    return _LOGIN.sub("***@", url if "://" in url or url.startswith("/") else f"http://{url}")


def shown_duration(seconds: float) -> str:
    """A time in the largest unit of which there are two.

    >>> shown_duration(400), shown_duration(7300), shown_duration(9 * 86400)
    ('6 minutes', '2 hours', '9 days')
    """
    for name, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}"
    return f"{seconds // 60:.0f} minutes"


def digest(certificate: bytes) -> bytes:
    """The SHA-256 of a certificate (DER)."""
    return hashlib.sha256(certificate).digest()


def fingerprints(bundle: bytes) -> list[bytes]:
    """The SHA-256 of each certificate of a bundle (PEM), each once. Raises ValueError if there is none.

    The certificates are not parsed, since some public roots do not conform to RFC 5280.
    """
    found = list(dict.fromkeys(digest(base64.b64decode(each)) for each in _PEM.findall(bundle)))
    if not found:
        raise ValueError("it holds no certificate")
    return found


def _own(proxy: str, path: str, login: str = "") -> bytes:
    """GET one of the proxy's pages, past any other proxy. `login` is `user:password`. Raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    request = urllib.request.Request(_LOGIN.sub("", proxy).rstrip("/") + path, headers=headers)  # noqa: S310  the proxy
    with opener.open(request, timeout=60 if path.startswith("/why/") else 10) as answer:
        body: bytes = answer.read()
        return body


def diagnose(environment: Mapping[str, str], proxy: str, indexes: Sequence[str]) -> Iterator[Found]:
    """Ask the proxy, and check the environment."""
    used = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    if proxy and used and authority(used) != authority(proxy):
        yield Found("problem", f"HTTPS_PROXY={shown(used)} is another proxy", f"set HTTPS_PROXY={shown(proxy)}")
        return
    proxy = proxy or used
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        health = json.loads(_own(proxy, "/healthz"))
        ca = fingerprints(_own(proxy, "/ca.pem"))[0]  # the one in use
    except (OSError, ValueError) as error:
        message = f"{shown(proxy)} does not answer as a pypi-cache: {error}"
        yield Found("problem", message, "set HTTPS_PROXY to the proxy: http://HOST:PORT")
        return
    yield Found("well", f"{shown(proxy)} is a pypi-cache")
    agent = Agent(environment, proxy, indexes, ca=ca, clock=health.get("time"), pip=pip_settings())
    if not used and not [value for name, value in agent.pip if name == "proxy"]:
        at_proxy = [value for name, value in agent.pip if name == "index-url" and authority(value) == authority(proxy)]
        advice = f'eval "$(curl -fsS {shown(proxy)}/env.sh || echo false)"'
        if not at_proxy:
            yield Found("problem", "HTTPS_PROXY is not set, so nothing goes through the proxy", advice)
            return
        yield Found("well", f"HTTPS_PROXY is not set, and pip's index-url is {shown(at_proxy[-1])}")
        yield from agent.check_clock()
        yield from agent.check_pip()
        return
    yield from agent.check()


def what_is_hidden(environment: Mapping[str, str], proxy: str, name: str) -> Iterator[Found]:
    """Ask the proxy what each index offers of a project or file, and why the rest is hidden: its page `/why/NAME`."""
    used = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    login = urllib.parse.unquote(_LOGIN.findall(used)[0][:-1]) if _LOGIN.search(used) else ""
    try:
        text = _own(proxy or used, "/why/" + urllib.parse.quote(name, safe=""), login).decode()
    except OSError as error:
        yield Found("problem", f"{name}: the proxy does not say what is hidden of it: {error}")
        return
    marked = " is marked as yanked "
    offered = " are hidden" in text or " is offered" in text or marked in text
    for paragraph in re.split(r"\n(?! )", text.strip()):
        is_whole = ("none are hidden" in paragraph or " is offered" in paragraph) and marked not in paragraph
        yield Found("well" if is_whole else "note" if offered else "problem", paragraph.replace("\n", "\n        "))


def everything(environment: Mapping[str, str], names: Sequence[str]) -> Iterator[Found]:
    """Make all checks, and ask for these projects and files."""
    proxy = SERVED.get("proxy", "")
    yield from diagnose(environment, proxy, SERVED.get("indexes", ()))
    for name in names:
        yield from what_is_hidden(environment, proxy, name)


def main(environment: Mapping[str, str] = os.environ, names: Sequence[str] = ()) -> int:
    """Print what was found: the exit code."""
    problems = 0
    for state, message, advice in everything(environment, names):
        problems += state == "problem"
        print(f"{ {'well': 'ok     ', 'note': 'note   '}.get(state, 'PROBLEM') } {message}")
        if advice:
            print(f"        -> {advice}")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main(names=sys.argv[1:]))
