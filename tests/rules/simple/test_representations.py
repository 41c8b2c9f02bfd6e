"""Content negotiation of index pages (PEP 691; RFC 9110 §12.5.1)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.simple.representations import (
    NotAcceptable,
    Representation,
    accepts,
    negotiate,
    representation_of,
    upstream_accept,
)

V1 = "application/vnd.pypi.simple.v1"
LATEST = "application/vnd.pypi.simple.latest"
JSON, HTML_V1, HTML, NONE = Representation.JSON, Representation.HTML_V1, Representation.HTML, NotAcceptable()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        pytest.param(f"{V1}+json, {V1}+html; q=0.1, text/html; q=0.01", JSON, id="pip, pdm"),
        pytest.param(f"{V1}+json, {V1}+html;q=0.2, text/html;q=0.01", JSON, id="uv"),
        pytest.param(f"{V1}+json", JSON, id="poetry at the default index"),
        pytest.param(f"{V1}+json, */*;q=0.1", JSON, id="poetry elsewhere"),
        pytest.param("text/html", HTML, id="pip before 22.2"),
        pytest.param("*/*", HTML, id="curl, requests, pipenv"),
        pytest.param(
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", HTML, id="Firefox"
        ),
        pytest.param(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            HTML,
            id="Chrome",
        ),
        pytest.param(None, HTML, id="PEP 691 absent is */*"),
        pytest.param("", HTML, id="empty"),
        pytest.param(" , ,", HTML, id="§5.6.1 empty members"),
        pytest.param("nonsense", HTML, id="no valid member, as warehouse"),
        pytest.param("text/html;q=abc", HTML, id="§12.4.2 no valid weight, as warehouse"),
        pytest.param(f"{V1}+json;q=2, text/html;q=0.5", HTML, id="§12.4.2 weight over 1: member passed over"),
        pytest.param(f"{V1}+html", HTML_V1, id="PEP 691 HTML"),
        pytest.param(f"{LATEST}+json", JSON, id="PEP 691 latest JSON"),
        pytest.param(f"{LATEST}+html", HTML_V1, id="PEP 691 latest HTML"),
        pytest.param(f"{LATEST}+json, {V1}+json;q=0.1, {V1}+html;q=0.5", JSON, id="PEP 691 latest is v1"),
        pytest.param(f"{V1}+json;q=0, {LATEST}+json, text/html;q=0.1", HTML, id="PEP 691 v1 refused, so latest too"),
        pytest.param(f"text/html, {V1}+html, {V1}+json", JSON, id="PEP 691 order says nothing: our preference"),
        pytest.param(f"text/html, {V1}+html", HTML_V1, id="PEP 691 equal HTMLs: our preference"),
        pytest.param(f"{V1}+json;q=0.5, text/html", HTML, id="PEP 691 higher quality first"),
        pytest.param(f"{V1}+json;q=0.501, text/html;q=0.5", JSON, id="PEP 691 three decimals"),
        pytest.param(f"{V1}+json, */*", JSON, id="a named one before a wildcard's"),
        pytest.param("text/html, application/*", HTML, id="a named one before a partial wildcard's"),
        pytest.param("application/*", HTML_V1, id="§12.5.1 type/*"),
        pytest.param("text/*", HTML, id="§12.5.1 text/*"),
        pytest.param("application/*;q=0.2, */*;q=0.1", HTML_V1, id="§12.5.1 narrower wildcard first"),
        pytest.param("text/html;q=0, */*", HTML_V1, id="§12.4.2 text/html refused"),
        pytest.param("text/*;q=0, application/vnd.pypi.simple.v1+html;q=0, */*", JSON, id="§12.4.2 HTML refused"),
        pytest.param("Text/HTML; Q=1", HTML, id="§8.3.1 case-insensitive"),
        pytest.param("text/html;charset=utf-8", HTML, id="our own charset"),
        pytest.param(f"text/html;level=1, {V1}+json;q=0.1", JSON, id="§12.5.1 a narrower range than any page"),
        pytest.param('text/plain;x="a, text/html", application/*;q=0.1', HTML_V1, id="§5.6.6 comma in quotes"),
        pytest.param("image/png", NONE, id="PEP 691 406"),
        pytest.param("application/json", NONE, id="PEP 691 406 plain JSON"),
        pytest.param("application/vnd.pypi.simple.v2+json", NONE, id="PEP 691 406 another version"),
        pytest.param("*/*;q=0", NONE, id="§12.4.2 everything refused"),
        pytest.param("text/html;q=0.0", NONE, id="§12.4.2 0.0"),
    ],
)
def test_negotiate(accept: str | None, chosen: Representation | NotAcceptable) -> None:
    assert negotiate(accept) == chosen


@given(st.text('application/vnd.pypi.simple.v1+jsonhtmltext*;q=0123456789, "\\', max_size=200))
def test_whatever_is_chosen_is_accepted(accept: str) -> None:
    chosen = negotiate(accept)
    assert isinstance(chosen, NotAcceptable) or accepts(accept, chosen)
    assert not isinstance(chosen, NotAcceptable) or not any(accepts(accept, each) for each in Representation)


@pytest.mark.parametrize("accept", ['"\\' * 30_000, '"\\"' * 20_000 + "\\", '"' * 60_001, "a/a;" * 15_000])
def test_a_hostile_header_takes_no_time(accept: str) -> None:
    """Quotes that never end made a backtracking pattern go over the header once for each of them."""
    started = time.process_time()
    negotiate(accept)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("value", "representation"),
    [
        pytest.param("text/html; charset=utf-8", HTML, id="§8.3.1"),
        pytest.param('Text/HTML;Charset="UTF-8"', HTML, id="§8.3.2 quoted, in capitals"),
        pytest.param("text/html", HTML, id="no charset"),
        pytest.param(f"{V1}+json", JSON, id="PEP 691 JSON"),
        pytest.param(f"{V1}+html;x=1", HTML_V1, id="PEP 691 HTML"),
        pytest.param("text/html, text/html", HTML, id="two lines that were joined, as pip takes them"),
        pytest.param(f"{V1.upper()}+JSON, text/html", JSON, id="two types that were joined"),
        pytest.param("text/html5", HTML, id="pip looks at the beginning alone"),
        pytest.param("text/html charset=utf-8", HTML, id="no semicolon"),
        pytest.param("application/xhtml+xml", None, id="XHTML, which no client takes"),
        pytest.param("text/plain, text/html", None, id="another type first"),
        pytest.param(f"{LATEST}+json", None, id="PEP 691 latest is never a content type"),
        pytest.param("application/json", None, id="what no client takes"),
        pytest.param("text", None, id="no media type"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_content_type(value: str | None, representation: Representation | None) -> None:
    assert representation_of(value) is representation


@pytest.mark.parametrize("representation", Representation)
def test_asking_an_upstream_gets_what_is_wanted(representation: Representation) -> None:
    """What we ask for is what a server of our own rules would give, and its content type is read back as the same."""
    assert negotiate(upstream_accept(representation)) is representation
    assert representation_of(representation.content_type) is representation
    assert representation.kind == ("json" if representation.content_type.endswith("json") else "html")


def test_html_falls_back_to_json_only_where_it_was_refused() -> None:
    """A mirror that looks for a name in Accept, whatever its quality, must not find JSON's there; one that answers 406 is told more."""
    assert accepts(upstream_accept(JSON), HTML)
    for asked in (HTML, HTML_V1):
        assert not accepts(upstream_accept(asked), JSON)
        assert negotiate(upstream_accept(asked, refused=True)) is JSON
        assert accepts(upstream_accept(asked, refused=True), asked)
