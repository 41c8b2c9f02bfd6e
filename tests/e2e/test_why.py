"""`/why/NAME` lists what is hidden of a project, by which rule and until when, in the words of the refusal; so does the log."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.clients import bare_env
from tests.support.index import JSON_TYPE
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

OLD = make_wheel("six", "1.0")
YOUNG = make_wheel("six", "2.0", upload_time=datetime.fromtimestamp(time.time() - 3600, UTC).isoformat())
UNKNOWN = make_wheel("six", "3.0", upload_time="")
UNTIL = datetime.fromtimestamp(time.time() - 3600 + 7 * 86400, UTC).strftime("%Y-%m-%dT%H:")


def page_of(*files: object) -> dict[str, object]:
    """A page in JSON."""
    return {"meta": {"api-version": "1.0"}, "name": "it", "files": list(files)}


def link(filename: str, url: str = "") -> dict[str, object]:
    return {"filename": filename, "url": url or filename, "hashes": {}}


ODD_PAGES: Final = {
    "controls": page_of(link("it-1.0\x1b[31m.zip"), link("it-2.0\ncorp: it is fine.zip", "it-2.0.zip"), link("it-3.0\x9b1m.zip")),
    "types": page_of(7, None, [], "x", {"filename": 3, "url": 4}, {"filename": ["x"], "url": None}, link("it-1.0.zip")),
    "links": page_of(link("it-1.0.zip", "https://[::1]:1/it-1.0.zip"), link("it-2.0.zip", "https://x.test/%00/it-2.0.zip")),
    "many": page_of(*(link(f"it-{number}.0.zip") for number in range(300))),
    "a-long-name": page_of(link(f"it-{'9' * 5000}.zip", "https://x.test/%00/it-1.zip")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    upstream: Upstream
    proxy: Proxy

    def why(self, name: str, *, status: int = 200) -> dict[str, list[str]]:
        """The lines about each index."""
        answer = self.proxy.get(f"/why/{name}")
        assert answer.status == status, answer.body
        assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (
            "text/plain; charset=utf-8",
            "no-store",
        )
        found: dict[str, list[str]] = {}
        for line in answer.body.decode().splitlines():
            if line.startswith(" "):
                found[next(reversed(found))].append(line.strip())
            else:
                index, _, text = line.partition(": ")
                found[index] = [text]
        return found


@pytest.fixture(scope="module")
def scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(ca))
        upstream.add(OLD, YOUNG, UNKNOWN, make_wheel("evil"), make_wheel("acme-tool"))
        options = {
            "pypi_cache_index": [
                f"pypi={upstream.index_url}",
                f"corp=https://me:secret@{upstream.origin[8:]}/corp/simple",
            ],
            "pypi_cache_deny": ["evil*"],
            "pypi_cache_cooldown": "7d",
            "pypi_cache_private": ["acme-*=corp"],
        }
        for project, page in ODD_PAGES.items():
            upstream.serve(f"/pypi/simple/{project}/", json.dumps(page).encode(), JSON_TYPE, Cache_Control="no-cache")
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("why"), options=options, upstream_ca=ca.bundle))
        yield Scene(upstream, proxy)
        assert not proxy.complaints, proxy.output


def test_a_cooldown(scene: Scene) -> None:
    """pip said only `from versions: 1.0`."""
    head, unknown, young = scene.why("six")["pypi"]
    assert head == "of 3 files of six, 2 are hidden:"
    assert unknown.startswith(f"{UNKNOWN.filename} is refused by pypi_cache_cooldown=7d: its index does not say")
    assert young.startswith(f"{YOUNG.filename} is refused until {UNTIL}")
    assert young.endswith(" by pypi_cache_cooldown=7d")
    direct = fetch(scene.proxy.port, file_url(YOUNG), ca=scene.proxy.bundle)
    assert (direct.status, direct.body.decode().strip()) == (403, young)


@pytest.mark.parametrize("spelt", ["Six", "SIX", "six/"])
def test_other_spellings(scene: Scene, spelt: str) -> None:
    assert scene.why(spelt)["pypi"][0] == "of 3 files of six, 2 are hidden:"


def test_a_file(scene: Scene) -> None:
    assert scene.why(YOUNG.filename)["pypi"][0].startswith(f"{YOUNG.filename} is refused until {UNTIL}")
    assert scene.why(OLD.filename)["pypi"] == [f"{OLD.filename} is offered"]
    assert scene.why("six-9.0.tar.gz")["pypi"] == ["six-9.0.tar.gz is not on the page of its project"]


def test_names_that_act_on_a_screen(scene: Scene) -> None:
    """`curl /why/NAME` wrote to the terminal what an index had written, and a name with a line break was another index's line."""
    body = scene.proxy.get("/why/controls").body.decode()
    assert body.replace("\n", "").isprintable()
    assert [line.split(":")[0] for line in body.splitlines() if line[0] != " "] == ["pypi", "corp"]
    assert len(scene.why("controls")["pypi"]) == 4


@pytest.mark.parametrize(("project", "hidden"), [("types", 1), ("links", 2), ("a-long-name", 1)])
def test_what_an_index_may_write(scene: Scene, project: str, hidden: int) -> None:
    """What is no file in the array of files was a 500; of a link that leads to no file it was said that the proxy is offline."""
    said = scene.why(project)["pypi"]
    assert len(said) == 1 + hidden
    assert "offline" not in str(said)
    assert all(len(line) < 500 for line in said)


def test_a_question_costs_one_look_at_the_page(scene: Scene) -> None:
    """An index was asked for its page again for each file without an upload time, and each was counted as refused."""
    before = json.loads(scene.proxy.get("/stats").body)["refusals"]
    scene.upstream.clear()
    said = scene.why("many")["pypi"]
    assert (said[0], said[-1]) == ("of 300 files of many, 300 are hidden:", "and 100 more")
    assert "its index does not say" in said[1]
    assert scene.upstream.count(path_contains="/many/") <= 2  # one of each index
    assert json.loads(scene.proxy.get("/stats").body)["refusals"] == before


def test_projects_that_are_refused(scene: Scene) -> None:
    before = json.loads(scene.proxy.get("/stats").body)["refusals"]
    assert scene.why("evil")["pypi"] == ["evil is refused by pypi_cache_deny=evil*"]
    assert scene.why("evil")["corp"] == ["evil is refused by pypi_cache_deny=evil*"]
    assert scene.why("evil-1.0-py3-none-any.whl")["pypi"] == ["evil is refused by pypi_cache_deny=evil*"]
    assert "pypi_cache_private=acme-*=corp" in scene.why("acme-tool")["pypi"][0]
    assert json.loads(scene.proxy.get("/stats").body)["refusals"] == before, "nobody has tried to install it"


def test_what_nobody_has(scene: Scene) -> None:
    """And no login that the operator gave for an upstream is shown."""
    said = scene.why("nothing-of-the-kind")
    assert list(said) == ["pypi", "corp"]
    assert "is not on index pypi" in said["pypi"][0]
    assert "secret" not in str(said)


def test_the_doctor_for_agents(scene: Scene, home: Path) -> None:
    """`curl …/doctor.py | python3 - NAME` said that all was well."""
    script = scene.proxy.get("/doctor.py").body.decode()
    environment = bare_env(home) | {"HTTPS_PROXY": scene.proxy.url}

    def run(*names: str) -> tuple[int, str]:
        command = [sys.executable, "-", *names]
        done = subprocess.run(command, input=script, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    said = run("six", "evil", OLD.filename)[1]
    assert "note    pypi: of 3 files of six, 2 are hidden:\n" in said
    assert f"          {YOUNG.filename} is refused until {UNTIL}" in said
    assert "PROBLEM pypi: evil is refused by pypi_cache_deny=evil*\n" in said
    assert f"ok      pypi: {OLD.filename} is offered\n" in said
    assert "refused" not in run()[1]


@pytest.mark.parametrize("name", ["-six", "six%2Fpage", "%0A", "s x", "x" * 301])
def test_what_is_no_name(scene: Scene, name: str) -> None:
    answer = scene.proxy.get(f"/why/{name}")
    assert answer.status in {400, 404}
    assert b"secret" not in answer.body


def test_offline(scene: Scene) -> None:
    """The last test: the proxy is started again."""
    assert scene.proxy.get("/pypi/simple/six/").status == 200
    scene.proxy.options["pypi_cache_offline"] = True
    scene.proxy.restart()
    reasons = scene.why("six")["pypi"]
    assert f"{OLD.filename} is not stored, and the proxy is offline (pypi_cache_offline)" in reasons
    assert scene.why("beta")["pypi"][0].endswith("the proxy is offline (pypi_cache_offline)")


def test_the_access_log_says_why(scene: Scene) -> None:
    """Its line had no more than `detail=denied`."""
    body = scene.proxy.get("/pypi/simple/evil-twin/").body.decode().strip()

    def line() -> dict[str, object]:
        return next((each for each in scene.proxy.access_log() if "evil-twin" in each["url"]), {})

    entry = eventually(line, bool)
    assert (entry["status"], entry["cache"]) == (403, "pypi-cache; detail=denied")
    assert entry["reason"] == body == "evil-twin is refused by pypi_cache_deny=evil*"
    assert "reason" not in next(each for each in scene.proxy.access_log() if each["status"] == 200)
