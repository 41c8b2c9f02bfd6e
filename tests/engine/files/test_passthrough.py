"""What goes from the upstreams to one client alone: which upstream's answer it is, what is refused, and what is kept of it."""

import asyncio
from typing import Final

import pytest

from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.files.passthrough import Passthrough
from pkgcache.engine.files.range_cache import RangeCache
from pkgcache.engine.responses.messages import CutShortError, Request, Response
from pkgcache.engine.store.keys import range_key
from tests.engine.files.fakes import CONTENT, MIRROR, NAMED, OTHER, Bench, Scripted, all_of, asked, wheel

WHOLE: Final = Scripted(200, {"Content-Length": "2048", "Content-Type": "application/zip"}, CONTENT)
RANGE: Final = Scripted(206, {"Content-Range": "bytes 10-19/2048", "Content-Length": "10"}, CONTENT[10:20])
NO_ANSWER: Final = Scripted(0)
CHALLENGED: Final = Scripted(401, {"WWW-Authenticate": 'Basic realm="x"'})
PORTAL: Final = Scripted(200, {"Content-Type": "text/html; charset=utf-8"}, b"<form>")
GZIPPED: Final = Scripted(200, {"Content-Encoding": "gzip"}, b"...")

TWO: Final = wheel(origins=(MIRROR, OTHER))


def passed(
    bench: Bench, way: str, request: Request, file: FileIdentity, **answers: Scripted
) -> tuple[Response | None, bytes | None]:
    """The answer by one of the three ways, and its body (None: cut short). Answers are by `mirror`, `other` and `named`."""
    origins = {"mirror": MIRROR, "other": OTHER, "named": NAMED}
    bench.upstreams.answers = {origins[name]: answer for name, answer in answers.items()}

    async def story() -> tuple[Response | None, bytes | None]:
        passthrough = Passthrough(bench.upstreams, bench.metrics, RangeCache(bench.shared()))
        response: Response | None
        if way == "whole":
            response = await passthrough.whole(request, file, file.fill_request)
        else:
            response = await (passthrough.head if way == "head" else passthrough.range)(request, file)
        body: bytes | None = b""
        try:
            body = await all_of(response.body) if response is not None else b""
        except CutShortError:
            body = None
        await bench.tasks.close()
        return response, body

    return asyncio.run(story())


def request_of(way: str) -> Request:
    return asked("HEAD" if way == "head" else "GET", **({"Range": "bytes=10-19"} if way == "range" else {}))


GOOD: Final = {"head": WHOLE, "range": RANGE, "whole": WHOLE}


@pytest.mark.parametrize("way", GOOD)
@pytest.mark.parametrize("first", [NO_ANSWER, CHALLENGED, PORTAL, GZIPPED, Scripted(404), Scripted(500)])
def test_the_next_upstream_answers(way: str, first: Scripted) -> None:
    bench = Bench()
    response, body = passed(bench, way, request_of(way), TWO, mirror=first, other=GOOD[way])
    assert response is not None
    assert (response.status, response.upstream) == (206 if way == "range" else 200, OTHER)
    assert body == {"head": b"", "range": CONTENT[10:20], "whole": CONTENT}[way]
    assert len(bench.upstreams.asked) == 2
    assert all(sent["Accept-Encoding"] == "identity" for _, _, sent in bench.upstreams.asked)


@pytest.mark.parametrize("way", GOOD)
@pytest.mark.parametrize(
    ("file", "answers", "status"),
    [
        pytest.param(wheel(), {"named": CHALLENGED}, 401, id="the origin that the client named"),
        pytest.param(wheel(), {"named": Scripted(403)}, 403, id="it forbids"),
        pytest.param(wheel(origins=(MIRROR,)), {"mirror": CHALLENGED}, 502, id="one mirror"),
        pytest.param(TWO, {"mirror": CHALLENGED, "other": CHALLENGED}, 502, id="two mirrors"),
        pytest.param(
            wheel(origins=(MIRROR, NAMED)), {"mirror": CHALLENGED, "named": CHALLENGED}, 401, id="it, and a mirror"
        ),
        pytest.param(TWO, {"mirror": Scripted(404), "other": Scripted(410)}, 404, id="one has it no more"),
        pytest.param(TWO, {"mirror": Scripted(404), "other": Scripted(404)}, 404, id="none has it"),
        pytest.param(TWO, {"mirror": NO_ANSWER, "other": Scripted(404)}, 503, id="one cannot be asked"),
        pytest.param(TWO, {"mirror": PORTAL, "other": GZIPPED}, 502, id="no file in either"),
    ],
)
def test_nobody_gives_it(way: str, file: FileIdentity, answers: dict[str, Scripted], status: int) -> None:
    """Each upstream is named in the answer, and a challenge passes only with a 401."""
    response, body = passed(Bench(), way, request_of(way), file, **answers)
    assert response is not None
    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    for url, _ in file.route.sources:
        assert url.origin.encode() in (body or b"")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            Scripted(206, {"Content-Range": "bytes 11-20/2048", "Content-Length": "10"}, CONTENT[11:21]), id="moved"
        ),
        pytest.param(Scripted(206, {"Content-Length": "10"}, CONTENT[10:20]), id="without Content-Range"),
        pytest.param(
            Scripted(206, {"Content-Range": "bytes 10-19/2048", "Content-Length": "9"}, CONTENT[10:19]), id="short"
        ),
    ],
)
def test_another_range_than_was_asked_for(answer: Scripted) -> None:
    response, _ = passed(Bench(), "range", request_of("range"), wheel(), named=answer)
    assert response is not None
    assert response.status == 502


def test_an_upstream_without_ranges() -> None:
    """None: the whole file comes in any case, so it is better stored."""
    response, _ = passed(Bench(), "range", request_of("range"), wheel(), named=WHOLE)
    assert response is None


def test_a_range_past_the_end() -> None:
    response, _ = passed(
        Bench(), "range", asked(Range="bytes=9999-"), wheel(), named=Scripted(416, {"Content-Range": "bytes */2048"})
    )
    assert response is not None
    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */2048")


@pytest.mark.parametrize(
    ("file", "body", "kept"),
    [
        pytest.param(wheel(), CONTENT[10:20], True, id="a short range"),
        pytest.param(wheel(), CONTENT[10:15], False, id="that broke off"),
        pytest.param(wheel(digest=False), CONTENT[10:20], False, id="of a file without a digest"),
    ],
)
def test_what_is_kept(file: FileIdentity, body: bytes, kept: bool) -> None:
    bench = Bench()
    passed(bench, "range", request_of("range"), file, named=Scripted(206, RANGE.headers, body))
    assert (range_key(file.key) in bench.store.entries) is kept


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT[:-1]])
def test_a_wrong_file_is_never_complete(content: bytes) -> None:
    answer = Scripted(200, {"Content-Length": "2048"}, content)
    response, body = passed(Bench(), "whole", request_of("whole"), wheel(), named=answer)
    assert response is not None
    assert (response.status, body) == (200, None)
