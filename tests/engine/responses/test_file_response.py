"""A file's answer: which status, which bytes and which headers, by the request's conditions and ranges."""

import asyncio
from dataclasses import dataclass
from typing import Final

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.bodies import StoredBytes
from pkgcache.engine.responses.file_response import FileRepresentation, file_response
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import parse_url

CONTENT: Final = bytes(range(100))
DATE: Final = "Fri, 27 Nov 2026 00:00:00 GMT"
LATER: Final = "Sat, 28 Nov 2026 00:00:00 GMT"


@dataclass
class Counted(StoredBytes):
    """Bytes in memory that count how often they were released."""

    value: bytes
    released: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.value)

    def release(self) -> None:
        self.released += 1


def answered(total: int | None, method: str = "GET", **sent: str) -> tuple[Response, Counted]:
    """What a request gets with these headers (an underscore is a hyphen)."""
    headers = CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in sent.items()}))
    request = Request(method=method, url=parse_url("https://files.example/six.whl"), headers=headers)
    file = FileRepresentation(
        total=total,
        etag='"new"',
        other_tags=('"attempt"',),
        headers=CIMultiDict({"Content-Type": "application/zip", "Last-Modified": DATE}),
        cache=CacheStatus(hit=True),
    )
    source = Counted(CONTENT)
    return file_response(request, file, source), source


def bytes_of(response: Response) -> bytes:
    async def read() -> bytes:
        assert not isinstance(response.body, bytes)
        parts = []
        while chunk := await response.body.read():
            parts.append(bytes(chunk))
        return b"".join(parts)

    return response.body if isinstance(response.body, bytes) else asyncio.run(read())


@pytest.mark.parametrize(
    ("sent", "status", "content_range", "content"),
    [
        pytest.param({}, 200, None, CONTENT, id="all of it"),
        pytest.param({"Range": "bytes=10-19"}, 206, "bytes 10-19/100", CONTENT[10:20], id="a range"),
        pytest.param({"Range": "bytes=-5"}, 206, "bytes 95-99/100", CONTENT[-5:], id="the end"),
        pytest.param({"Range": "bytes=200-"}, 416, "bytes */100", None, id="past the end (§15.5.17)"),
        pytest.param({"Range": "lines=1-2"}, 200, None, CONTENT, id="another unit (§14.2)"),
        pytest.param(
            {"Range": "bytes=10-19", "If_Range": '"new"'}, 206, "bytes 10-19/100", CONTENT[10:20], id="If-Range holds"
        ),
        pytest.param(
            {"Range": "bytes=10-19", "If_Range": '"attempt"'},
            206,
            "bytes 10-19/100",
            CONTENT[10:20],
            id="If-Range holds for the tag of the attempt",
        ),
        pytest.param({"Range": "bytes=10-19", "If_Range": '"old"'}, 200, None, CONTENT, id="If-Range fails (§13.1.5)"),
        pytest.param({"If_None_Match": '"new"'}, 304, None, b"", id="not modified"),
        pytest.param({"If_None_Match": '"attempt"'}, 304, None, b"", id="not modified since its attempt"),
        pytest.param({"If_None_Match": '"old"'}, 200, None, CONTENT, id="modified"),
        pytest.param({"If_Modified_Since": LATER}, 304, None, b"", id="not modified since a date"),
        pytest.param(
            {"If_None_Match": '"new"', "Range": "bytes=1-2"}, 304, None, b"", id="a condition before a range (§13.2.2)"
        ),
    ],
)
def test_a_file_of_known_length(
    sent: dict[str, str], status: int, content_range: str | None, content: bytes | None
) -> None:
    response, source = answered(len(CONTENT), **sent)
    assert response.status == status
    assert response.headers.get("Content-Range") == content_range
    assert source.released == 1, "bytes in memory are the body itself"
    if content is not None:
        assert bytes_of(response) == content
    if status in {200, 206}:
        assert response.headers["Content-Length"] == str(len(content or b""))
    if status != 416:
        assert (response.headers["ETag"], response.headers["Accept-Ranges"]) == ('"new"', "bytes")


def test_several_ranges() -> None:
    response, _ = answered(len(CONTENT), Range="bytes=0-1,50-51")
    boundary = response.headers["Content-Type"].partition("boundary=")[2]
    body = bytes_of(response)
    assert response.status == 206
    assert response.headers["Content-Length"] == str(len(body))
    assert body.count(b"--" + boundary.encode()) == 3
    for content_range, content in ((b"0-1", CONTENT[:2]), (b"50-51", CONTENT[50:52])):
        assert b"Content-Range: bytes %s/100\r\n\r\n%s\r\n" % (content_range, content) in body


@pytest.mark.parametrize("sent", [{}, {"Range": "bytes=10-19"}, {"Range": "bytes=-5"}])
def test_ranges_of_a_file_of_unknown_length_are_ignored(sent: dict[str, str]) -> None:
    response, _ = answered(None, **sent)
    assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
    assert response.headers["Accept-Ranges"] == "none"
    assert "Content-Length" not in response.headers
    assert bytes_of(response) == CONTENT


@pytest.mark.parametrize("sent", [{}, {"Range": "bytes=10-19"}])
def test_head(sent: dict[str, str]) -> None:
    """The headers of the whole file and nothing else: RFC 9110 §14.2 knows ranges for GET alone."""
    response, source = answered(len(CONTENT), "HEAD", **sent)
    assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"", "100")
    assert source.released == 1
