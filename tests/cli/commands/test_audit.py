"""`audit`: what is stored that an advisory names, and who has it."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.conftest import Command, opened_store
from tests.cli.stores import PRIVATE, put_file
from tests.support.names import file_url
from tests.support.wheels import make_sdist, make_wheel

MAL: Final = "MAL-2026-1"
CVE: Final = "GHSA-1"
EVER: Final = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]

BAD, GOOD = make_wheel("evil", "2.0"), make_wheel("evil", "1.0")
SDIST, WEAK, OWN = make_sdist("evil", "2.0"), make_wheel("weak", "1.0"), make_wheel("acme-core", "1.0")
GONE: Final = "evil-2.0-cp312-cp312-win_amd64.whl"


def osv(shown: str, project: str, **affected: Any) -> dict[str, Any]:
    return {"id": shown, "affected": [{"package": {"ecosystem": "PyPI", "name": project}, **affected}]}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with opened_store(tmp_path / "store") as entries:
        for each in (BAD, GOOD, SDIST, WEAK, OWN):
            put_file(entries, each)
        put_file(entries, BAD, space=PRIVATE)
    return tmp_path / "store"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "osv"
    folder.mkdir()
    about = [osv(MAL, "evil", versions=["2.0"]), osv(CVE, "Weak", ranges=EVER), osv(MAL, "acme.core", ranges=EVER)]
    for number, record in enumerate(about):
        (folder / f"{number}.json").write_text(json.dumps(record))
    return folder


def line(url: str, client: str = "10.0.0.7", status: int = 200, **more: Any) -> str:
    return json.dumps(
        {
            "time": "2026-11-27T15:12:24.138+00:00",
            "client": client,
            "method": "GET",
            "url": url,
            "status": status,
            **more,
        }
    )


LOG: Final = [
    line(file_url(BAD)),
    line(file_url(BAD), "10.0.0.8", user="ci"),
    line(file_url(BAD), time="2026-11-28T01:00:00.000+00:00"),
    line(file_url(BAD), "10.0.0.9", status=206),
    line(f"/pypi/{WEAK.quoted_path}?x=***", "10.0.0.5"),
    line(file_url(BAD), "10.0.0.1", status=403),  # none of these has it
    line(file_url(BAD), "10.0.0.2", status=304),
    line(file_url(BAD), "10.0.0.3", method="HEAD"),
    line(file_url(BAD, ".metadata"), "10.0.0.4"),
    line(file_url(GOOD), "10.0.0.6"),
    line(f"https://files.example/{GONE}", "10.0.0.10\x1b[2J"),
    *["", "x", "[]", "7", "{}", '{"url": 7, "status": 200, "method": "GET"}', "[" * 70_000],
]  # fmt: skip


def by_file(out: str) -> dict[str, dict[str, Any]]:
    return {each["file"]: each for each in map(json.loads, out.splitlines())}


def test_what_is_found(command: Command, store: Path, records: Path, tmp_path: Path) -> None:
    (log := tmp_path / "access.log").write_text("\n".join(LOG) + "\n")
    words = ("audit", "--dir", store, "--advisories", records, "--set", f"pypi_cache_access_log={log}")
    found = by_file(command(*words, "--json").ended(1).out)
    assert list(found) == [OWN.filename, GONE, BAD.filename, SDIST.filename, WEAK.filename]
    assert found[BAD.filename]["advisories"] == [MAL]
    assert found[BAD.filename]["size"] == 2 * len(BAD.content)  # once for all, once for somebody's credentials
    clients = {
        (each["client"], each["user"]): (each["count"], each["last"][:10]) for each in found[BAD.filename]["fetched"]
    }
    assert clients == {
        ("10.0.0.7", ""): (2, "2026-11-28"),
        ("10.0.0.8", "ci"): (1, "2026-11-27"),
        ("10.0.0.9", ""): (1, "2026-11-27"),
    }
    assert [each["client"] for each in found[WEAK.filename]["fetched"]] == ["10.0.0.5"]
    assert found[WEAK.filename]["malicious"] is False
    assert (found[GONE]["stored"], found[GONE]["stored_at"]) == (False, None)

    shown = command(*words)
    assert "    10.0.0.8 (ci)  1 time, last 2026-11-27T15:12:24Z" in shown.ended(1).out.splitlines()
    assert f"{GONE}  malicious  {MAL}  (no longer stored)" in shown.out
    assert "\x1b" not in shown.out
    assert "2 advisories, 5 files" in shown.err
    assert "cannot be read" in shown.err
    assert "no access log was read" not in shown.err
    assert "no access log was read, so clients are not known" in command(*words[:-2]).ended(1).err


CORP: Final = ("--set", "pypi_cache_index=corp=https://corp.example/simple/", "--set", "pypi_cache_private=acme-*=corp")


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ((), {BAD.filename, SDIST.filename, WEAK.filename, OWN.filename}),
        (("--malicious",), {BAD.filename, SDIST.filename, OWN.filename}),
        (("WEAK", "none-*"), {WEAK.filename}),
        (("six",), set()),
        (CORP, {BAD.filename, SDIST.filename, WEAK.filename}),
    ],
)
def test_which_files(words: tuple[str, ...], files: set[str], command: Command, store: Path, records: Path) -> None:
    ran = command("audit", "--dir", store, "--advisories", records, "--json", *words).ended(1 if files else 0)
    assert set(by_file(ran.out)) == files


def test_by_the_advisories_that_the_option_names(command: Command, store: Path, records: Path) -> None:
    ran = command("audit", "--dir", store, "--set", f"pypi_cache_advisories={records}", "evil").ended(1)
    assert len(ran.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "has no advisories"),
        (("--set", "pypi_cache_advisories=https://osv.example/all.zip"), "has no advisories"),
        (("--advisories", "BROKEN"), "holds no JSON file|hold no OSV record"),
        (("--advisories", "/nowhere"), "does not exist"),
        (("--access-log", "/nowhere"), "does not exist"),
    ],
)
def test_without_advisories(words: tuple[str, ...], why: str, command: Command, store: Path, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.zip").write_bytes(b"x")
    ran = command("audit", "--dir", store, *[str(broken) if word == "BROKEN" else word for word in words]).ended(2)
    assert any(each in ran.err for each in why.split("|")), ran


def test_a_kept_file_that_somebody_else_has_written(command: Command, store: Path) -> None:
    for content in (b"", b"x", b"[" * 100_000, b'{"format":2}\n'):
        (store / "advisories").write_bytes(content)
        assert "has no advisories" in command("audit", "--dir", store).ended(2).err
