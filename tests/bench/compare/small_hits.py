"""B2 and B3: index pages that are in every cache, on kept connections and on a new connection each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.compare import contenders, loads
from tests.bench.compare.contenders import DEVPI, FLOWS, NGINX_NAME, PROXPI, SQUID_NAME, Peer
from tests.bench.compare.figures import OURS, PROCESSOR, Goal, Row
from tests.bench.compare.loads import RATE, Pages
from tests.bench.compare.turns import Size, Work, gathered, in_turns
from tests.bench.tools import Stage
from tests.support.index import JSON_TYPE, LinkForm, PageStyle, project_json
from tests.support.names import FILES_ORIGIN, INDEX_URL
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel

STYLE: Final = PageStyle(form=LinkForm.CANONICAL, files_origin=FILES_ORIGIN)
"""With these links all caches have the same bytes."""
LINKS: Final = {"1 kB": 1, "28 kB": 47, "1 MB": 1700}
PAGES: Final = {"1 kB": 100, "28 kB": 400, "1 MB": 30}
NEW_HEADS: Final = ", no head seen before"


def publish_pages(upstream: Upstream, pages: int, links: int, folder: Path) -> dict[str, tuple[Path, str]]:
    """Put up `proj0` and on, under the paths of reverse and of forward proxies; also path → file and type."""
    release, answers = make_wheel("any"), {}
    for number in range(pages):
        name = f"proj{number}"
        names = (f"{name}-1.{version}-py3-none-any.whl" for version in range(links))
        files = [dataclasses.replace(release, filename=each) for each in names]
        saved = folder / f"{name}.json"
        saved.write_bytes(project_json(name, files, INDEX_URL, STYLE))
        answers[f"/simple/{name}/"] = (saved, JSON_TYPE)
        for path in (f"/simple/{name}/", f"/pypi/simple/{name}/", f"/pypi/simple/{name}"):  # proxpi asks for the last
            upstream.serve(path, saved, JSON_TYPE, Cache_Control="max-age=86400")
    return answers


def kept_connections(here: Stage, size: Size, row: Row) -> None:
    """B2."""
    for kind, links in LINKS.items():
        if size.quick and kind != "28 kB":
            continue
        pages = size.of(PAGES[kind], 50)
        publish_pages(here.upstream, pages, links, here.folder)
        kinds = {OURS: contenders.ours(here), SQUID_NAME: contenders.squid(here), NGINX_NAME: contenders.nginx(here)}
        if kind == "28 kB":
            kinds |= {PROXPI: contenders.proxpi(here), DEVPI: contenders.devpi(here)}
        label = "" if kind == "28 kB" else f", {kind}"
        with gathered(row, kinds) as peers:
            _ask(row, peers, here, size, Pages(pages=pages), label)
            if not label:
                _ask(row, peers[:1], here, size, Pages(pages=pages, new_heads=True), NEW_HEADS)


def new_connections(here: Stage, size: Size, row: Row) -> None:
    """B3."""
    pages = size.of(400, 50)
    answers = publish_pages(here.upstream, pages, LINKS["28 kB"], here.folder)
    kinds = {OURS: contenders.ours(here), FLOWS: contenders.flows(here, answers), SQUID_NAME: contenders.squid(here)}
    with gathered(row, kinds) as peers:
        _ask(row, peers, here, size, Pages(pages=pages, closes=True))


def _ask(row: Row, peers: Sequence[Peer], here: Stage, size: Size, load: Pages, label: str = "") -> None:
    """In turns; the first, uncounted round goes on until each page was asked for."""

    def measure(peer: Peer, number: int) -> dict[str, float]:
        if not number:
            loads.each_page(peer, here.folder, load.pages)
        return loads.wrk(peer, here.folder, load, size.of(3, 1))

    in_turns(row, list(peers), size.of(3, 1), measure, label=label)


ROWS: Final = {
    "B2": Work(
        text="hits, 400 index pages of 28 kB (100 of 1 kB, 30 of 1 MB; quick: 50), 16 clients' headers, 8 kept connections",
        measure=kept_connections,
        goals=(
            Goal(what=PROCESSOR, limit=1.5, against=(SQUID_NAME,)),
            Goal(what=PROCESSOR, limit=1.0, against=(SQUID_NAME,)),
            Goal(what=PROCESSOR + NEW_HEADS, limit=0.5),
            Goal(what=RATE, bound="≥", limit=8, against=(PROXPI,)),
            Goal(what=RATE, bound="≥", limit=25, against=(DEVPI,)),
        ),
    ),
    "B3": Work(
        text="hits on a new connection each: CONNECT, TLS, one page of 28 kB, close; 8 at a time",
        measure=new_connections,
        goals=(
            Goal(what=PROCESSOR, limit=3, against=(SQUID_NAME,)),
            Goal(what=PROCESSOR, limit=2, against=(SQUID_NAME,)),
            Goal(what=PROCESSOR, limit=0.5, against=(FLOWS,)),
        ),
    ),
}
