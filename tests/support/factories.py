"""What the factory fixtures are, for the annotations of tests; and what the `upstream` fixture publishes."""

from collections.abc import Iterable
from typing import Any, Protocol

from tests.support.proxy import Options, Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel


def small_wheels() -> tuple[ReleaseFile, ...]:
    """What the `upstream` fixture has: alpha 1.0, 2.0 (and its sdist), beta 1.0 (needs alpha), Gamma.Ray 1.0."""
    return (
        make_wheel("alpha", "1.0", upload_time="2024-01-01T00:00:00.000000Z"),
        make_wheel("alpha", "2.0", requires_python=">=3.8"),
        make_sdist("alpha", "2.0", requires_python=">=3.8"),
        make_wheel("beta", "1.0", requires=("alpha>=1.0",)),
        make_wheel("Gamma.Ray", "1.0", payload_size=300_000),
    )


class MakeUpstream(Protocol):
    """Starts an Upstream that ends with the test."""

    def __call__(
        self,
        *releases: ReleaseFile,
        tls: bool = True,
        names: Iterable[str] = (),
        prefix: str = "/pypi",
    ) -> Upstream:
        """Without `tls` it speaks plain http."""
        ...


class MakeProxy(Protocol):
    """Starts a Proxy that ends with the test.

    `upstreams` are index `pypi`'s URLs, in order. Unless `complaints_allowed`, the test fails at its end if the
    output has a traceback. Anything else goes to `Proxy`.
    """

    def __call__(
        self,
        *upstreams: Upstream,
        options: Options | None = None,
        complaints_allowed: bool = False,
        **more: Any,
    ) -> Proxy:
        """`more` is what `Proxy` takes."""
        ...
