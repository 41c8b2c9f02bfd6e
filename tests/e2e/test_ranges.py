"""Ranges of a file: on a hit, on a growing file and on a cold one, each answer the one that nginx gives (RFC 9110 §14, §13.1.5).

The table was recorded from nginx 1.22.1 serving the same bytes; where nginx is installed it is asked side by side too.
Not as nginx: HEAD with Range is a 200 with the whole file's headers (§14.2: a server ignores Range for other methods than GET).
"""

import hashlib
import re
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from tests.bench.peers import NGINX, Nginx, nginx_files
from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, open_house, tidied
from tests.support.index import PageStyle
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import MODIFIED
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Wire, fetch

SIZE: Final = 301_144
"""Of every wheel in the table; larger than what is held back, so that clients have a growing file's first bytes early."""

TABLE: Final[tuple[tuple[str | None, int, tuple[str, ...], int], ...]] = (
    (None, 200, (), 301144),
    ("bytes=", 200, (), 301144),
    ("bytes=0-", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=0-0", 206, ("bytes 0-0/301144",), 1),
    ("bytes=0-99", 206, ("bytes 0-99/301144",), 100),
    ("bytes=1000-1999", 206, ("bytes 1000-1999/301144",), 1000),
    ("bytes=0-301143", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=0-301144", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=0-9999999", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=301143-", 206, ("bytes 301143-301143/301144",), 1),
    ("bytes=301143-301143", 206, ("bytes 301143-301143/301144",), 1),
    ("bytes=150000-", 206, ("bytes 150000-301143/301144",), 151144),
    ("bytes=150000-249999", 206, ("bytes 150000-249999/301144",), 100000),
    ("bytes=250000-260000", 206, ("bytes 250000-260000/301144",), 10001),
    ("bytes=301144-", 416, ("bytes */301144",), 0),
    ("bytes=301144-301149", 416, ("bytes */301144",), 0),
    ("bytes=999999999-", 416, ("bytes */301144",), 0),
    ("bytes=-1", 206, ("bytes 301143-301143/301144",), 1),
    ("bytes=-1000", 206, ("bytes 300144-301143/301144",), 1000),
    ("bytes=-100000", 206, ("bytes 201144-301143/301144",), 100000),
    ("bytes=-301144", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=-301145", 206, ("bytes 0-301143/301144",), 301144),
    ("bytes=-0", 416, ("bytes */301144",), 0),
    ("bytes=-", 416, ("bytes */301144",), 0),
    ("bytes=abc", 416, ("bytes */301144",), 0),
    ("bytes=5-2", 416, ("bytes */301144",), 0),
    ("bytes=a-5", 416, ("bytes */301144",), 0),
    ("bytes=0x0-1", 416, ("bytes */301144",), 0),
    ("bytes=1", 416, ("bytes */301144",), 0),
    ("items=0-1", 200, (), 301144),
    ("bytes 0-1", 200, (), 301144),
    ("Bytes=0-1", 206, ("bytes 0-1/301144",), 2),
    ("bytes= 0-1", 206, ("bytes 0-1/301144",), 2),
    ("bytes=0 - 1", 206, ("bytes 0-1/301144",), 2),
    ("bytes=0-9,20-29", 206, ("bytes 0-9/301144", "bytes 20-29/301144"), 252),
    ("bytes=0-0,-1", 206, ("bytes 0-0/301144", "bytes 301143-301143/301144"), 242),
    ("bytes=10-19,0-9", 206, ("bytes 10-19/301144", "bytes 0-9/301144"), 252),
    ("bytes=0-9,250000-250009", 206, ("bytes 0-9/301144", "bytes 250000-250009/301144"), 260),
    ("bytes=0-9,5-14", 206, ("bytes 0-9/301144", "bytes 5-14/301144"), 251),
    ("bytes=0-9,301144-", 206, ("bytes 0-9/301144",), 10),
    ("bytes=-0,0-1", 206, ("bytes 0-1/301144",), 2),
    ("bytes=0-1,abc", 416, ("bytes */301144",), 0),
    ("bytes=0-1,,4-5", 416, ("bytes */301144",), 0),
    ("bytes=0-,0-", 200, (), 301144),
    ("bytes=9223372036854775807-", 416, ("bytes */301144",), 0),
    ("bytes=0-9223372036854775807", 206, ("bytes 0-301143/301144",), 301144),
)
"""Range header, status, each Content-Range (of the answer or of its parts), Content-Length (0: of a 416, nginx's own page)."""

IDS: Final = [repr(row[0]) for row in TABLE]


def wheel(number: int) -> ReleaseFile:
    release = make_wheel(f"ranged-{number:02}", payload_size=300_000, seed=number + 1)
    assert release.size == SIZE
    return release


@pytest.fixture(scope="module")
def open_for_all(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("ranges") / "proxy") as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    """A proxy and its upstream, honest again after each test."""
    with tidied(open_for_all) as house:
        yield house


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, Path] | None]:
    """nginx serving a folder, where there is nginx."""
    if NGINX is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("nginx")
    root = folder / "root"
    root.mkdir()
    with nginx_files(folder / "server", root) as server:
        yield server, root


def told(answer: Fetched) -> tuple[int, tuple[str, ...], int]:
    """Status, content ranges and length."""
    if "multipart/byteranges" in (answer.headers["Content-Type"] or ""):
        spans = tuple(found.decode() for found in re.findall(rb"Content-Range: (.*)\r\n", answer.body))
    else:
        spans = (answer.headers["Content-Range"],) if answer.headers["Content-Range"] else ()
    return answer.status, spans, 0 if answer.status == 416 else int(answer.headers["Content-Length"])


def framed(answer: Fetched) -> bytes:
    """The body, with another boundary where it has one."""
    found = re.fullmatch("multipart/byteranges; boundary=(.*)", answer.headers["Content-Type"] or "")
    return answer.body.replace(found[1].encode(), b"BOUNDARY") if found else answer.body


def bytes_of(content: bytes, spans: tuple[str, ...]) -> bytes:
    """The body that belongs to the recorded content ranges."""
    pieces = []
    for span in spans:
        first, last = span.removeprefix("bytes ").partition("/")[0].split("-")
        pieces.append(content[int(first) : int(last) + 1])
    if len(spans) == 1:
        return pieces[0]
    head = b"\r\n--BOUNDARY\r\nContent-Type: application/octet-stream\r\nContent-Range: %b\r\n\r\n%b"
    parts = [head % (span.encode(), piece) for span, piece in zip(spans, pieces, strict=True)]
    return b"".join(parts) + b"\r\n--BOUNDARY--\r\n"


def assert_as_nginx(
    answer: Fetched,
    row: tuple[str | None, int, tuple[str, ...], int],
    release: ReleaseFile,
    nginx: tuple[Nginx, Path] | None,
) -> None:
    header, status, spans, length = row
    assert answer.complete, answer.error
    assert told(answer) == (status, spans, length)
    if status != 416:
        assert framed(answer) == (bytes_of(release.content, spans) if spans else release.content)
    if nginx is not None:
        server, root = nginx
        (root / release.filename).write_bytes(release.content)
        theirs = fetch(0, f"{server.origin}/{release.filename}", via="direct", ca=server.ca, headers=range_of(header))
        assert told(theirs) == told(answer)
        if status != 416:
            assert framed(theirs) == framed(answer)
    assert answer.headers["Accept-Ranges"] == "bytes" or status == 416


def range_of(header: str | None) -> dict[str, str]:
    return {} if header is None else {"Range": header}


@pytest.fixture(scope="module")
def on_hits(open_for_all: House) -> tuple[ReleaseFile, dict[str | None, Fetched]]:
    """The table's answers for a stored file; the upstream is not asked again."""
    release = wheel(98)
    house = open_for_all
    house.upstream.add(release)
    assert house.fetch(file_url(release)).sha256 == release.sha256
    house.proxy.at_rest()
    answers = {row[0]: house.fetch(file_url(release), headers=range_of(row[0])) for row in TABLE}
    assert house.file_requests(release) == 1
    return release, answers


@pytest.fixture(scope="module")
def on_growing(open_for_all: House) -> tuple[ReleaseFile, dict[str | None, Fetched]]:
    """The table's answers for a file of which 200 kB are there when all of it is asked for."""
    release = wheel(97)
    house, url = open_for_all, file_url(release)
    gate = threading.Event()
    house.upstream.add(release)
    house.upstream.script(Behaviour(release.filename, stall_after=200_000, gate=gate, times=1))
    with Wire(house.proxy.port, url, ca=house.proxy.ca) as first, ThreadPoolExecutor(len(TABLE)) as pool:
        first.send(url)
        house.upstream.wait_until(lambda: house.upstream.bytes_sent(path_contains=release.filename) == 200_000)
        waiting = {row[0]: pool.submit(house.fetch, url, headers=range_of(row[0])) for row in TABLE}
        early = waiting["bytes=0-0"].result(), waiting["bytes=1000-1999"].result()
        assert [len(answer.body) for answer in early] == [1, 1000], "what was there was not given at once"
        time.sleep(0.5)
        gate.set()
        answers = {header: each.result() for header, each in waiting.items()}
        assert first.receive().sha256 == release.sha256
    house.upstream.unscript()
    return release, answers


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_on_a_hit(
    row: tuple[str | None, int, tuple[str, ...], int],
    on_hits: tuple[ReleaseFile, dict[str | None, Fetched]],
    nginx: tuple[Nginx, Path] | None,
) -> None:
    release, answers = on_hits
    assert_as_nginx(answers[row[0]], row, release, nginx)


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_on_a_growing_file(
    row: tuple[str | None, int, tuple[str, ...], int],
    on_growing: tuple[ReleaseFile, dict[str | None, Fetched]],
    nginx: tuple[Nginx, Path] | None,
) -> None:
    release, answers = on_growing
    assert_as_nginx(answers[row[0]], row, release, nginx)


def downloads(house: House) -> set[Path]:
    """What grows: `<key>.part` and its word. A value on its way into the store (a range that is kept) has a process's number, too."""
    return {path for path in (house.proxy.store / "growing").iterdir() if path.name.count(".") == 1}


@pytest.mark.parametrize("number", range(len(TABLE)), ids=IDS)
def test_on_a_cold_file(house: House, number: int, nginx: tuple[Nginx, Path] | None) -> None:
    """Small ranges are passed through: the upstream is asked once, and nothing grows."""
    release, row = wheel(number), TABLE[number]
    house.upstream.add(release)
    growing = downloads(house)
    answer = house.fetch(file_url(release), headers=range_of(row[0]))
    assert_as_nginx(answer, row, release, nginx)
    if answer.headers["Cache-Status"].startswith("pypi-cache; fwd=partial"):
        assert house.file_requests(release) == 1
        assert downloads(house) <= growing


def test_on_a_cold_file_of_nginx(nginx: tuple[Nginx, Path] | None, ca: Authority, tmp_path: Path) -> None:
    """With nginx itself as the mirror, several ranges too are its own answer, passed through."""
    if nginx is None:
        pytest.skip("no nginx")
    server, root = nginx
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(server.ca.read_bytes())
    options = {"pypi_cache_index": [f"pypi={server.origin}/pypi/simple/"]}
    with Proxy(tmp_path / "proxy", options=options, upstream_ca=bundle) as proxy:
        for number, row in enumerate(TABLE):
            release = wheel(number + 40)
            path = root / "pypi" / release.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(release.content)
            answer = fetch(proxy.port, file_url(release), ca=proxy.ca, headers=range_of(row[0]))
            assert_as_nginx(answer, row, release, nginx)
        assert not proxy.complaints


# If-Range, conditions, HEAD


def if_range_cases(etag: str) -> Mapping[str, tuple[str, int]]:
    """Name → (If-Range, status), as nginx answers with its own validators."""
    return {
        "our tag": (etag, 206),
        "our tag, weak": (f"W/{etag}", 200),
        "another tag": ('"no"', 200),
        "no quotes": (etag.strip('"'), 200),
        "a list": (f'{etag}, "x"', 200),
        "star": ("*", 200),
        "the date": (formatdate(MODIFIED, usegmt=True), 206),
        "an older date": (formatdate(MODIFIED - 86400, usegmt=True), 200),
        "a newer date": (formatdate(MODIFIED + 86400, usegmt=True), 200),
        "junk": ("yesterday", 200),
    }


def test_if_range(house: House, nginx: tuple[Nginx, Path] | None) -> None:
    """With our tag: the file's and its attempt's; §13.1.5: strong comparison; a date only where it is exactly the file's."""
    release = wheel(90)
    house.upstream.add(release)
    url = file_url(release)
    first = house.fetch(url)
    house.proxy.at_rest()
    etag = house.fetch(url, method="HEAD").headers["ETag"]
    assert first.headers["ETag"] != etag, "until it is verified a file's tag is its attempt's"
    for name, (value, status) in if_range_cases(etag).items():
        answer = house.fetch(url, headers={"Range": "bytes=10-19", "If-Range": value})
        assert (answer.status, answer.size) == (status, 10 if status == 206 else SIZE), name
    again = house.fetch(url, headers={"Range": "bytes=10-19", "If-Range": first.headers["ETag"]})
    assert (again.status, again.body) == (206, release.content[10:20]), "the attempt that was committed"
    if nginx is not None:
        server, root = nginx
        (root / release.filename).write_bytes(release.content)
        theirs = f"{server.origin}/{release.filename}"
        head = fetch(0, theirs, via="direct", ca=server.ca, method="HEAD")
        dates = {
            formatdate(MODIFIED, usegmt=True): head.headers["Last-Modified"],
            formatdate(MODIFIED + 86400, usegmt=True): formatdate(time.time() + 86400, usegmt=True),
        }
        for name, (value, status) in if_range_cases(head.headers["ETag"]).items():
            headers = {"Range": "bytes=10-19", "If-Range": dates.get(value, value)}
            assert fetch(0, theirs, via="direct", ca=server.ca, headers=headers).status == status, name


def test_if_range_on_a_growing_file(house: House) -> None:
    """The attempt's tag holds for this attempt alone; a client that resumes waits for nothing but what it lacks."""
    release = wheel(91)
    url = file_url(release)
    gate = threading.Event()
    house.upstream.add(release)
    house.upstream.script(Behaviour(release.filename, stall_after=200_000, gate=gate, times=1))
    with Wire(house.proxy.port, url, ca=house.proxy.ca) as first, ThreadPoolExecutor(2) as pool:
        begun = first.request(url, read_limit=100_000)
        etag = begun.headers["ETag"]
        first.close()
        resumed = pool.submit(house.fetch, url, headers={"Range": "bytes=100000-", "If-Range": etag})
        early = house.fetch(url, headers={"Range": "bytes=100000-100999", "If-Range": etag})
        assert (early.status, early.body) == (206, release.content[100_000:101_000])
        stale = pool.submit(house.fetch, url, headers={"Range": "bytes=100000-", "If-Range": '"stale"'})
        time.sleep(0.3)
        gate.set()
        assert (resumed.result().status, begun.body + resumed.result().body) == (206, release.content)
        assert (stale.result().status, stale.result().sha256) == (200, release.sha256)
    assert house.file_requests(release) == 1


def test_if_range_on_a_cold_file(house: House) -> None:
    """Nothing is known of it that a tag could hold for: the whole file, which is then there; the upstream's own date does hold."""
    for number, (condition, status) in enumerate(
        {'"stale"': 200, formatdate(MODIFIED, usegmt=True): 206, formatdate(MODIFIED - 5, usegmt=True): 200}.items()
    ):
        release = wheel(92 + number)
        house.upstream.add(release)
        answer = house.fetch(file_url(release), headers={"Range": "bytes=1000-", "If-Range": condition})
        assert (answer.status, answer.body) == (status, release.content[1000 if status == 206 else 0 :])
        assert house.file_requests(release) == 1


def test_a_tag_of_what_was_passed_through_never_holds(house: House) -> None:
    """It was not verified, so no other bytes may be joined to it."""
    release = wheel(95)
    house.upstream.add(release)
    url = file_url(release)
    part = house.fetch(url, headers={"Range": "bytes=0-99"})
    assert part.status == 206
    rest = house.fetch(url, headers={"Range": "bytes=100-", "If-Range": part.headers["ETag"]})
    assert (rest.status, rest.sha256) == (200, release.sha256)


def test_the_tag_of_an_attempt_that_was_not_committed(house: House) -> None:
    release = wheel(96)
    house.upstream.add(release)
    house.upstream.script(Behaviour(release.filename, wrong_byte_at=5))
    wrong = house.fetch(file_url(release))
    assert not wrong.complete
    house.upstream.unscript()
    house.proxy.at_rest()  # who joins an attempt in the moment of its failure is told of that
    headers = {"Range": f"bytes={wrong.size}-", "If-Range": wrong.headers["ETag"]}
    again = house.fetch(file_url(release), headers=headers)
    assert (again.status, again.sha256) == (200, release.sha256)


def test_head_is_the_gets_headers(house: House) -> None:
    """Cold, growing and stored; with Range too (RFC 9110 §14.2: defined for GET alone); it never starts a fill."""
    release = wheel(89)
    house.upstream.add(release)
    url = file_url(release)
    cold = house.fetch(url, method="HEAD")
    ranged = house.fetch(url, method="HEAD", headers={"Range": "bytes=0-9"})
    assert house.upstream.count(method="GET", path_contains=release.filename) == 0
    whole = house.fetch(url)
    house.proxy.at_rest()
    stored = house.fetch(url, method="HEAD")
    for answer in (cold, ranged, stored):
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", str(SIZE))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["ETag"]
        for name in ("Content-Type", "Last-Modified", "Cache-Control"):
            assert answer.headers[name] == whole.headers[name], name


# Cold and large


def test_a_suffix_of_a_cold_large_file(house: House, tmp_path: Path) -> None:
    """One request, no fill, and no more bytes than were asked for: a resolver that looks at ten torch wheels pulls no 20 GB."""
    release = make_wheel("torch-like", payload_size=100_000_000, folder=tmp_path)
    house.upstream.add(release)
    growing = downloads(house)
    answer = house.fetch(file_url(release), headers={"Range": "bytes=-20000"})
    assert (answer.status, answer.body) == (206, release.content[-20_000:])
    assert answer.headers["Content-Range"] == f"bytes {release.size - 20_000}-{release.size - 1}/{release.size}"
    (asked,) = house.upstream.requests
    assert (asked.method, asked.headers["range"], asked.bytes_sent) == ("GET", "bytes=-20000", 20_000)
    assert downloads(house) <= growing


def test_a_range_far_ahead_of_a_growing_file(house: House, tmp_path: Path) -> None:
    """It is passed through, and the fill goes on; a mirror that does not do ranges is asked for it once, and then it is waited for."""
    release = make_wheel("far-ahead", payload_size=20_000_000, folder=tmp_path)
    url = file_url(release)
    gate = threading.Event()
    house.upstream.add(release)
    house.upstream.script(Behaviour("/far_ahead", stall_after=1_000_000, gate=gate, times=1))
    with Wire(house.proxy.port, url, ca=house.proxy.ca) as first, ThreadPoolExecutor(2) as pool:
        first.send(url)
        house.upstream.wait_until(lambda: house.upstream.bytes_sent(path_contains="/far_ahead") == 1_000_000)
        tail = house.fetch(url, headers={"Range": "bytes=-1000"})
        assert (tail.status, tail.body) == (206, release.content[-1000:])
        assert house.file_requests(release) == 2
        house.upstream.script(Behaviour("/far_ahead", ignore_range=True))
        waits = pool.submit(house.fetch, url, headers={"Range": "bytes=-1000"})
        several = pool.submit(house.fetch, url, headers={"Range": "bytes=0-9,-10"})
        house.upstream.wait_until(lambda: house.file_requests(release) >= 4)
        time.sleep(0.5)
        assert house.file_requests(release) == 4, "a mirror without ranges was asked again and again"
        gate.set()
        assert (waits.result().status, waits.result().body) == (206, release.content[-1000:])
        assert bytes_of(release.content, told(several.result())[1]) == framed(several.result())
        assert first.receive(keep=False).sha256 == release.sha256
    assert house.file_requests(release) == 4


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_half_of_a_file_is_worth_all_of_it(house: House, share: float) -> None:
    """The page tells how large the file is."""
    release = wheel(80 + int(share * 10))
    house.upstream.add(release)
    house.page(release.project)
    url = file_url(release)
    count = int(SIZE * share)
    answer = house.fetch(url, headers={"Range": f"bytes={SIZE - count}-"})
    assert (answer.status, answer.body) == (206, release.content[-count:])
    house.proxy.at_rest()
    house.upstream.clear()
    assert house.fetch(url).sha256 == release.sha256
    assert house.file_requests(release) == (1 if share < 0.5 else 0)


# Clients that read wheels by ranges


def needing(name: str) -> tuple[ReleaseFile, ReleaseFile]:
    leaf = make_wheel(f"{name}-leaf", payload_size=1_500_000, seed=1)
    return leaf, make_wheel(name, requires=(f"{name}-leaf",), payload_size=1_500_000, seed=2)


@pytest.fixture
def undescribed(house: House) -> Iterator[House]:
    """An upstream without PEP 658."""
    house.upstream.serves_metadata = False
    house.upstream.style = PageStyle(core_metadata=False)
    yield house
    house.upstream.serves_metadata = True


def test_pip_fast_deps(undescribed: House, home: Path) -> None:
    """HEAD, then ranges; then the wheels themselves."""
    house = undescribed
    leaf, top = needing("fast")
    house.upstream.add(leaf, top)
    way = clients.PIP_ENV
    way.install(house.proxy, home, ["fast"], home / "site", args=["--use-feature=fast-deps"]).ok()
    assert clients.installed(home / "site") == {"fast": "1.0", "fast-leaf": "1.0"}
    ranged = [seen for seen in house.upstream.seen(method="GET", path_contains=".whl") if "range" in seen.headers]
    assert ranged, "no range was asked for"
    assert all(seen.status == 206 for seen in ranged)


def test_uv_without_core_metadata(undescribed: House, home: Path) -> None:
    """A resolution reads both wheels' metadata by ranges and downloads neither."""
    house = undescribed
    leaf, top = needing("ranging")
    house.upstream.add(leaf, top)
    result = clients.uv_compile(home, ["ranging"], env=clients.UV_ENV.env(house.proxy)).ok()
    assert "ranging-leaf==1.0" in result.stdout
    assert house.upstream.bytes_sent(path_contains=".whl") < 1_000_000
    assert "streaming" not in result.stderr


def test_poetrys_lazy_wheel(undescribed: House) -> None:
    """First a suffix range, its length out of Content-Range, then a HEAD and the ranges that a zip reader wants."""
    house = undescribed
    release = make_wheel("lazy", payload_size=1_500_000, seed=3)
    house.upstream.add(release)
    url = file_url(release)
    tail = house.fetch(
        url, headers={"Range": "bytes=-10240", "Cache-Control": "no-cache", "Accept-Encoding": "Identity"}
    )
    assert tail.status == 206
    total = int(tail.headers["Content-Range"].rpartition("/")[2])
    head = house.fetch(url, method="HEAD")
    assert (int(head.headers["Content-Length"]), head.headers["Accept-Ranges"]) == (total, "bytes")
    with zipfile.ZipFile(BytesIO(b"\0" * (total - len(tail.body)) + tail.body)) as archive:
        info = archive.getinfo("lazy-1.0.dist-info/METADATA")
    stop = info.header_offset + 400 + info.file_size
    part = house.fetch(url, headers={"Range": f"bytes={info.header_offset}-{stop}", "Cache-Control": "no-cache"})
    assert part.status == 206
    assert release.metadata in part.body
    assert house.upstream.bytes_sent(path_contains=".whl") < 20_000


def test_what_a_client_has_joins_to_the_file(house: House) -> None:
    """A file read in pieces, cold to the end, is the file."""
    release = wheel(88)
    house.upstream.add(release)
    pieces = [
        house.fetch(file_url(release), headers={"Range": f"bytes={start}-{start + 49_999}"}).body
        for start in range(0, SIZE, 50_000)
    ]
    assert hashlib.sha256(b"".join(pieces)).hexdigest() == release.sha256
