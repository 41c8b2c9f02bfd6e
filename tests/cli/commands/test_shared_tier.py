"""The command and the shared tier, here a folder: what it has, what is wrong with it, and removing it there too."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.shared.object_names import object_name
from pkgcache.engine.shared.page_objects import pack
from pkgcache.engine.store.keys import StoreKey, file_key, page_key
from pkgcache.rules.simple.representations import Representation
from tests.cli.conftest import Command, Ran, opened_store

pytest.importorskip(
    "obstore", reason="LOUD: the extra pypi-cache[shared] is not installed, so the shared tier is NOT tested"
)


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier with two files and a page of six, a file of seven, and something that is not ours; and a store without any of them."""

    command: Command
    root: Path
    store: Path

    def run(self, *words: str) -> Ran:
        """Run a command with this tier and store."""
        return self.command(*words, "--dir", str(self.store), "--set", f"pypi_cache_shared=file://{self.root}")

    def put(self, key: StoreKey, content: bytes) -> Path:
        """An object of the tier."""
        path = self.root / str(object_name(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def file(self, name: str, content: bytes = b"content") -> Path:
        """A release file's object."""
        return self.put(file_key("-", f"sha256:{hashlib.sha256(content).hexdigest()}", name), content)

    @property
    def names(self) -> set[str]:
        """The names of the files that are in it, without their folders."""
        return {path.name for path in self.root.rglob("*") if path.is_file()}


PAGE = page_key("-", "pypi", "six", Representation.JSON)


def notes(**other: Any) -> dict[str, Any]:
    """What the store notes of a page."""
    now = time.time()
    known: dict[str, Any] = {
        "status": 200,
        "headers": [],
        "request_time": now,
        "response_time": now,
        "upstream": "",
        "url": "https://mirror.example/simple/six/",
        "of": "",
    }
    return {**known, "kind": "json", "based": False, **other}


@pytest.fixture
def tier(command: Command, tmp_path: Path) -> Tier:
    with opened_store(tmp_path / "store"):
        pass
    found = Tier(command, tmp_path / "tier", tmp_path / "store")
    found.file("six-1.0.tar.gz")
    found.file("six-2.0.tar.gz", b"another content")
    found.file("seven-1.0.tar.gz")
    found.put(PAGE, pack(PAGE, notes(), b"page"))
    (found.root / "somebody-elses").write_bytes(b"x" * 1000)
    (found.root / "file" / "-").joinpath("no-object-of-ours").write_bytes(b"x" * 1000)
    return found


def test_stats(tier: Tier) -> None:
    found = tier.run("stats", "--shared", "--json").ended(0).json["shared"]
    assert (found["objects"], found["kinds"]["file"], found["kinds"]["page"]["objects"]) == (
        4,
        {"objects": 3, "bytes": 7 + 15 + 7},
        1,
    )
    assert "3 files, 1 pages" in tier.run("stats", "--shared").ended(0).out
    assert "shared" not in tier.run("stats", "--json").ended(0).json


def test_verify_finds_nothing(tier: Tier) -> None:
    before = tier.names
    assert "4 objects, " in tier.run("verify", "--shared").ended(0).out
    assert tier.run("verify", "--shared", "--sample", "2", "--json").ended(0).json["objects"] == 2
    assert tier.names == before


def test_verify_removes_what_is_wrong(tier: Tier) -> None:
    wrong = tier.file("wrong-1.0.tar.gz")
    wrong.write_bytes(b"c0ntent")
    page = tier.put(page_key("-", "pypi", "wrong", Representation.JSON), pack(PAGE, notes(), b"page"))
    dry = tier.run("verify", "--shared", "--dry-run", "--json").ended(1).json
    assert {each["name"].split("/")[-1] for each in dry["wrong"]} == {"wrong-1.0.tar.gz", "json"}
    assert wrong.exists()
    ran = tier.run("verify", "--shared").ended(1)
    assert "6 objects, " in ran.out
    assert "2 wrong" in ran.out
    assert "its sha256 is" in ran.err
    assert not wrong.exists()
    assert not page.exists()
    tier.run("verify", "--shared").ended(0)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["six"], {"seven-1.0.tar.gz"}),
        (["six", "--files"], {"seven-1.0.tar.gz", "json"}),
        (["six", "--pages"], {"seven-1.0.tar.gz", "six-1.0.tar.gz", "six-2.0.tar.gz"}),
        (["s*"], set()),
        (["*", "--yes"], set()),
        (["six", "--dry-run"], {"seven-1.0.tar.gz", "six-1.0.tar.gz", "six-2.0.tar.gz", "json"}),
    ],
)
def test_purge(tier: Tier, words: list[str], left: set[str]) -> None:
    """What is purged would come back from the tier."""
    ran = tier.run("purge", *words).ended(0)
    assert "of the shared tier" in ran.out
    assert tier.names == left | {"somebody-elses", "no-object-of-ours"}


@pytest.mark.parametrize("words", [["six", "--local"], ["six", "--older-than", "1d"], ["eight"]])
def test_what_purge_leaves_alone(tier: Tier, words: list[str]) -> None:
    before = tier.names
    tier.run("purge", *words).ended(1)
    assert tier.names == before


def test_doctor(tier: Tier, command: Command, tmp_path: Path) -> None:
    """It leaves nothing behind."""
    before = tier.names
    found = tier.run("doctor", "--no-upstreams", "--json").json
    (of_tier,) = [each for each in found if each["check"] == "shared tier"]
    assert (of_tier["state"], "listed, written, read and removed" in of_tier["said"]) == ("well", True)
    assert tier.names == before
    (tmp_path / "file").write_bytes(b"")
    ran = command(
        "doctor",
        "--no-upstreams",
        "--json",
        "--dir",
        str(tier.store),
        "--set",
        f"pypi_cache_shared=file://{tmp_path}/file/x",
    )
    (of_tier,) = [each for each in json.loads(ran.out) if each["check"] == "shared tier"]
    assert of_tier["state"] == "problem"


@pytest.mark.parametrize("words", [["stats", "--shared"], ["verify", "--shared"], ["verify", "--sample", "3"]])
def test_without_a_shared_tier(command: Command, tmp_path: Path, words: list[str]) -> None:
    """One line says what would be right."""
    with opened_store(tmp_path / "store"):
        pass
    ran = command(*words, "--dir", str(tmp_path / "store")).ended(2)
    assert "expected --" in ran.err
