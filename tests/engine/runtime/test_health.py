"""Problems are logged once when they begin and once when they end."""

import logging

import pytest

from pkgcache.engine.runtime.health import Health


def test_a_problem_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    with caplog.at_level(logging.INFO):
        health.clear("store")
        for line in ("it fails", "it fails in another way"):
            health.report("store", line)
        assert health.problems == {"store": "it fails in another way"}
        for _ in range(3):
            health.clear("store")
        health.report("store", "it fails again")
    assert [record.getMessage() for record in caplog.records] == ["it fails", "store works again", "it fails again"]


def test_components_fail_apart() -> None:
    health = Health()
    health.report("store", "a")
    health.report("disk", "b")
    health.clear("store")
    assert health.problems == {"disk": "b"}
