"""pip and uv against servers out of a grammar of oddities, direct, through the proxy and at its own address: the same outcome or better."""

import argparse
import gzip
import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench.tools import note, table
from tests.support import clients
from tests.support.behaviour import Behaviour
from tests.support.clients import Result
from tests.support.index import JSON_TYPE, PLAIN_HTML_TYPE, project_html, project_json
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel

SIMPLE: Final = "/corp/simple/"
LONG: Final = "x" * 12_000

FRAMINGS: Final[dict[str, Sequence[str]]] = {
    "length": ["Content-Length: {n}"],
    "no length": [],
    "chunked": ["Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: {n}", "Content-Length: {n}"],
    "a list of lengths": ["Content-Length: {n}, {n}"],
    "length and chunked": ["Content-Length: {n}", "Transfer-Encoding: chunked"],
    "chunked and another length": ["Transfer-Encoding: chunked", "Content-Length: 3"],
    "identity": ["Transfer-Encoding: identity", "Content-Length: {n}"],
    "12 kB": [f"X-Long: {LONG}", "Content-Length: {n}"],
    "blank before a colon": ["Server : odd", "Content-Length: {n}"],
    "two different lengths": ["Content-Length: {n}", "Content-Length: 5"],
}
PAGE_CODINGS: Final[dict[str, tuple[str | None, Callable[[bytes], bytes]]]] = {
    "plain": (None, bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "two members": ("gzip", lambda page: gzip.compress(page[:50]) + gzip.compress(page[50:])),
    "gzip with zeros behind": ("gzip", lambda page: gzip.compress(page) + bytes(9)),
    "gzip with garbage behind": ("gzip", lambda page: gzip.compress(page) + b"garbage"),
    "gzip cut short": ("gzip", lambda page: gzip.compress(page)[:-9]),
    "called gzip": ("gzip", bytes),
    "utf-8": ("utf-8", bytes),
    "none": ("none", bytes),
    "aws-chunked": ("aws-chunked", bytes),
    "empty": ("", bytes),
}
FILE_CODINGS: Final = {
    **{name: PAGE_CODINGS[name] for name in ("plain", "gzip", "called gzip", "utf-8", "aws-chunked", "empty")}
}
STATUSES: Final = (
    "200",
    "203",
    "200",
    "200",
    "once 503 with Retry-After",
    "once 429 with Retry-After",
    "once 500",
    "a redirect with a cookie",
)
PAGES: Final = ("json", "html", "a wrong size", "a link below the index")
TYPES: Final = ("application/octet-stream", "text/html", "binary/octet-stream", "")
HEADS: Final = (200, 200, 400, 403, 405, 501)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One server: how it sends its page, and how its file."""

    page: str
    page_framing: str
    page_coding: str
    page_status: str
    file_framing: str
    file_coding: str
    file_status: str
    file_type: str
    head: int
    metadata: bool

    @classmethod
    def of(cls, source: random.Random, oddities: int) -> "Case":
        """A case with so many oddities, all else as usual."""
        usual = cls(
            page="json",
            page_framing="length",
            page_coding="plain",
            page_status="200",
            file_framing="length",
            file_coding="plain",
            file_status="200",
            file_type=TYPES[0],
            head=200,
            metadata=True,
        )
        choices: dict[str, Sequence[object]] = {
            "page": PAGES,
            "page_framing": list(FRAMINGS),
            "page_coding": list(PAGE_CODINGS),
            "page_status": STATUSES,
            "file_framing": list(FRAMINGS),
            "file_coding": list(FILE_CODINGS),
            "file_status": STATUSES,
            "file_type": TYPES,
            "head": HEADS,
            "metadata": (True, False),
        }
        odd = {name: source.choice(choices[name]) for name in source.sample(sorted(choices), oddities)}
        return replace(usual, **odd)  # type: ignore[arg-type]

    def __str__(self) -> str:
        usual = Case.of(random.Random(), 0)
        odd = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != getattr(usual, name)}
        return ", ".join(f"{name.replace('_', ' ')}: {value or 'none'}" for name, value in odd.items()) or "as usual"


def serve(case: Case, upstream: Upstream, release: ReleaseFile) -> None:
    """Let the upstream be this server, for this file."""
    url = f"{upstream.origin}{SIMPLE}{release.project}/"
    listed = replace(release, size=release.size + 1) if case.page == "a wrong size" else release
    make = project_html if case.page == "html" else project_json
    page = make(release.project, [listed], url)
    path = f"/corp/{release.path}"
    if case.page == "a link below the index":
        path = f"{SIMPLE}{release.filename}"
        link = f'<a href="../{release.filename}#sha256={release.sha256}">{release.filename}</a>'
        page = f"<!doctype html><title>Links for it</title>{link}".encode()
    kind = PLAIN_HTML_TYPE if page.lstrip().startswith(b"<") else JSON_TYPE
    coding, coded = PAGE_CODINGS[case.page_coding]
    _script(upstream, f"{SIMPLE}{release.project}/", coded(page), kind, coding, case.page_framing, case.page_status)
    coding, coded = FILE_CODINGS[case.file_coding]
    pattern = f"{release.filename}$"
    _script(upstream, pattern, coded(release.content), case.file_type, coding, case.file_framing, case.file_status)
    if case.head != 200:
        upstream.script(Behaviour(pattern, methods=("HEAD",), status=case.head))
    else:
        upstream.script(Behaviour(pattern, methods=("HEAD",), raw=None, headers={}))
    if not case.metadata:
        upstream.script(Behaviour(r"\.metadata$", status=404))
    upstream.serve(path, release.content)
    upstream.serve(f"{path}.metadata", release.metadata)


def _script(
    upstream: Upstream, match: str, body: bytes, kind: str, coding: str | None, framing: str, status: str
) -> None:
    lines = [line.format(n=len(body)) for line in FRAMINGS[framing]]
    chunked = any("chunked" in line for line in lines)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    fields = [f"Content-Type: {kind}"] if kind else []
    fields += [] if coding is None else [f"Content-Encoding: {coding}"]
    line = "203 Non-Authoritative Information" if status == "203" else "200 OK"
    head = "\r\n".join([f"HTTP/1.1 {line}", *fields, *lines, "", ""]).encode()
    upstream.script(Behaviour(match, methods=("GET",), raw=head + sent))
    if status.startswith("once"):
        code = int(status.split()[1])
        after = {"Retry-After": "1"} if "Retry-After" in status else {}
        upstream.script(Behaviour(match, methods=("GET",), times=1, status=code, headers=after))
    if status.startswith("a redirect"):
        upstream.script(
            Behaviour(
                match, methods=("GET",), times=1, status=302, headers={"Set-Cookie": "a=b; Path=/", "Location": "?"}
            )
        )


def outcome(client: str, way: str, case: Case, upstream: Upstream, proxy: Proxy, folder: Path) -> tuple[bool, str]:
    """Whether a client gets the right file, and the last line that it says."""
    name = f"odd-{hashlib.sha256(f'{client} {way} {case}'.encode()).hexdigest()[:12]}"
    release = make_wheel(name, payload_size=200_000)
    upstream.add(release)
    serve(case, upstream, release)
    home, target = folder / f"{name}-home", folder / name
    home.mkdir()
    index = f"{proxy.url}/corp/simple/" if way == "own address" else f"{upstream.origin}{SIMPLE}"
    env = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url} if way == "proxy" else {}
    result: Result
    if client == "pip":
        result = clients.pip_download(
            home, [name], target, args=["--no-deps", "-i", index], env={**env, "PIP_RETRIES": "3"}
        )
        right = [path.read_bytes() for path in target.glob("*.whl")] == [release.content] if target.exists() else False
    else:
        result = clients.uv_install(home, [name], target, args=["--no-deps", "--index-url", index], env=env)
        right = clients.installed(target) == {name: release.version} if target.exists() else False
    upstream.unscript()
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return result.returncode == 0 and right, said[-1][:150] if said else ""


def run(arguments: argparse.Namespace) -> None:
    """All cases; prints what is better, and what is worse."""
    source = random.Random(arguments.seed)
    better, worse, same = list[tuple[str, str, str]](), list[tuple[str, str, str]](), 0
    with tempfile.TemporaryDirectory() as temporary, Upstream(prefix="/corp") as upstream:
        folder = Path(temporary)
        with Proxy(folder / "proxy", options={"pypi_cache_index": [f"corp={upstream.index_url}"]}) as proxy:
            cases = {case: None for number in range(2 * arguments.cases) if (case := Case.of(source, 1 + number % 3))}
            for case in list(cases)[: arguments.cases]:
                for client in ("pip", "uv"):
                    direct, said = outcome(client, "direct", case, upstream, proxy, folder)
                    for way in ("proxy", "own address"):
                        asked = len(proxy.access_log())
                        cached, why = outcome(client, way, case, upstream, proxy, folder)
                        same += cached == direct
                        if direct and not cached:
                            lines = proxy.access_log()[asked:]
                            why += f" {[(line['status'], line['cache']) for line in lines]}"
                        if cached != direct:
                            (better if cached else worse).append(
                                (f"{client}, {way}", str(case), said if cached else why)
                            )
                            note(
                                f"{'better' if cached else 'WORSE'}: {client}, {way}: {case}: {said if cached else why}"
                            )
            assert not proxy.complaints, proxy.complaints
    table(
        f"The same: {same}; better: {len(better)}; worse: {len(worse)}", ("better", "server", "direct it said"), better
    )
    table("Worse", ("worse", "server", "through the proxy it said"), worse)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    run(parser.parse_args())
