"""Pages, documents and lists that mean harm, on a running proxy: the stored page is served, else a 502 says why in one line.

Each is asked for twice: of a project whose good page is stored and no longer fresh, and of one that is not known yet. What a reader
can make sense of is served as any page is.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.house import ACCEPTS, House, cache_status_of, open_house
from tests.support.index import JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.names import INDEX_URL, page_url

FILE: Final = "it-1.0.tar.gz"
GOOD: Final = {
    PLAIN_HTML_TYPE: f'<h1>Links for it</h1><a href="{FILE}">{FILE}</a>'.encode(),
    JSON_TYPE: json.dumps({"meta": {"api-version": "1.0"}, "name": "it", "files": [{"url": FILE, "filename": FILE}]}).encode(),
    "application/json": json.dumps({"info": {"name": "it"}, "urls": [{"url": FILE, "filename": FILE}]}).encode(),
}  # fmt: skip
STALE: Final = {"Cache_Control": "max-age=0"}
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Harm:
    """A body, and whether a client gets it (`served`), or else what the 502 says. `coding`: its Content-Encoding."""

    body: bytes
    says: str = ""
    coding: str = ""

    @property
    def served(self) -> bool:
        return not self.says


def html(text: str, says: str = "", head: str = "") -> Harm:
    """A page that has a good link beside what is harmful."""
    return Harm(f'{head}<h1>Links for it</h1><a href="{FILE}">{FILE}</a>{text}'.encode("utf-8", "surrogatepass"), says)


def files(text: str, says: str = "") -> Harm:
    """A page with these files, written as JSON."""
    return Harm(f'{{"meta": {{"api-version": "1.0"}}, "files": [{text}]}}'.encode("utf-8", "surrogatepass"), says)


def zipped(data: bytes, times: int) -> bytes:
    """A body gzipped so many times over `data`."""
    work = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([work.compress(data) for _ in range(times)]) + work.flush()


HTML: Final = {
    "a reference of 5,000 digits": html(f'<a href="&#{"9" * 5000};">x</a>'),
    "one of 5,000 hex digits": html(f'<a href="&#x{"f" * 5000};">x</a>'),
    "one of 50,000 zeros": html(f'<a href="&#{"0" * 50_000}65;">x</a>'),
    "surrogates, NUL, negative": html('<a href="&#xd800;&#0;&#-1;&#x110000;&#55296;/x.zip">x</a>'),
    "NULs and bad UTF-8": Harm(GOOD[PLAIN_HTML_TYPE] + b"<a href='\0\xff\xfe\xc3\x28.zip'>\xed\xa0\x80</a>\0"),
    "an odd charset": html("<a href='\u20ac.zip'>x</a>", head='<meta charset="utf-7"><meta http-equiv="x" content="\0">'),
    "a hundred bases": html("", head='<base href="https://other.test/x/">' * 100),
    "a base of 100 kB": html("<a href=x-1.zip></a>" * 5000, "base href", head=f'<base href="/{"b" * 100_000}/">'),
    "a base of 8 kB": html("<a href=x-1.zip></a>" * 5000, "many times the page", head=f'<base href="/{"b" * 8000}/">'),
    "bases that are none": html("", head='<base href="http://[::1"><base href="http://:0/"><base href="">'),
    "a comment without an end": html("<!-- <a href=x.zip>"),
    "a quote without an end": html("<a href='x.zip>"),
    "tags without an end": html("<a " * 40_000),
    "300,000 attributes": html(f"<a {'a ' * 300_000}>"),
    "other schemes": html("".join(f'<a href="{link}">x</a>' for link in ("data:text/html,x", "javascript:x()", "file:///x"))),
    "CR and LF in links": html('<a href="x.zip&#13;&#10;Set-Cookie: a=b">x</a><a href="x\r\n.zip">y</a>'),
    "other hosts": html("".join(
        f'<a href="{link}/x.zip">x</a>'
        for link in ("http://[::1", "http://[v1.x]", "http://::1", "//h:99999", "//h:-1", "http://u:p@h", "//\u00e4\u00f6.test", "//xn--",
                     "//%zz", f"//{'a' * 5000}.test", "//h:" + "0" * 5000, "http:",
                     "//", "///", "//[fe80::1%25eth0]", "\\\\h", "//\u2100.test")
    )),
    "a link of 100 kB": html(f'<a href="{"x" * 100_000}.zip">x</a>'),
    "100,000 links": html("<a href=x>" * 100_001, "more than 100,000 links"),
    "a version of 10,000 digits": html("", head=f'<meta name="pypi:repository-version" content="{"9" * 10_000}">'),
    "2 GB": Harm(zipped(bytes(MILLION), 40), "longer than 33,554,432 bytes", "gzip"),
    "2 GB of deflate": Harm(zlib.compress(bytes(40 * MILLION), 1), "longer than 33,554,432 bytes", "deflate"),
    "5,000 members": Harm(gzip.compress(b"") * 5000, "gzip members", "gzip"),
    "no gzip": Harm(b"\x1f\x8b" + bytes(100), "not compressed as it says", "gzip"),
    "br": Harm(b"\x1b\x0f\x00\xf8", "not asked for", "br"),
    "zstd": Harm(b"\x28\xb5\x2f\xfd", "not asked for", "zstd"),
    "two codings": Harm(zipped(GOOD[PLAIN_HTML_TYPE], 1), "not asked for", "gzip, gzip"),
}  # fmt: skip
JSON: Final = {
    "nested 100,000 deep": files("[" * 100_000 + "]" * 100_000, "not JSON"),
    "nested in a file": files('{"url": "x.zip", "size": ' + "[" * 50_000 + "]" * 50_000 + "}", "not JSON"),
    "nested beside the files": Harm(b'{"files": [], "x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "not JSON"),
    "a number of 5,000 digits": files('{"url": "x.zip", "size": ' + "9" * 5000 + "}", "not JSON"),
    "other numbers": files('{"url": "x.zip", "size": 1e999999}, {"url": "y.zip", "size": NaN}, {"url": "z", "size": -' + "9" * 4000 + "}"),
    "a member twice": files('{"url": "x.zip", "url": 1, "url": "y.zip"}'),
    "files twice": Harm(b'{"files": [{"url": "x.zip"}], "files": 7}', "no array"),
    "a million files": files("{}," * MILLION + "{}", "more than 100,000"),
    "200,000 members": Harm(b"{" + b'"a":0,' * 200_000 + b'"files": []}', "more than 100,000"),
    "8 million lists": Harm(zipped(b"[" + b"[]," * 1000 + b"0],", 8000), "no object", "gzip"),
    "8 million lists as metadata": Harm(
        zipped(b'{"files":[],"x":[' + b"[]," * 8 * MILLION + b"0]}", 1), "176 MiB", "gzip"
    ),
    "surrogates": files('{"url": "\\ud800.zip", "filename": "\\udfff.zip"}'),
    "not UTF-8": files('{"url": "\udc80.zip"}', "not UTF-8"),
    "UTF-16": Harm(GOOD[JSON_TYPE].decode().encode("utf-16"), "not UTF-8"),
    "NULs": files('{"url": "\\u0000.zip", "filename": "\\u0000"}'),
    "values of other types": files('{"url": "x.zip", "filename": [], "hashes": 3, "yanked": {"a": 1}, "core-metadata": [1]}, [], null, 7'),
    "2 GB": HTML["2 GB"],
    "no object": Harm(b"[]", "no object"),
    "nothing": Harm(b"", "not JSON"),
}  # fmt: skip
DOCUMENTS: Final = {
    "nested": Harm(b'{"info": {}, "urls": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not JSON"),
    "200,000 releases": Harm(b'{"info": {}, "releases": {' + b'"1": [],' * 200_000 + b'"2": []}}', "more than 100,000"),
    "many files in many releases": Harm(
        b'{"info": {}, "releases": {' + b'"1": [1,2,3],' * 40_000 + b'"2": []}}', "more than 100,000"
    ),
    "odd values": Harm(b'{"info": [], "urls": [{"url": "x.zip", "digests": 1, "yanked_reason": []}], "releases": 7}'),
    "2 GB": HTML["2 GB"],
}
LISTS: Final = {
    "links without an end": Harm(b"<a " * 87_000, "no list of projects"),
    "links without an end, and a project": Harm(b"<a " * 87_000 + b'><a href="six/">'),
    "blanks": Harm(b"<a href" + b" " * 260_000 + b"=", "no list of projects"),
    "names without an end": Harm(b"<a href=" + b"a" * 260_000, "no list of projects"),
    "quotes": Harm(b"<a href='" * 28_000, "no list of projects"),
    "5,000 members": Harm(gzip.compress(b"") * 5000, "gzip members", "gzip"),
    "cut short": Harm(zipped(b'<a href="six/">', 1)[:-9], "cut short", "gzip"),
    "br": Harm(b"\x1b\x0f\x00\xf8", "not asked for", "br"),
    "NULs": Harm(bytes(100_000), "no list of projects"),
}
TABLES: Final = {PLAIN_HTML_TYPE: HTML, JSON_TYPE: JSON, "application/json": DOCUMENTS}
ROWS: Final = [
    pytest.param(content_type, harm, id=f"{content_type.partition(';')[0].rpartition('/')[2]}: {name}")
    for content_type, table in TABLES.items()
    for name, harm in table.items()
]


@pytest.fixture(scope="module")
def house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(
        ca, tmp_path_factory.mktemp("hostile"), options={"pypi_cache_stale_while_revalidate": "0"}
    ) as opened:
        yield opened


def ask(house: House, project: str, content_type: str) -> tuple[int, bytes, str]:
    """A page or document as its client gets it: status, body and Cache-Status."""
    if content_type == "application/json":
        answer = house.fetch(f"{INDEX_URL.removesuffix('simple/')}pypi/{project}/json")
    else:
        answer = house.fetch(
            page_url(project), headers={"Accept": ACCEPTS["json" if content_type == JSON_TYPE else "html"]}
        )
    return answer.status, answer.body, cache_status_of(answer)


@pytest.mark.parametrize(("content_type", "harm"), ROWS)
def test_harm(content_type: str, harm: Harm, house: House) -> None:
    number = ROWS.index(next(row for row in ROWS if row.values == (content_type, harm)))
    place = "/pypi/{}/json" if content_type == "application/json" else "/pypi/simple/{}/"
    known, unknown = f"known-{number}", f"unknown-{number}"
    house.upstream.serve(place.format(known), GOOD[content_type], content_type, **STALE)
    status, good, _ = ask(house, known, content_type)
    assert status == 200
    coding = {"Content_Encoding": harm.coding} if harm.coding else {}
    for project in (known, unknown):
        house.upstream.serve(place.format(project), harm.body, content_type, **STALE, **coding)
    status, body, cache = ask(house, known, content_type)
    assert status == 200, body
    assert (body == good and "stale-if-error" in cache) != harm.served, cache
    status, body, _ = ask(house, unknown, content_type)
    assert status == (200 if harm.served else 502), body[:500]
    if not harm.served:
        lines = body.decode().splitlines()
        assert len(lines) == 2, "what cannot be had, and why"
        assert harm.says in lines[1]
        assert len(lines[1]) < 1000


# The list of all projects


@pytest.fixture(scope="module")
def indexes(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An index for each list."""
    more = [f"list{number}=/list{number}/simple/" for number in range(len(LISTS))]
    with open_house(ca, tmp_path_factory.mktemp("lists"), more_indexes=more) as opened:
        yield opened


@pytest.mark.parametrize("name", LISTS)
def test_lists(name: str, indexes: House) -> None:
    """128 kB of `<a ` froze the proxy for 17 s."""
    harm, path = LISTS[name], f"/list{list(LISTS).index(name)}/simple/"
    coding = {"Content_Encoding": harm.coding} if harm.coding else {}
    indexes.upstream.serve(path, harm.body, PLAIN_HTML_TYPE, **coding)
    answer = indexes.fetch(indexes.upstream.origin + path, headers={"Accept": "text/html"})
    if harm.served:
        assert answer.status == 200
        assert answer.body == harm.body
    elif answer.status == 200:  # some of it was sent before it was seen through
        assert not answer.complete
    else:
        assert answer.status == 502
        assert harm.says in answer.body.decode().splitlines()[1]
