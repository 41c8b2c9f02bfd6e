"""Rewriting: large pages with relative links, each cold, and what another client's hits of 28 kB wait for it.

The mirror has a JSON page of 5 MB and an HTML page of 2 MB under as many names as are asked for. The hits are asked for by a process of
its own, one at a time on one connection, each a few milliseconds after the last: without anything else, while the large pages come
cold (each is fetched, read, rewritten, compressed and stored), and while they are asked for again (each is only sent).
"""

import argparse
import hashlib
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from pkgcache.engine.pages.stored_page import gzipped_page
from pkgcache.engine.pages.worker import PageWorker
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import Kind
from pkgcache.rules.simple.transform import TransformSpec, transform
from tests.bench import tools
from tests.bench.load import PIP_ACCEPT, waits
from tests.bench.tools import MB, Curl, Stage, note, processor_seconds, spread, stage
from tests.support.index import JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.names import FILES_ORIGIN, page_url
from tests.support.proxy import Proxy
from tests.support.wheels import make_wheel
from tests.support.wire import Wire

FILES: Final[dict[Kind, int]] = {"json": 7700, "html": 4000}
TYPES: Final[dict[Kind, str]] = {"json": JSON_TYPE, "html": PLAIN_HTML_TYPE}
ACCEPTS: Final[dict[Kind, str]] = {"json": PIP_ACCEPT, "html": "text/html"}
PAGE_LINKS: Final = 47
PAUSE: Final = 0.004
"""Seconds between a hit and the next."""

IDLE_SECONDS: Final = 6.0
BETWEEN: Final = 0.1
"""Seconds between a large page and the next."""


def run(arguments: argparse.Namespace) -> None:
    """The tables."""
    pages = {"json": large_json(FILES["json"]), "html": large_html(FILES["html"])}
    _parts(pages, arguments.repeat)
    with stage() as here, ExitStack() as stack:
        here.upstream.add(*(make_wheel("paged", f"1.{number}") for number in range(PAGE_LINKS)))
        proxy = stack.enter_context(here.proxy())
        for kind, page in pages.items():
            for number in range(arguments.repeat + 1):
                here.upstream.serve(f"{here.upstream.prefix}/simple/{kind}-{number}/", page, TYPES[kind])
        _waits(here, proxy, list(pages), arguments.repeat)


def large_json(files: int) -> bytes:
    """A page as a mirror with relative links has it, all that the default index says in it."""
    entries = []
    for number in range(files):
        name, digest, path = _file(number)
        entries.append(
            {
                "core-metadata": {"sha256": digest},
                "data-dist-info-metadata": {"sha256": digest},
                "filename": name,
                "hashes": {"sha256": digest},
                "provenance": None,
                "requires-python": ">=3.8",
                "size": 1_234_567 + number,
                "upload-time": "2024-05-01T12:00:00.123456Z",
                "url": f"../../{path}",
                "yanked": False,
            }
        )
    versions = [f"{major}.0" for major in range(files // 20)]
    return json.dumps(
        {"meta": {"api-version": "1.1"}, "name": "large", "files": entries, "versions": versions}
    ).encode()


def large_html(files: int) -> bytes:
    """The same as HTML."""
    lines = ["<!DOCTYPE html><html><head><title>Links for large</title></head><body><h1>Links for large</h1>"]
    for number in range(files):
        name, digest, path = _file(number)
        lines.append(
            f'<a href="../../{path}#sha256={digest}" data-requires-python="&gt;=3.8" '
            f'data-dist-info-metadata="sha256={digest}" data-core-metadata="sha256={digest}">{name}</a><br />'
        )
    return "\n".join([*lines, "</body></html>", ""]).encode()


def _file(number: int) -> tuple[str, str, str]:
    name = f"large_project-{number // 20}.{number % 20}.0-cp3{number % 14}-cp3{number % 14}-manylinux_2_17_x86_64.whl"
    value = hashlib.blake2b(name.encode(), digest_size=32).hexdigest()
    path = f"packages/{value[:2]}/{value[2:4]}/{value[4:]}/{name}"
    return name, hashlib.sha256(name.encode()).hexdigest(), path


def _parts(pages: dict[Kind, bytes], repeat: int) -> None:
    """What a page takes by itself, outside of a proxy: by our code in this process and in the process for large pages, and by gzip."""
    rows = []
    with closing(PageWorker()) as process:
        for kind, page in pages.items():
            context = PageContext(
                upstream=parse_url("https://mirror.test/pypi/simple/large/"),
                client_url=parse_url(page_url("large")),
                canonical_files=FILES_ORIGIN,
                own_prefix="",
            )
            order = TransformSpec(
                stored=kind, wanted=kind, project="large", context=context, shares_pypi_files=True, check=True
            )
            body = process.transform(page, order, id)[0].body
            works: dict[str, Callable[[], object]] = {
                "here": lambda page=page, order=order: transform(page, order),
                "there": lambda page=page, order=order: process.transform(page, order, id),
                "gzip": lambda body=body: gzipped_page(body),
                "all": lambda page=page, order=order: process.transform(
                    page, order, lambda made: gzipped_page(made.body)
                ),
            }
            took = {
                name: spread([_seconds(work) for _ in range(repeat)], "ms", scale=1000) for name, work in works.items()
            }
            rows.append((f"{kind}, {len(page) / MB:.1f} MB, {FILES[kind]:,} files", *took.values()))
    tools.table(
        "Rewriting by itself",
        (
            "page",
            "read and rewritten here",
            "in its own process, with the table of its files",
            "gzip of the new one",
            "**all of it, as a proxy does it**",
        ),
        rows,
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _waits(here: Stage, proxy: Proxy, kinds: Sequence[Kind], repeat: int) -> None:
    """The hits' waits beside nothing, beside cold large pages, and beside the same pages once they are stored."""
    for kind in kinds:
        _ask(proxy, kind, repeat)  # one of each before: the process for large pages runs
    rows = [_row("nothing else", *_beside(proxy, lambda: time.sleep(IDLE_SECONDS)))]
    cold: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    stored: dict[Kind, list[float]] = {kind: [] for kind in kinds}

    def ask_all(times: dict[Kind, list[float]]) -> None:
        for number in range(repeat):
            for kind in kinds:
                times[kind].append(_ask(proxy, kind, number))
                time.sleep(BETWEEN)

    before = processor_seconds(proxy.pid)
    rows.append(_row("large pages, cold", *_beside(proxy, lambda: ask_all(cold))))
    used = processor_seconds(proxy.pid) - before
    here.settle(proxy)
    rows.append(_row("the same, stored", *_beside(proxy, lambda: ask_all(stored))))
    note(f"processor time while they came cold: {used:.1f} s")
    tools.table(
        "A large page, from the request to its last byte",
        ("", "cold", "stored"),
        [(kind, spread(cold[kind], "ms", scale=1000), spread(stored[kind], "ms", scale=1000)) for kind in kinds],
    )
    tools.table("Hits of 28 kB beside", ("", "hits", "median", "99th percentile", "99.9th", "longest"), rows)


def _ask(proxy: Proxy, kind: Kind, number: int) -> float:
    """Seconds that a client waits for a large page."""
    accept = ("--header", f"Accept: {ACCEPTS[kind]}", "--header", "Accept-Encoding: gzip, deflate")
    got = Curl(page_url(f"{kind}-{number}"), ca=proxy.ca, proxy=proxy.url, args=accept).result()
    return got.total - got.asked


def _beside(proxy: Proxy, work: Callable[[], None]) -> tuple[list[float]]:
    """How long hits waited while `work` was done."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=_hits, args=(theirs, proxy.port, proxy.ca))
    client.start()
    ours.recv()
    work()
    ours.send("enough")
    found: list[float] = ours.recv()
    client.join()
    return (found,)


def _hits(pipe: Connection, port: int, ca: Path) -> None:
    """The other client, in a process of its own."""
    url = page_url("paged")
    with Wire(port, url, ca=ca) as wire:
        waits(wire, url, lambda count: count == 100)  # until all is warm
        pipe.send("ready")
        pipe.send(waits(wire, url, lambda _: pipe.poll(), pause=PAUSE))


def _row(name: str, found: Sequence[float]) -> tuple[str, ...]:
    cuts = statistics.quantiles(found, n=1000, method="inclusive")
    figures = (statistics.median(found), cuts[989], cuts[998], max(found))
    return name, f"{len(found):,}", *(f"{figure * 1000:.1f} ms" for figure in figures)


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=15)
