"""The Cache-Status field (RFC 9211), written as a structured field (RFC 8941)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.http.cache_status import CacheStatus


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param(CacheStatus(hit=True, ttl=512), "pypi-cache; hit; ttl=512", id="§2.1, §2.4 fresh hit"),
        pytest.param(CacheStatus(fwd="miss", stored=True), "pypi-cache; fwd=miss; stored", id="§2.2, §2.5 miss"),
        pytest.param(CacheStatus(fwd="miss", collapsed=True), "pypi-cache; fwd=miss; collapsed", id="§2.6 herd"),
        pytest.param(
            CacheStatus(fwd="miss", stored=True, collapsed=True), "pypi-cache; fwd=miss; stored; collapsed", id="§2.6"
        ),
        pytest.param(
            CacheStatus(fwd="stale", fwd_status=304), "pypi-cache; fwd=stale; fwd-status=304", id="§2.3 revalidated"
        ),
        pytest.param(
            CacheStatus(hit=True, ttl=-30, detail="stale-if-error"),
            "pypi-cache; hit; ttl=-30; detail=stale-if-error",
            id="§2.8 token",
        ),
        pytest.param(CacheStatus(fwd="bypass"), "pypi-cache; fwd=bypass", id="§2.2 bypass"),
        pytest.param(CacheStatus(hit=True, ttl=0), "pypi-cache; hit; ttl=0", id="§2.4 zero is said"),
        pytest.param(CacheStatus(), "pypi-cache", id="§2 nothing to say"),
        pytest.param(
            CacheStatus(hit=True, detail='disk "full" \\'),
            r'pypi-cache; hit; detail="disk \"full\" \\"',
            id="§2.8 string",
        ),
        pytest.param(
            CacheStatus(hit=True, detail="4xx"), 'pypi-cache; hit; detail="4xx"', id="no token: a digit first"
        ),
        pytest.param(CacheStatus(hit=True, detail="é\r\n"), 'pypi-cache; hit; detail="???"', id="no header injection"),
        pytest.param(CacheStatus(hit=True, ttl=10**20), "pypi-cache; hit; ttl=" + "9" * 15, id="RFC 8941 §3.3.1"),
    ],
)
def test_written(status: CacheStatus, field: str) -> None:
    assert str(status) == field


@pytest.mark.parametrize(
    ("hit", "fwd", "stored"),
    [
        pytest.param(True, "miss", False, id="§2 hit and fwd"),
        pytest.param(False, "", True, id="§2.5 stored without fwd"),
        pytest.param(True, "", True, id="§2.5 stored with a hit"),
    ],
)
def test_refused(fwd: str, *, hit: bool, stored: bool) -> None:
    with pytest.raises(ValueError, match=r"fwd|hit"):
        CacheStatus(hit=hit, fwd=fwd, stored=stored)  # type: ignore[arg-type]


@given(detail=st.text())
def test_any_detail_stays_one_parameter(detail: str) -> None:
    """RFC 8941 §3.3.3, §3.3.4: one token or one quoted string, in printable ASCII."""
    field = str(CacheStatus(hit=True, detail=detail))
    pattern = r'pypi-cache; hit(; detail=([A-Za-z*][!#$%&\'*+\-.^_`|~\w:/]*|"([ !#-\[\]-~]|\\["\\])*"))?'
    assert re.fullmatch(pattern, field, re.ASCII)
