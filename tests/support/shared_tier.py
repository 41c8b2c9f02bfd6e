"""Proxies with a store each and one shared tier, before one upstream."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.authority import Authority
from tests.support.names import file_url
from tests.support.proxy import Options, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile
from tests.support.wire import Fetched, fetch


@dataclass(slots=True)
class Farm:
    """`url` is the tier's. `env`: what its proxies need to reach it."""

    upstream: Upstream
    folder: Path
    url: str
    _ca: Authority
    _stack: ExitStack
    env: Mapping[str, str] = field(default_factory=dict)
    _made: int = 0

    def proxy(self, options: Options | None = None) -> Proxy:
        """Another machine, with an empty store."""
        self._made += 1
        joined = {
            "pypi_cache_index": f"pypi={self.upstream.index_url}",
            "pypi_cache_shared": self.url,
            **(options or {}),
        }
        made = Proxy(self.folder / f"machine-{self._made}", options=joined, upstream_ca=self._ca.bundle, env=self.env)
        return self._stack.enter_context(made)

    @property
    def objects(self) -> dict[str, Path]:
        """What is in a tier that is a folder, by name: whole objects alone."""
        root = Path(self.url.removeprefix("file://"))
        found = [path for path in root.rglob("*") if path.is_file() and "#" not in path.name]
        return {path.relative_to(root).as_posix(): path for path in found}

    def object_of(self, release: ReleaseFile) -> Path:
        """A file's object, once it is there."""
        named = eventually(lambda: [path for path in self.objects.values() if path.name == release.filename])
        return named[0]


@contextmanager
def open_farm(ca: Authority, folder: Path, url: str = "", env: Mapping[str, str] | None = None) -> Iterator[Farm]:
    """Start the upstream; the proxies come as they are asked for, and none of them may print a traceback."""
    with Upstream(ca) as upstream, ExitStack() as stack:
        farm = Farm(upstream, folder, url or f"file://{folder}/tier", ca, stack, env or {})
        yield farm


def get(proxy: Proxy, release: ReleaseFile, suffix: str = "", *, method: str = "GET", **headers: str) -> Fetched:
    """One request for a file."""
    return fetch(proxy.port, file_url(release, suffix), ca=proxy.ca, method=method, headers=headers)


def trouble(proxy: Proxy) -> dict[str, str]:
    """What /healthz says is wrong."""
    found: dict[str, str] = json.loads(proxy.get("/healthz").body)["trouble"]
    return found


def counted(proxy: Proxy, name: str) -> Callable[[], int]:
    """A counter of /metrics, such as `shared_writes_total{result="stored"}`."""

    def ask() -> int:
        lines = proxy.get("/metrics").body.decode().splitlines()
        return int(float(next(line.split()[-1] for line in lines if line.startswith(f"pypi_cache_{name} "))))

    return ask
