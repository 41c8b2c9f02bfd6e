"""Digests and release paths (PEP 503 fragments, PEP 691 hashes, the file host's layout)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.routing.digests import Digest, ReleasePath, parse_release_path, strongest
from pkgcache.rules.routing.urls import normalise_path, quote_segment

H256, H384, H512 = "0a" * 32, "0b" * 48, "0c" * 64
HEX = "aabb" + "c" * 60
LAYOUT = f"/packages/aa/bb/{'c' * 60}"


@pytest.mark.parametrize(
    ("hashes", "digest"),
    [
        pytest.param({"md5": "0" * 32, "sha1": "0" * 40}, None, id="MD5 and SHA-1 name no file"),
        ({"md5": "0" * 32, "sha256": H256}, f"sha256:{H256}"),
        ({"sha256": H256, "sha384": H384, "sha512": H512}, f"sha512:{H512}"),
        ({"sha256": H256, "sha384": H384}, f"sha384:{H384}"),
        ({"sha256": H256, "blake2b_256": H256}, f"sha256:{H256}"),
        ({"blake2b_256": H256}, f"blake2b:{H256}"),
        pytest.param({"blake2b": H512}, None, id="BLAKE2b-512 is not BLAKE2b-256"),
        ({"sha3_256": H256}, f"sha3_256:{H256}"),
        ({"SHA256": H256.upper()}, f"sha256:{H256}"),
        pytest.param({"sha256": H256[1:], "sha384": "x" * 96}, None, id="malformed"),
        pytest.param({"sha512": "bad", "sha256": H256}, f"sha256:{H256}", id="malformed, and a good one"),
        ({}, None),
    ],
)
def test_strongest(hashes: dict[str, str], digest: str | None) -> None:
    assert strongest(hashes) == (Digest.parse(digest) if digest else None)


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", f"md5:{'0' * 32}", f"sha256:{H512}", f"sha256:{'g' * 64}", f"sha256: {H256[1:]}"]
)
def test_refused_digests(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        Digest.parse(text)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"])
def test_hashers(algorithm: str) -> None:
    value = hashlib.new(algorithm, b"data").hexdigest()
    hasher = Digest(algorithm, value).hasher()
    hasher.update(b"da")
    hasher.update(memoryview(b"ta"))
    assert hasher.hexdigest() == value
    assert Digest.parse(str(Digest(algorithm, value))).value == value


def test_blake2b_means_256_bits() -> None:
    hasher = Digest("blake2b", "").hasher()
    hasher.update(b"data")
    assert hasher.hexdigest() == hashlib.blake2b(b"data", digest_size=32).hexdigest()


@pytest.mark.parametrize(
    ("path", "filename", "suffix"),
    [
        (f"{LAYOUT}/six-1.0.tar.gz", "six-1.0.tar.gz", ""),
        pytest.param(f"/pypi{LAYOUT}/six-1.0.zip", "six-1.0.zip", "", id="a mirror's prefix"),
        pytest.param(f"/root/web/packages{LAYOUT}/six-1.0.zip", "six-1.0.zip", "", id="packages twice"),
        pytest.param(f"{LAYOUT}{LAYOUT}/six-1.0.zip", "six-1.0.zip", "", id="layout twice"),
        (f"{LAYOUT.upper().replace('PACKAGES', 'packages')}/six-1.0.zip", "six-1.0.zip", ""),
        (f"/x/%2e%2e{LAYOUT}/./six-1.0.zip", "six-1.0.zip", ""),
        (f"{LAYOUT}/t-1%2Bcpu-py3-none-any.whl", "t-1+cpu-py3-none-any.whl", ""),
        (f"{LAYOUT}/t-1+cpu-py3-none-any.whl", "t-1+cpu-py3-none-any.whl", ""),
        (f"{LAYOUT}/%C3%A9%25-1.zip", "é%-1.zip", ""),
        (f"{LAYOUT}/t-1-py3-none-any.whl.metadata", "t-1-py3-none-any.whl", ".metadata"),
        (f"{LAYOUT}/t-1-py3-none-any.whl%2Emetadata", "t-1-py3-none-any.whl", ".metadata"),
        (f"{LAYOUT}/t-1.tar.gz.asc", "t-1.tar.gz", ".asc"),
        (f"{LAYOUT}/t-1.tar.gz.provenance", "t-1.tar.gz", ".provenance"),
        (f"{LAYOUT}/t-1.tar.gz.publish.attestation", "t-1.tar.gz", ".publish.attestation"),
        (f"{LAYOUT}/t-1.whl.metadata.asc", "t-1.whl", ".metadata.asc"),
        pytest.param(
            f"{LAYOUT}/t-1.whl.unheard-of", "t-1.whl", ".unheard-of", id="whatever follows a file's extension"
        ),
        pytest.param(f"{LAYOUT}/t.zip-1.0.whl", "t.zip-1.0.whl", "", id="an extension inside the name"),
        (f"{LAYOUT}/strange.metadata", "strange", ".metadata"),
        (f"{LAYOUT}/strange", "strange", ""),
    ],
)
def test_parse_release_path(path: str, filename: str, suffix: str) -> None:
    assert parse_release_path(path) == ReleasePath(Digest("blake2b", HEX), filename, suffix)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        LAYOUT,
        f"{LAYOUT}/",
        pytest.param(f"{LAYOUT}/.", id="dot"),
        pytest.param(f"{LAYOUT}/%2e%2E", id="dots"),
        pytest.param(f"{LAYOUT}/a%2Fb.whl", id="slash in the name"),
        pytest.param(f"{LAYOUT}/a%5Cb.whl", id="backslash in the name"),
        pytest.param(f"{LAYOUT}/a%00.whl", id="NUL"),
        pytest.param(f"{LAYOUT}/a%0A.whl", id="line end"),
        pytest.param(f"{LAYOUT}/a\n", id="bare line end"),
        pytest.param(f"{LAYOUT}/a%C2%85.whl", id="C1 control"),
        pytest.param(f"{LAYOUT}/%ff.whl", id="not UTF-8"),
        pytest.param(f"{LAYOUT}/a/b.whl", id="too deep"),
        pytest.param(f"/packages/aa/bb/{'c' * 59}/a.whl", id="59 digits"),
        pytest.param(f"/packages/aa/bb/{'g' * 60}/a.whl", id="not hex"),
        pytest.param(f"/xpackages/aa/bb/{'c' * 60}/a.whl", id="another folder"),
        pytest.param(f"/packages/py3/a/a/{'c' * 60}/a.whl", id="another layout"),
    ],
)
def test_paths_of_another_layout(path: str) -> None:
    assert parse_release_path(path) is None


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"), min_size=1, max_size=20
)


@given(
    NAMES,
    st.sampled_from(["", ".whl", ".whl.metadata", ".tar.gz.asc"]),
    st.sampled_from(["", "/pypi", "/root/packages"]),
)
def test_a_release_path_reads_back(name: str, ending: str, prefix: str) -> None:
    name += ending
    read = parse_release_path(f"{prefix}{LAYOUT}/{quote_segment(name)}")
    if name in {".", ".."}:
        assert read is None
        return
    assert read is not None
    assert read.filename + read.suffix == name
    assert read.filename
    assert normalise_path(read.path) == read.path
    assert parse_release_path(read.path) == read


@given(st.text(max_size=60))
def test_any_path_has_an_answer(path: str) -> None:
    parse_release_path(f"{LAYOUT}/{path}")
