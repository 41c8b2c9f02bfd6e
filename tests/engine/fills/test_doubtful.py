"""Which bytes are the file, where an answer is compressed or is called a web page: judged by the digest, or by the first bytes."""

import gzip
import hashlib
from pathlib import Path

import pytest

from pkgcache.engine.fills.doubtful import Doubt, Judged, judge
from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import parse_url
from tests.support.wheels import make_sdist, make_wheel

URL = parse_url("https://files.test/x")
ENCODED = Doubt(Failure.WRONG_ENCODING, URL, "sent as gzip", "gzip")
BROTLI = Doubt(Failure.WRONG_ENCODING, URL, "sent as br", "br")
LABELLED = Doubt(Failure.WRONG_TYPE, URL, "a web page")

SDIST, WHEEL = make_sdist("six").content, make_wheel("six").content
PORTAL = b"<html>Log in</html>"


def judged(tmp_path: Path, sent: bytes, doubt: Doubt, digest: Digest | None, filename: str) -> bytes:
    """The bytes that the file holds afterwards; their size and hash agree with what is returned."""
    path = tmp_path / "part"
    path.write_bytes(sent)
    hasher = hashlib.sha256(sent)
    with path.open("r+b") as part:
        found = judge(part.fileno(), Judged(len(sent), hasher), doubt, digest, filename)
    content = path.read_bytes()
    assert (found.size, found.hasher.hexdigest()) == (len(content), hashlib.sha256(content).hexdigest())
    return content


def sha256(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("knows_digest", [True, False])
@pytest.mark.parametrize(
    ("sent", "doubt", "file", "filename"),
    [
        pytest.param(SDIST, ENCODED, SDIST, "six-1.0.tar.gz", id="an sdist as it is, called gzip"),
        pytest.param(gzip.compress(SDIST), ENCODED, SDIST, "six-1.0.tar.gz", id="an sdist compressed once more"),
        pytest.param(gzip.compress(WHEEL), ENCODED, WHEEL, "six-1.0-py3-none-any.whl", id="a wheel compressed"),
        pytest.param(WHEEL, ENCODED, WHEEL, "six-1.0-py3-none-any.whl", id="a wheel as it is, called gzip"),
        pytest.param(
            gzip.compress(WHEEL[:99]) + gzip.compress(WHEEL[99:]), ENCODED, WHEEL, "six-1.0-py3-none-any.whl", id="two members"
        ),
        pytest.param(WHEEL, BROTLI, WHEEL, "six-1.0-py3-none-any.whl", id="a wheel as it is, called brotli"),
        pytest.param(WHEEL, LABELLED, WHEEL, "six-1.0-py3-none-any.whl", id="a wheel, called a page"),
        pytest.param(SDIST, LABELLED, SDIST, "six-1.0.tar.gz", id="an sdist, called a page"),
    ],
)  # fmt: skip
def test_the_file(sent: bytes, doubt: Doubt, file: bytes, filename: str, tmp_path: Path, *, knows_digest: bool) -> None:
    assert judged(tmp_path, sent, doubt, sha256(file) if knows_digest else None, filename) == file


@pytest.mark.parametrize(
    ("sent", "doubt", "digest", "filename"),
    [
        pytest.param(PORTAL, LABELLED, None, "six.whl", id="a captive portal"),
        pytest.param(PORTAL, LABELLED, sha256(WHEEL), "six.whl", id="a captive portal, for a digest"),
        pytest.param(gzip.compress(PORTAL), ENCODED, None, "six.whl", id="a captive portal, compressed"),
        pytest.param(SDIST[:-9], ENCODED, sha256(SDIST), "six.tar.gz", id="cut short"),
        pytest.param(gzip.compress(SDIST)[:-9], ENCODED, sha256(SDIST), "six.tar.gz", id="compressed, cut short"),
        pytest.param(gzip.compress(SDIST) + b"x", ENCODED, sha256(SDIST), "six.tar.gz", id="compressed, and garbage"),
        pytest.param(gzip.compress(WHEEL), ENCODED, sha256(SDIST), "six.whl", id="another file"),
        pytest.param(WHEEL, LABELLED, sha256(SDIST), "six.whl", id="another file, called a page"),
        pytest.param(b"", LABELLED, None, "six.whl", id="nothing"),
        pytest.param(b"", ENCODED, None, "six.whl", id="nothing, compressed"),
    ],
)
def test_neither(sent: bytes, doubt: Doubt, digest: Digest | None, filename: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError) as raised:
        judged(tmp_path, sent, doubt, digest, filename)
    assert raised.value.failure is doubt.failure


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pkgcache.engine.fills.doubtful.MAX_SPOOLED", 100_000)
    with pytest.raises(UpstreamError) as raised:
        judged(tmp_path, gzip.compress(bytes(100_001)), ENCODED, sha256(WHEEL), "six.whl")
    assert raised.value.failure is Failure.WRONG_LENGTH
