"""The wheels, sdists and pages that tests are made of."""

import hashlib
import json
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest

from tests.support.index import LinkForm, PageStyle, href, project_html, project_json
from tests.support.wheels import big_file, make_sdist, make_wheel, normalise

PAGE = "https://h.test/pypi/simple/alpha/"


def test_same_words_make_the_same_bytes() -> None:
    assert make_wheel("alpha", "1.0") == make_wheel("alpha", "1.0")
    assert make_sdist("alpha", "1.0").content == make_sdist("alpha", "1.0").content
    assert make_wheel("alpha", "1.0", seed=1).blake2b != make_wheel("alpha", "1.0", seed=2).blake2b


def test_path_says_the_content() -> None:
    wheel = make_wheel("Gamma.Ray", "1.0+cpu", payload_size=100_000)
    digest = hashlib.blake2b(wheel.content, digest_size=32).hexdigest()
    assert wheel.path == f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/gamma_ray-1.0+cpu-py3-none-any.whl"
    assert wheel.quoted_path.endswith("1.0%2Bcpu-py3-none-any.whl")
    assert wheel.sha256 == hashlib.sha256(wheel.content).hexdigest()
    assert wheel.project == normalise("gamma__ray") == "gamma-ray"
    assert 100_000 < wheel.size < 102_000


def test_on_disk_and_in_memory_are_the_same(tmp_path: Path) -> None:
    on_disk = make_wheel("alpha", payload_size=3_000_000, seed=4, folder=tmp_path)
    in_memory = make_wheel("alpha", payload_size=3_000_000, seed=4)
    assert on_disk.data == tmp_path / on_disk.filename
    assert (on_disk.content, on_disk.blake2b, on_disk.size) == (in_memory.data, in_memory.blake2b, in_memory.size)


def test_big_file(tmp_path: Path) -> None:
    big = big_file(tmp_path / "big", 2_500_000, seed=3)
    content = big.path.read_bytes()
    assert len(content) == big.size == 2_500_000
    assert hashlib.sha256(content).hexdigest() == big.sha256
    assert hashlib.blake2b(content, digest_size=32).hexdigest() == big.blake2b


@pytest.mark.parametrize("form", [form for form in LinkForm if form not in (LinkForm.DEVPI, LinkForm.BASE_HREF)])
def test_every_form_means_the_same_path(form: LinkForm) -> None:
    wheel = make_wheel("alpha", "1.0")
    link = href(wheel, PAGE, PageStyle(form=form))
    resolved = urljoin(urljoin(PAGE, unquote(link)), urljoin(PAGE, unquote(link)).partition("h.test")[2] or link)
    origin = "https://files.example/" if form is LinkForm.CANONICAL else "https://h.test/pypi/"
    assert resolved == f"{origin}{wheel.path}"


def test_pages() -> None:
    wheel = make_wheel("alpha", "1.0", requires_python=">=3.8", yanked='"bad" & ugly')
    html = project_html("alpha", [wheel], PAGE).decode()
    assert f'href="../../{wheel.path}#sha256={wheel.sha256}"' in html
    assert 'data-requires-python="&gt;=3.8"' in html
    assert f'data-core-metadata="sha256={wheel.metadata_sha256}"' in html
    assert 'data-yanked="&quot;bad&quot; &amp; ugly"' in html
    page = json.loads(project_json("alpha", [wheel, make_sdist("alpha", "1.0")], PAGE))
    assert page["versions"] == ["1.0"]
    assert page["files"][0]["hashes"] == {"sha256": wheel.sha256}
    assert page["files"][0]["size"] == wheel.size
    assert page["files"][1]["core-metadata"] is False
