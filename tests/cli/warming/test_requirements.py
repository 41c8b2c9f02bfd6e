"""What is read of requirements files and of pip's report, and the environment that pip runs in; what pip makes of it is test_warm.py's."""

import sys
from pathlib import Path

import pytest

from pkgcache.cli.warming.requirements import PipRoute, _run, index_urls, pip_message, read_report


@pytest.mark.parametrize(
    ("line", "urls"),
    [
        ("--index-url https://a.example/simple", ["https://a.example/simple"]),
        ("--index-url=https://a.example/simple", ["https://a.example/simple"]),
        ("-i https://a.example/simple", ["https://a.example/simple"]),
        ("-ihttps://a.example/simple", ["https://a.example/simple"]),
        ("--extra-index-url https://user:pw@b.example/simple/", ["https://user:pw@b.example/simple/"]),
        ("   --pypi-url https://a.example", ["https://a.example"]),
        ("six==1.0", []),
        ("# -i https://a.example", []),
        ("index-url https://a.example", []),
        ("--find-links https://a.example", []),
    ],
)
def test_indexes(line: str, urls: list[str], tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"one\n{line}\ntwo\n")
    assert index_urls([file]) == urls


def test_indexes_of_files_within(tmp_path: Path) -> None:
    """In their order, each once; a circle ends; what is not there is pip's to complain of."""
    first, second, third = (tmp_path / name for name in ("a.txt", "b.txt", "sub/c.txt"))
    third.parent.mkdir()
    first.write_text("-r b.txt\n-i https://a.example\n-r missing.txt\n-r https://x.example/r.txt\n")
    second.write_text("--constraint=sub/c.txt\n--extra-index-url https://b.example\n")
    third.write_text("-r ../a.txt\n-i https://c.example\n-i https://a.example\n")
    assert index_urls([first]) == ["https://c.example", "https://a.example", "https://b.example"]


def item(url: str, **download: object) -> dict[str, object]:
    info = {"url": url, "archive_info": {"hashes": {"sha256": "ab"}}, **download}
    return {"metadata": {"name": "One.Two", "version": "1.0"}, "download_info": info}


def test_a_report() -> None:
    (package,) = read_report({"install": [item("https://f.example/p/One.Two-1.0-py3-none-any.whl")]})
    assert (package.name, package.version) == ("one-two", "1.0")
    (file,) = package.files
    assert (file.filename, file.url) == (
        "One.Two-1.0-py3-none-any.whl",
        "https://f.example/p/One.Two-1.0-py3-none-any.whl",
    )
    assert file.hashes == ("sha256:ab",)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"install": [item("file:///tmp/x-1.0.whl")]},  # a folder of this machine's
        {"install": [{"metadata": {}, "download_info": {"url": "https://g.example/x", "vcs_info": {}}}]},
    ],
)
def test_what_no_index_gives_is_left_out(report: dict[str, object]) -> None:
    assert read_report(report) == []


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", ""),
        ("something\n\n", "something"),
        ("ERROR: Exception:\nTraceback (most recent call last):\n  File x\nKeyError: 'y'\n", "KeyError: 'y'"),
        (
            "ERROR: first\nERROR: No matching distribution found for six\nmore\n",
            "No matching distribution found for six",
        ),
        (
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'OSError('Tunnel connection failed: 403')': /simple/six/\n"
                "ERROR: No matching distribution found for six\n"
            ),
            "No matching distribution found for six ('OSError('Tunnel connection failed: 403')': /simple/six/)",
        ),
    ],
)
def test_what_pip_said(output: str, why: str) -> None:
    """One line; "no matching distribution" alone hides that no index could be asked."""
    assert pip_message(output) == why


def test_pips_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing that leads past the proxy; the indexes, which may hold a password, by variables and not by words that `ps` shows."""
    leading_away = {
        "PIP_FIND_LINKS": "/wheels",
        "pip_index_url": "x",
        "UV_INDEX": "x",
        "NO_PROXY": "*",
        "no_proxy": "*",
        "SSL_CERT_FILE": "x",
        "SSL_CERT_DIR": "x",
        "REQUESTS_CA_BUNDLE": "x",
        "ALL_PROXY": "x",
    }
    for name, value in leading_away.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KEPT", "1")
    bundle = tmp_path / "b.pem"
    found = PipRoute(
        proxy="http://127.0.0.1:1", bundle=bundle, index="https://u:p@i.example", more_indexes=("a", "b")
    ).environment
    assert not found.keys() & leading_away.keys()
    assert found["KEPT"] == "1"
    assert {found[name] for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")} == {
        "http://127.0.0.1:1"
    }
    assert (found["PIP_CERT"], found["PIP_INDEX_URL"]) == (str(bundle), "https://u:p@i.example")
    assert found["PIP_EXTRA_INDEX_URL"] == "a b"
    assert "PIP_INDEX_URL" not in PipRoute(proxy="x", bundle=bundle).environment


def test_files_that_include_each_other(tmp_path: Path) -> None:
    """A circle, a file that includes itself, and a chain that is longer than Python's stack is deep."""
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("-r second.txt\n-i https://a.example\n-r first.txt\n-c chain0.txt\n")
    second.write_text("--requirement=first.txt\n--index-url https://b.example\n")
    for number in range(2000):
        (tmp_path / f"chain{number}.txt").write_text(f"-r chain{number + 1}.txt\n")
    (tmp_path / "chain2000.txt").write_text("-i https://c.example\n-r first.txt\n-r .\n-r /dev/zero\n-r missing.txt\n")
    assert set(index_urls([first])) == {"https://a.example", "https://b.example", "https://c.example"}


def test_what_pip_is_at(tmp_path: Path) -> None:
    """Each project that it looks at, as it goes; what it complains of is kept apart, however much that is."""
    pip = """
import sys
print("Collecting flask>=3 (from -r x)", flush=True)
print("x" * 200_000, file=sys.stderr, flush=True)
print("  Collecting a.b_c[extra]==1", flush=True)
print("Installing collected packages", flush=True)
sys.exit(3)
"""
    told: list[str] = []
    route = PipRoute(proxy="http://127.0.0.1:1", bundle=tmp_path / "bundle.pem", tell=told.append)
    status, errors = _run([sys.executable, "-c", pip], route, tmp_path / "errors")
    assert (status, told, len(errors)) == (3, ["flask", "a.b_c"], 200_001)
