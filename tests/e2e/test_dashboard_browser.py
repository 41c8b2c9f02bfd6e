"""The dashboard in a real Chromium while pip runs, by the keyboard alone: figures, search, pages, purge, offline, and axe's findings.

It needs Chromium (Debian's `chromium`), node, and a folder with `playwright-core` and `axe-core`, which PYPI_CACHE_NODE_MODULES names
(`npm install --prefix /tmp/browser playwright-core axe-core`). Where one of them is missing it is skipped, and says so.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.authority import Authority
from tests.support.clients import clean_env, pip_download
from tests.support.house import House, open_house
from tests.support.names import INDEX_URL, file_url, page_url
from tests.support.wheels import make_wheel

CHROMIUM: Final = shutil.which("chromium")
NODE: Final = shutil.which("node")
MODULES: Final = Path(os.environ.get("PYPI_CACHE_NODE_MODULES", "/tmp/browser/node_modules"))
SCRIPT: Final = Path(__file__).parents[1] / "support" / "browser.js"
TOKEN: Final = "correct-horse-battery"

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and NODE and all((MODULES / name).is_dir() for name in ("playwright-core", "axe-core"))),
        reason="THE DASHBOARD IS NOT TRIED IN A BROWSER: chromium, node, or playwright-core and axe-core are missing",
    ),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Sixty stored entries, which are three pages, and hostile names among the requests."""
    folder = tmp_path_factory.mktemp("house")
    options = {"pypi_cache_admin_token": TOKEN, "pypi_cache_deny": ["evil*"]}
    with open_house(ca, folder, options=options) as opened:
        wheels = [make_wheel(f"entry-{number:03}") for number in range(60)]
        opened.upstream.add(*wheels, make_wheel("pipped", requires=("gadget",)), make_wheel("gadget"))
        for wheel in wheels:
            opened.fetch(file_url(wheel))
        for name in ("%3Cimg%20src=x%20onerror=hacked=1%3E", "evil-%3Cb%3E"):
            opened.fetch(f"{INDEX_URL}{name}/", headers={"User-Agent": "<script>hacked=1</script>"})
        opened.fetch(page_url("evilware"), headers={"User-Agent": "<img/src=x/onerror=hacked=1>"})
        yield opened


@pytest.fixture(scope="module")
def seen(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser has seen. pip asks for the same things over and over meanwhile."""
    folder, over = tmp_path_factory.mktemp("browser"), threading.Event()

    def install() -> None:
        env = clean_env(folder / "home", HTTPS_PROXY=house.proxy.url, PIP_CERT=str(house.proxy.ca))
        while not over.wait(1.0):
            pip_download(folder / "home", ["pipped"], folder / "wheels", env=env)

    pip = threading.Thread(target=install)
    pip.start()
    assert NODE
    assert CHROMIUM
    try:
        done = subprocess.run(
            [NODE, str(SCRIPT), f"{house.proxy.url}/", TOKEN, str(folder / "profile"), CHROMIUM,
             os.environ.get("PYPI_CACHE_PICTURES", "")],
            env={"NODE_PATH": str(MODULES), "PATH": os.environ["PATH"], "HOME": str(folder)},
            capture_output=True, text=True, check=False, timeout=110,
        )  # fmt: skip
    finally:
        over.set()
        pip.join()
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_went_through_and_nothing_complained(seen: dict[str, Any]) -> None:
    """But for the wrong token that is tried, and kept connections that end when options change."""
    expected = (
        "Failed to load resource: the server responded with a status of 403",
        "Failed to load resource: the server responded with a status of 503",
    )
    assert [line for line in seen["errors"] if not line.startswith(expected)] == []
    assert seen["outside"] == [], "nothing is fetched from elsewhere"


@pytest.mark.parametrize("view", ["light", "dark", "phone", "unlocked", "dialog"])
def test_axe_finds_nothing_and_nothing_is_too_wide(seen: dict[str, Any], view: str) -> None:
    assert seen["axe"][view] == []
    assert seen["widths"][view] <= 0


def test_hostile_texts_are_texts(seen: dict[str, Any]) -> None:
    assert seen["markup"] == [0, "undefined"]
    assert "pypi_cache_deny=evil*" in seen["refused"]


def test_the_keyboard_reaches_everything(seen: dict[str, Any]) -> None:
    assert seen["reached"] >= seen["focusable"] > 15
    assert seen["paused"] == "true"


def test_figures(seen: dict[str, Any], house: House) -> None:
    """Of a moment before the last ones, so they are no more than these."""
    stats = json.loads(house.fetch("/stats").body)
    asked = stats["requests"]["total"] - stats["requests"]["by_source"]["proxy"]
    assert 60 <= int(seen["figures"]["requests"].replace(",", "")) <= asked
    assert seen["figures"]["evicted"] == "none"
    assert float(seen["figures"]["hit-ratio"].removesuffix(" %")) <= 100
    assert " entries" in seen["figures"]["store-text"]


def test_search_pages_purge_and_locking(seen: dict[str, Any], house: House) -> None:
    assert (seen["first"], seen["last"], seen["next_is_over"]) == ("1 to 25 of 60", "51 to 60 of 60", True)
    assert seen["after_escape"] == "1 to 1 of 1"
    assert seen["purged"].startswith("purged entry-007: 1 entry")
    assert json.loads(house.fetch("/entries.json?q=entry-0").body)["total"] == 59
    assert json.loads(house.fetch("/dashboard.json").body)["offline"] is False
    assert seen["stored_in_browser"] == [0, 0, ""], "the token is kept nowhere"
