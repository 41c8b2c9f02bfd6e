"""One upstream with one proxy before it, for a whole module: each test publishes projects of its own, so nothing is shared.

Also what a client makes of a page: its links, joined as pip joins them.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

from tests.support import names
from tests.support.authority import Authority
from tests.support.index import HTML_TYPE, JSON_TYPE, PageStyle
from tests.support.proxy import Options, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import PATIENCE, eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Via, fetch

ACCEPTS: Mapping[str, str] = {"json": JSON_TYPE, "html-v1": HTML_TYPE, "html": "text/html"}
"""An Accept header for each of the three representations."""


@dataclass(frozen=True, slots=True)
class House:
    """A running proxy and the upstream of its index `pypi`."""

    upstream: Upstream
    proxy: Proxy

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        via: Via | None = None,
    ) -> Fetched:
        """One request: a path goes to the proxy's own address, https through CONNECT, http in absolute form."""
        via = via or ("own" if url.startswith("/") else "connect" if url.startswith("https:") else "absolute")
        full = f"{self.proxy.url}{url}" if url.startswith("/") else url
        return fetch(self.proxy.port, full, ca=self.proxy.ca, via=via, method=method, headers=headers)

    def direct(self, url: str, **headers: str) -> Fetched:
        """What the upstream itself answers, past the proxy. An underscore in a keyword is a hyphen in its header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(0, url, via="direct", ca=self.proxy.env["SSL_CERT_FILE"], headers=named)

    def page(self, project: str, kind: str = "json", **headers: str) -> Fetched:
        """A project's page at the default index, in one representation."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.fetch(names.page_url(project), headers={"Accept": ACCEPTS[kind], **named})

    def page_requests(self, project: str) -> int:
        """How often the upstream was asked for a project's page."""
        return self.upstream.count(path_contains=f"/simple/{project}/")

    def file_requests(self, release: ReleaseFile) -> int:
        """How often the upstream was asked for a file itself (not for its metadata)."""
        ends = (release.filename, release.quoted_path.rpartition("/")[2])
        return sum(each.path.partition("?")[0].endswith(ends) for each in self.upstream.requests)


@contextmanager
def open_house(
    ca: Authority,
    folder: Path,
    *,
    options: Options | None = None,
    tls: bool = True,
    more_indexes: Sequence[str] = (),
) -> Iterator[House]:
    """Start both; at the end the proxy's output must hold no traceback. `more_indexes`: `NAME=PATH` on the upstream."""
    with Upstream(ca if tls else None) as upstream:
        joined: dict[str, Any] = dict(options or {})
        named = [each.replace("=", f"={upstream.origin}", 1) for each in more_indexes]
        joined["pypi_cache_index"] = [f"pypi={upstream.index_url}", *named]
        with Proxy(folder, options=joined, upstream_ca=ca.bundle) as proxy:
            yield House(upstream, proxy)
        assert not proxy.complaints, f"{proxy.complaints}\n{proxy.output}"


@contextmanager
def tidied(house: House) -> Iterator[House]:
    """The shared house for one test; afterwards its upstream is up, behaves well and has the usual style again."""
    house.upstream.clear()
    try:
        yield house
    finally:
        house.upstream.unscript()
        house.upstream.up()
        house.upstream.mode = "both"
        house.upstream.style = PageStyle()
        house.upstream.gzips_pages = False


def links_of(page: Fetched, seen: str) -> list[str]:
    """The links that a client sees on a page that it asked for at `seen`: absolute, fragments kept, dots as joined."""
    text = page.body.decode()
    if "json" in (page.headers["Content-Type"] or ""):
        return [urljoin(seen, file["url"]) for file in json.loads(text)["files"]]
    base = re.search(r'<base href="([^"]*)"', text)
    start = urljoin(seen, html.unescape(base[1])) if base else seen
    return [urljoin(start, html.unescape(link)) for link in re.findall(r'<a href="([^"]*)"', text)]


def versions_on(page: Fetched) -> set[str]:
    """The versions that a page, JSON or HTML, has files of."""
    assert page.status == 200, page.body
    links = links_of(page, "https://seen.example/simple/it/")
    return {link.partition("#")[0].rpartition("/")[2].split("-")[1].removesuffix(".tar.gz") for link in links}


def cache_status_of(answer: Fetched) -> str:
    """The Cache-Status field of an answer; empty where it has none."""
    return answer.headers["Cache-Status"] or ""


def published(upstream: Upstream, name: str, size: int = 1_000_000, *, seed: int = 0) -> ReleaseFile:
    """A wheel with `size` bytes in it that nothing compresses, put on the upstream."""
    release = make_wheel(name, payload_size=size, seed=seed)
    upstream.add(release)
    return release


def leftovers(store: Path, timeout: float = PATIENCE) -> list[str]:
    """The names of the growing files in a store, once the fills have had time to end: none, or AssertionError."""
    return eventually(
        lambda: sorted(path.name for path in (store / "growing").iterdir()), lambda left: not left, timeout=timeout
    )


def without_fragments(links: Sequence[str]) -> list[str]:
    """What goes on the wire."""
    return [urldefrag(link).url for link in links]


def slug(of: object) -> str:
    """A project name made of anything: what parametrised tests publish, each its own.

    >>> slug("pip HTTPS_PROXY PIP_CERT")
    'pip-https-proxy-pip-cert'
    """
    return re.sub(r"[^a-z0-9]+", "-", str(of).lower()).strip("-")
