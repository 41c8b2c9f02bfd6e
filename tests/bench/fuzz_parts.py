"""Every parser of foreign bytes, for `tests.bench.fuzz`: what it is given, what it may raise, and a small corpus to begin from.

A part takes bytes, whatever its parser takes: texts are Latin-1 with surrogates where bytes are no ASCII, fields are lines.
"""

# ruff: noqa: E501 - the corpus

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from multidict import CIMultiDict

from pkgcache.cli.archive.archive_format import ArchiveError, ArchiveReader
from pkgcache.cli.archive.checks import why_refused
from pkgcache.cli.warming.locks import LockError, read_lock
from pkgcache.engine.pages.decoding import decoded
from pkgcache.engine.pages.worker_process import without_files
from pkgcache.engine.store import notes
from pkgcache.engine.upstream.errors import UpstreamError
from pkgcache.engine.upstream.wheel_metadata import read_metadata
from pkgcache.rules.http.accept import accepts_encoding, parse_content_type
from pkgcache.rules.http.cache_control import control_of, listed
from pkgcache.rules.http.dates import parse_http_date
from pkgcache.rules.http.freshness import Policy, Stored, decide
from pkgcache.rules.http.ranges import if_range_holds, parse_content_range, parse_range, satisfy
from pkgcache.rules.http.storability import storable, storable_headers
from pkgcache.rules.http.validation import freshened, not_modified, updates, validators
from pkgcache.rules.policy.cooldown import parse_upload_time
from pkgcache.rules.routing.digests import parse_release_path
from pkgcache.rules.routing.filenames import is_distribution, project_of, projects_of, split_filename, version_of
from pkgcache.rules.routing.urls import normalise_path, parse_authority, parse_url, resolve_reference
from pkgcache.rules.simple.json_api_build import Release, build_document, find_release
from pkgcache.rules.simple.links import PageContext, Resolver
from pkgcache.rules.simple.page_model import BrokenPage, Kind
from pkgcache.rules.simple.project_list import ProjectListChecker, ProjectListEditor
from pkgcache.rules.simple.representations import negotiate, representation_of
from pkgcache.rules.simple.transform import TransformSpec, transform
from tests.support.index import project_html, project_json
from tests.support.wheels import make_wheel

SIX: Final = make_wheel("six")
MIRROR: Final = parse_url("https://mirror.test/pypi/simple/six/")


@dataclass(frozen=True, slots=True)
class Part:
    """One parser. `pieces`: what inputs are made of beside parts of `corpus`."""

    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    corpus: tuple[bytes, ...]
    pieces: tuple[bytes, ...]


def _spec(stored: Kind, wanted: Kind, *, own: str = "", document: bool = False) -> TransformSpec:
    context = PageContext(
        upstream=MIRROR,
        client_url=parse_url("https://index.test/simple/six/"),
        canonical_files="https://files.test",
        own_prefix=own,
    )
    return TransformSpec(
        stored=stored, wanted=wanted, project="six", context=context, shares_pypi_files=True, document=document
    )


def _page(page: bytes, stored: Kind, *, document: bool = False) -> None:
    """All that is done with a page: both kinds, both addresses, its table read, some of its files removed."""
    wanted: tuple[Kind, ...] = (stored,) if document else ("html", "json")
    for own in ("", "/pypi"):
        for kind in wanted:
            made, table_of = transform(page, _spec(stored, kind, own=own, document=document))
            if text := table_of():
                names = frozenset(list({row[0] for row in json.loads(text).values()})[::2])
                without_files(made.body, _spec(stored, stored, document=document), names)


def _html(page: bytes) -> None:
    _page(page, "html")


def _json(page: bytes) -> None:
    _page(page, "json")
    for version in ("", "1.0"):
        if (release := find_release(page, version)) is not None:
            build_document("six", release, None, page)


def _document(page: bytes) -> None:
    _page(page, "json", document=True)


def _list(body: bytes) -> None:
    for editor in (ProjectListEditor(MIRROR), ProjectListChecker()):
        for at in range(0, len(body), 4096):
            editor.feed(body[at : at + 4096])
        editor.end()
        assert editor.is_list in {True, False}


def _fields(body: bytes) -> Iterator[tuple[str, str]]:
    for line in body.decode("utf-8", "surrogateescape").split("\n"):
        name, _, value = line.partition(":")
        yield name, value.strip()


def _heads(body: bytes) -> None:
    """Each field by itself, by whatever reads it; then all together, as a request's and as a response's."""
    headers = CIMultiDict(_fields(body))
    for value in headers.values():
        negotiate(value)
        accepts_encoding(value, "gzip")
        representation_of(value)
        parse_content_type(value)
        parse_http_date(value)
        parse_content_range(value)
        if_range_holds(value, '"x"', None)
        satisfy(parse_range(value), 1000)
    control_of(headers)
    listed(headers, "Vary")
    not_modified(headers, ('"x"', 'W/"y"'), "Sun, 06 Nov 1994 08:49:37 GMT")
    stored = Stored(status=200, headers=storable_headers(headers), request_time=1e9, response_time=1e9)
    decide(stored, headers, Policy(), 1e9 + 100)
    storable(request_headers=headers, status=200, response_headers=headers)
    updates(headers, headers)
    validators(freshened(stored, headers, 1e9, 1e9).headers)


def _text(body: bytes) -> str:
    return body.decode("utf-8", "surrogateescape")


def _urls(body: bytes) -> None:
    """Whatever takes a link, a path or a file's name; what a URL may be refused for is a ValueError."""
    text = _text(body)
    normalise_path(normalise_path(text))
    parse_release_path(text)
    is_distribution(text)
    split_filename(text)
    projects_of(text)
    project_of(text)
    version_of(text, {})
    parse_upload_time(text)
    context = _spec("html", "html").context
    Resolver(context, MIRROR, context.client_url).resolve(text)
    for read in (lambda: parse_url(text), lambda: parse_authority(text, 443), lambda: resolve_reference(MIRROR, text)):
        try:
            read()
        except ValueError as error:
            if len(str(error)) > 3000:
                raise AssertionError("a refusal is short") from error


def _wheels(body: bytes) -> None:
    read_metadata(io.BytesIO(body))


def _metadata(body: bytes) -> None:
    build_document("six", Release(version=_VERSION, files=()), body)


def _locks(body: bytes) -> None:
    name, _, text = _text(body).partition("\n")
    read_lock(name, text.encode("utf-8", "replace").decode())


def _archives(body: bytes) -> None:
    for item in ArchiveReader(io.BytesIO(body)).items():
        why_refused(item.header)
        for _ in item.value:
            pass


def _notes(body: bytes) -> None:
    value = json.loads(body)
    if not isinstance(value, dict):
        return
    for kind in (
        *(notes.PageNotes, notes.VariantNotes, notes.FileNotes),
        *(notes.ListNotes, notes.RangeNotes, notes.HostNotes),
    ):
        try:
            kind.from_json(value)
        except ValueError:
            continue


def _codings(body: bytes) -> None:
    coding, _, rest = body.partition(b"\n")
    decoded(rest, coding.decode("latin-1"), MIRROR, 1 << 20)


_VERSION: Any = version_of("six-1.0.tar.gz", {})
_HTML = project_html("six", [SIX], str(MIRROR))
_JSON = project_json("six", [SIX, make_wheel("six", "1.1")], str(MIRROR))
_DOCUMENT = build_document(
    "six", find_release(_JSON, "1.0") or Release(version=_VERSION, files=()), SIX.metadata, _JSON
)
_LINKS = (
    *(b"http://[::1", b"//[v1.x]/", b"//h:99999/", b"..%2f", b"%2e%2e/", b"\\\\", b"https:x", b"data:,", b"#sha256=", b"?", b"\xff"),
    *(b"/packages/", b"aa/bb/" + b"c" * 60 + b"/", b"six-1.0.zip", b".whl", b"-", b"-1", b"&#13;", b"//\xc3\xa4.test", b"@", b":80", b"xn--"),
)  # fmt: skip
_JSON_PIECES = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b'"a":', b'"files":[', b'"url":"x.zip"', b'"size":', b"1e999", b"9" * 4500, b"NaN"),
    *(b'"\\ud800"', b'"\\u0000"', b"\\", b"null", b'{"url":"x.zip"},', b'"versions":["1.0"]', b'"yanked":', b'"hashes":{"sha256":', b"\xef\xbb\xbf"),
    *(b'"filename":"x-1.0-py3-none-any.whl"', b'"requires-python":">=3"', b'"info":{}', b'"releases":{"1":[', b'"urls":['),
)  # fmt: skip
_NOTES = b'{"status":200,"headers":[["a","b"]],"request_time":1,"response_time":2,"upstream":"u","url":"https://h.test/","of":"x","kind":"application/vnd.pypi.simple.v1+json","based":false}'
_ZIP = io.BytesIO()
with zipfile.ZipFile(_ZIP, "w", zipfile.ZIP_DEFLATED) as _archive:
    _archive.writestr("six-1.0.dist-info/METADATA", SIX.metadata)

PARTS: Final[dict[str, Part]] = {
    "html": Part(
        _html,
        (BrokenPage,),
        (_HTML,),
        (
            *(b"<a ", b"<a href=", b'<a href="', b"<base href=", b">", b"</a>", b"<!--", b"-->", b"<![CDATA[", b"<script>", b"</script>", b"<br>"),
            *(b"&#", b"&#x", b"99999999;", b"&amp", b"&copy=", b"'", b'"', b"=", b" ", b"/", b"\0", b"data-yanked", b"data-core-metadata=sha256=aa"),
            *(b"<meta name=pypi:", b"repository-version content=1.0>", b"<h1>", b"links", b"\r\n", b"\x0c", *_LINKS),
        ),
    ),
    "json": Part(_json, (BrokenPage,), (_JSON,), (*_JSON_PIECES, *_LINKS)),
    "document": Part(_document, (BrokenPage,), (_DOCUMENT,), (*_JSON_PIECES, *_LINKS)),
    "list": Part(
        _list,
        (),
        (_HTML, b'{"projects": [{"name": "six"}]}', b'<a href="/pypi/simple/six/">six</a>'),
        (b"<a ", b"<a\n", b"href", b"=", b" ", b'"', b"'", b"/pypi/simple/", b"six", b"/", b">", b"<", b"./", b"title=x ", b"{", b"]"),
    ),
    "heads": Part(
        _heads,
        (),
        (
            b'Accept: text/html;q=0.9, */*;q=0\nRange: bytes=0-9,-5\nIf-None-Match: "x", W/"y"\nCache-Control: max-age="60", no-cache',
            b'Date: Sun, 06 Nov 1994 08:49:37 GMT\nAge: 10\nExpires: 0\nVary: *\nETag: "x"\nConnection: close\nIf-Range: "x"',
            b'Content-Range: bytes 0-9/100\nContent-Type: text/html; charset="utf-8"\nAuthorization: Basic eA==\nIf-Modified-Since: x',
        ),
        (
            *(b"\n", b"Accept:", b"Range: bytes=", b"Cache-Control:", b"If-None-Match:", b"Age:", b"Date:", b"Expires:", b"Vary:", b"Last-Modified:"),
            *(b'"', b"\\", b",", b";", b"=", b" ", b"\t", b"-", b"0", b"9" * 4400, b"\xb2", b"q=", b"*/*", b"text/html", b'a="', b"W/", b"max-age"),
            *(b"max-stale", b"Sun Nov  6 08:49:37 1994", b"GMT", b"\xff", b"\0", b"bytes ", b"/*", b"x"),
        ),
    ),
    "urls": Part(_urls, (), (b"https://h.test/simple/six/six-1.0-py3-none-any.whl#sha256=aa", b"a-b-1.0.tar.gz"), (
        *_LINKS, b".", b"..", b"/", b"%", b"1.", b"9" * 4400, b"2024-01-01T00:00:00", b".tar.gz", b".metadata", b"py3.", b"https://", b"\t", b"\0",
    )),
    "wheels": Part(_wheels, (zipfile.BadZipFile, ValueError, OSError), (_ZIP.getvalue(), SIX.content), (
        *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\0\0", b"\xff\xff", b"\xff" * 8, b"\0" * 8, b"\x0c\0", b"\x0e\0", b"\x08\0"),
        *(b".dist-info/METADATA", b"BZh9", b"\x09\x04\x05\0", b"\x01\0\x10\0"),
    )),
    "metadata": Part(_metadata, (), (SIX.metadata,), (
        *(b"Name: ", b"\n", b"\n\n", b"Requires-Dist: ", b"Project-URL: a, b", b"Keywords: ", b"=?utf-8?q?", b"?=", b"\xff", b"Classifier:", b","),
        *(b"Requires-Python: >=", b"9" * 4400, b"License: ", b"Metadata-Version: 2.4", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n", b" "),
    )),
    "locks": Part(_locks, (LockError,), (
        b'uv.lock\nversion = 1\n[[package]]\nname = "six"\nversion = "1.0"\nsource = { registry = "https://h.test/simple" }\nwheels = [{ url = "https://h.test/six-1.0-py3-none-any.whl", hash = "sha256:aa" }]\n',
        b'Pipfile.lock\n{"_meta": {"sources": [{"url": "https://h.test/simple", "name": "x"}]}, "default": {"six": {"version": "==1.0", "hashes": ["sha256:aa"]}}}',
        b'poetry.lock\n[[package]]\nname = "six"\nversion = "1.0"\nfiles = [{file = "six-1.0.tar.gz", hash = "sha256:aa"}]\n[metadata]\npython-versions = "*"\n',
        b'pdm.lock\n[metadata]\nlock_version = "4.5"\n[[package]]\nname = "six"\nversion = "1.0"\nfiles = [{file = "six-1.0.tar.gz", hash = "sha256:aa"}]\n',
        b'pylock.toml\nlock-version = "1.0"\n[[packages]]\nname = "six"\nversion = "1.0"\nsdist = {url = "https://h.test/six-1.0.tar.gz", hashes = {sha256 = "aa"}}\n',
    ), (b"[", b"]", b"{", b"}", b"=", b'"', b"\n", b"'''", b"a.", b"[[", b"9" * 4400, b"marker = \"python_version > '3'\"", b"null", b"1e999", b"\\u0000")),
    "archives": Part(_archives, (ArchiveError, ValueError), (), (b"\0" * 512, b"ustar", b"{", b'"format": 1}', b"00000001.json", b"9" * 4400)),
    "notes": Part(_notes, (ValueError, RecursionError), (_NOTES,), (*_JSON_PIECES, b'"parts":[[0,1,2]]', b'"hosts":[["h",443,"i",1]]', b"1e308", b"-1")),
    "codings": Part(_codings, (UpstreamError,), (b"gzip\n\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0",), (b"\x1f\x8b", b"\0", b"\x78\x9c", b"deflate\n")),
}  # fmt: skip
"""By name. `store/notes` is JSON that sqlite gives back, and its reader's own errors are those of JSON."""
