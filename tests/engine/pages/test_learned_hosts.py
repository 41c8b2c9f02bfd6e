"""File hosts learned from pages: bounded, remembered by the store, forgotten when unused."""

import time
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.pages.learned_hosts import LearnedHosts
from pkgcache.engine.store.keys import HOSTS_KEY
from pkgcache.rules.routing.host_table import FORGOTTEN_AFTER, MOST_PER_PAGE
from tests.engine.store.stores import opened

A, B = ("a.test", 443), ("b.test", 8443)


async def test_they_are_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        hosts = LearnedHosts(store)
        assert hosts.learn("pypi", "six", [A, B])
        assert not hosts.learn("pypi", "six", [A])
        assert hosts.learn("corp", "six", [A]), "it is corp's too"
        await hosts.save()
    async with opened(tmp_path) as store:
        again = LearnedHosts(store)
        await again.load()
        assert dict(again) == {A: ("pypi", "corp"), B: ("pypi",)}


async def test_a_page_can_name_so_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line tells of those that are not opened, however often the page is read."""
    async with opened(tmp_path) as store:
        hosts = LearnedHosts(store)
        for _ in range(3):
            hosts.learn("evil", "six", [(f"h{number}.test", 443) for number in range(100)])
        assert len(hosts) == MOST_PER_PAGE
        refusals = [record for record in caplog.records if "not opened" in record.getMessage()]
        assert len(refusals) == 1
        assert "index evil, project six: h4.test:443 and 95 more are not opened" in refusals[0].getMessage()
        assert hosts.learn("pypi", "six", [A]), "another index has its own count"


@pytest.mark.parametrize(("unused", "known"), [(FORGOTTEN_AFTER - 60, True), (FORGOTTEN_AFTER + 60, False)])
async def test_one_that_nobody_uses_is_forgotten(unused: float, known: bool, tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.put(HOSTS_KEY, b"-", {"hosts": [[*A, "pypi", time.time() - unused]]})
        hosts = LearnedHosts(store)
        await hosts.load()
        assert (A in hosts) == known


async def test_a_use_is_what_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.put(HOSTS_KEY, b"-", {"hosts": [[*A, "pypi", time.time() - FORGOTTEN_AFTER + 60]]})
        hosts = LearnedHosts(store)
        await hosts.load()
        assert hosts[A] == ("pypi",)
        await hosts.save()
        found = await store.read(HOSTS_KEY)
        assert found is not None
        assert found[0]["hosts"][0][3] > time.time() - 60


@pytest.mark.parametrize("notes", [{}, {"hosts": "all"}, {"hosts": [["a.test", "443", "pypi", 0]]}, {"hosts": [[]]}])
async def test_notes_that_make_no_sense_are_dropped(notes: dict[str, Any], tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.put(HOSTS_KEY, b"-", notes)
        await store.flush_pending()
        hosts = LearnedHosts(store)
        await hosts.load()
        assert not dict(hosts)
        assert await store.read(HOSTS_KEY) is None
