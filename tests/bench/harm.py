"""What `tests.bench.hostile` puts in reach of the proxy: bodies of upstreams, an archive, locks, and what is as large and means no harm."""

import bz2
import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pkgcache.cli.archive.archive_format import ArchiveReader, ArchiveWriter, EntryHeader, checked
from tests.bench.tools import MB
from tests.cli.warming.test_locks import NESTED, UV
from tests.e2e.test_hostile_pages import HTML, JSON, LISTS, zipped
from tests.e2e.test_poisoned_rows import poisons
from tests.engine.upstream.test_wheel_metadata import METADATA, deflated, raw_wheel, wheel
from tests.support.behaviour import Behaviour
from tests.support.clients import bare_env
from tests.support.index import JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.names import FILES_ORIGIN
from tests.support.upstream import Upstream

ROWS: Final = 6
COMMAND: Final = [sys.executable, "-m", "pkgcache.cli"]


def command_env(home: Path) -> dict[str, str]:
    """A clean environment for `pypi-cache`."""
    return bare_env(home) | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "addon")}


def harmful_pages() -> Iterator[tuple[str, bytes, str, dict[str, str]]]:
    """Pages by which a bad parser, or one without limits, would stop; and `large`, which is none: name, body, type, headers."""
    link = f'<a href="{FILES_ORIGIN}/packages/aa/bb/{"c" * 60}/one-1.{{}}-py3-none-any.whl">one</a>\n'
    yield "large", "".join(link.format(number) for number in range(3000)).encode(), PLAIN_HTML_TYPE, {}
    plain = {
        "bomb": gzip.compress(b"<a href=x>" * 20_000_000, 9),
        "anchors": b"<a " * 100_000,
        "base": b'<base href="https://files.test/' + b"b" * 100_000 + b'/">' + b'<a href="x-1.whl">x</a>' * 20_000,
        "references": b'<a href="&#' + b"1" * 5000 + b';">x</a>' + b"&" * 100_000,
        "deep": b"<div>" * 200_000,
        "comments": b"<!--" * 100_000,
        "attributes": b"<a" + b" a='" * 100_000,
    }
    for name, body in plain.items():
        yield name, body, PLAIN_HTML_TYPE, {"Content_Encoding": "gzip"} if name == "bomb" else {}
    for content_type, table in ((PLAIN_HTML_TYPE, HTML), (JSON_TYPE, JSON)):
        for number, harm in enumerate(table.values()):
            coding = {"Content_Encoding": harm.coding} if harm.coding else {}
            yield f"{content_type[-4:]}-{number}", harm.body, content_type, coding


def serve_pages(upstream: Upstream) -> list[str]:
    """Serve them as project pages; returns the projects, `large` first."""
    names = []
    for name, body, content_type, headers in harmful_pages():
        upstream.serve(f"{upstream.prefix}/simple/{name}/", body, content_type, **headers)
        names.append(name)
    return names


def serve_lists(upstream: Upstream) -> list[str]:
    """Serve lists of projects that mean harm, each of an index of its own; returns the index URLs, first one that means none."""
    found = []
    good = b"".join(b'<a href="p%d/">p%d</a>\n' % (number, number) for number in range(5000))
    for number, (body, coding) in enumerate([(good, ""), *((harm.body, harm.coding) for harm in LISTS.values())]):
        headers = {"Content_Encoding": coding} if coding else {}
        upstream.serve(f"/list{number}/simple/", body, PLAIN_HTML_TYPE, Cache_Control="max-age=0", **headers)
        found.append(f"{upstream.origin}/list{number}/simple/")
    return found


def serve_wheels(upstream: Upstream) -> list[str]:
    """Serve pages of wheels whose METADATA swells or lies, and that have none beside them; returns the wheels' URLs, first a good one."""
    content = bytes(64 * MB)
    bombs = [
        wheel(),
        raw_wheel(8, deflated(content)),
        raw_wheel(8, deflated(content), says=len(content)),
        raw_wheel(12, bz2.compress(content)),
        raw_wheel(8, deflated(deflated(content))),
        raw_wheel(0, b"x", says=2**32 - 2),
        raw_wheel(8, b"\0" * 5000, header_at=2**31),
        b"PK\5\6" * 5000,
    ]
    found = []
    for number, data in enumerate(bombs):
        name = f"six{number}-1.0-py3-none-any.whl"
        file: dict[str, Any] = {
            "filename": name,
            "url": f"{upstream.prefix}/wheels/{name}",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        }
        file["core-metadata"] = {"sha256": hashlib.sha256(METADATA).hexdigest()}
        page = {"meta": {"api-version": "1.0"}, "name": f"six{number}", "files": [file]}
        upstream.serve(f"{upstream.prefix}/simple/six{number}/", json.dumps(page).encode(), JSON_TYPE)
        upstream.serve(f"{upstream.prefix}/wheels/{name}", data)
        found.append(f"{upstream.origin}{upstream.prefix}/wheels/{name}")
    return found


def serve_files(upstream: Upstream) -> None:
    """Serve files of any name below /endless/ without a length, and below /sized/ with one; take uploads."""
    content = b"".join(number.to_bytes(4) for number in range(5 * MB))
    upstream.script(
        Behaviour(r"/endless/", body=content, framing="chunked"),
        Behaviour(r"/sized/", body=content[: 200 * 1024]),
        Behaviour(r"^/legacy/", methods=("POST",), status=200, body=b"taken"),
    )


def archives(store: Path, folder: Path) -> tuple[Path, Path]:
    """A good archive of a store, and one whose notes are odd and whose pages swell."""
    good, bad = folder / "good.tar", folder / "bad.tar"
    words = [*COMMAND, "export", "--dir", str(store), str(good)]
    subprocess.run(words, env=command_env(folder), check=True, capture_output=True)
    changes = [change for name, change in poisons().items() if "nested" not in name]
    bomb = zipped(bytes(MB), 900)
    with good.open("rb") as file, bad.open("w+b") as target:
        writer = ArchiveWriter(target)
        writer.begin(globs=[])
        number = 0
        for item in ArchiveReader(file).items():
            if item.header.size > 100_000:
                continue
            value = b"".join(checked(item.header, item.value))
            for change in (*changes, None):
                number += 1
                body = bomb if change is None and "page" in item.header.key else value
                writer.add(_changed(item.header, body, number, change), "x", [body])
        writer.finish()
    return good, bad


def _changed(header: EntryHeader, value: bytes, number: int, change: Any) -> EntryHeader:
    notes: object = header.notes
    if change is not None:
        try:
            notes = json.loads(change(json.dumps(header.notes)))
        except (TypeError, ValueError):
            notes = {}
    digest = f"sha256:{hashlib.sha256(value).hexdigest()}"
    return EntryHeader(
        key=header.key,
        notes=notes if isinstance(notes, dict) else {"x": notes},
        size=len(value),
        digest=digest,
        stored_at=header.stored_at,
        row=number,
    )


def locks(folder: Path) -> Mapping[str, list[str]]:
    """A good lock, and those that are nested too deeply: paths, by what they are."""
    found: dict[str, list[str]] = {"good": [], "bad": []}
    for number, (name, text) in enumerate([("uv.lock", UV), *NESTED]):
        path = folder / f"lock-{number}" / name
        path.parent.mkdir()
        path.write_text(text)
        found["bad" if number else "good"].append(str(path))
    return found
