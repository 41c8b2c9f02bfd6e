"""Fixtures of the end-to-end tests: a running proxy, and the ways in which clients come to it."""

import pytest

from tests.support.clients import WAYS, Way
from tests.support.factories import MakeProxy
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream


@pytest.fixture
def proxy(make_proxy: MakeProxy, upstream: Upstream) -> Proxy:
    """A proxy whose index `pypi` is at `upstream`."""
    return make_proxy(upstream)


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Each of the four ways in turn."""
    chosen: Way = request.param
    return chosen
