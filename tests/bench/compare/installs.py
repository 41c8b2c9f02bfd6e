"""B4 and B9: real pip and uv with a set of 40 packages, from a slow upstream and from a fast one."""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.compare import contenders
from tests.bench.compare.contenders import AS_INDEX, DEVPI, DIRECT, NGINX_NAME, PROXPI, Peer
from tests.bench.compare.figures import OURS, Goal, Row
from tests.bench.compare.loads import used
from tests.bench.compare.turns import Size, Work, gathered, in_turns
from tests.bench.tools import MB, Stage
from tests.support import clients
from tests.support.behaviour import Behaviour
from tests.support.wheels import ReleaseFile, make_wheel

PACKAGES: Final = 40
OLDER: Final = 9
"""Further versions on each page."""
WANTED: Final = ["set-0"]
"""Needs two others, each of which needs two more, and so on."""
PIP_SECONDS, UV_SECONDS = "s, pip download", "s, uv pip install"
COMPILE, SYNC = "s, uv pip compile", "s, uv sync"
COST, LOAD = "processor s", "the clients'"


def package_set(count: int) -> Sequence[ReleaseFile]:
    """35 MB of wheels of 20 kB to 5 MB, and small older ones."""
    made = []
    for number in range(count):
        requires = [f"set-{other}>=1" for other in (2 * number + 1, 2 * number + 2) if other < count]
        size = int(20_000 * 1.15 ** (number * 7 % PACKAGES))
        made.append(make_wheel(f"set-{number}", "1.0", requires=requires, payload_size=size, seed=number))
        made += [make_wheel(f"set-{number}", f"0.{older}", requires=requires) for older in range(OLDER)]
    return made


def slow_upstream(here: Stage, size: Size, row: Row) -> None:
    """B4."""
    packages = size.of(PACKAGES, 8)
    here.upstream.add(*package_set(packages))
    here.upstream.pace(20 * MB)
    here.upstream.script(Behaviour("", delay=0.08))

    def measure(peer: Peer, number: int) -> Mapping[str, float]:
        if not number and peer.name == DIRECT:
            return {}  # has nothing to warm up
        with tempfile.TemporaryDirectory(dir=here.folder) as name, used(peer) as taken:
            home = Path(name)
            words = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", home / "dest", *WANTED]
            by_pip = clients.run(home, words, env=peer.env).ok()
            by_uv = clients.uv_install(home, WANTED, home / "target", env=peer.env).ok()
            if len(clients.installed(home / "target")) != packages:
                raise RuntimeError("uv installed something else")
        return {PIP_SECONDS: by_pip.seconds, UV_SECONDS: by_uv.seconds, COST: taken.processor, LOAD: taken.load}

    kinds = {DIRECT: contenders.direct(here), OURS: contenders.ours(here), NGINX_NAME: contenders.nginx(here)}
    kinds |= {PROXPI: contenders.proxpi(here), DEVPI: contenders.devpi(here)}
    with gathered(row, kinds) as peers:
        peers += [contenders.as_index(each) for each in peers if each.name == OURS]
        in_turns(row, peers, size.of(3, 1), measure)


def fast_upstream(here: Stage, size: Size, row: Row) -> None:
    """B9: new peers each round, so that there is a cold run each round."""
    with contenders.mirror(here, *package_set(PACKAGES)) as origin:
        for _ in range(size.of(5, 1)):
            kinds = {OURS: contenders.ours(here, origin=origin), NGINX_NAME: contenders.nginx(here, origin)}
            with gathered(row, kinds) as peers:
                everybody = [origin, *peers]
                in_turns(row, everybody, 1, lambda peer, _: _with_uv(here, peer), warm_up=False)


def _with_uv(here: Stage, peer: Peer) -> Mapping[str, float]:
    """The first time and once more, each with an empty cache of uv's."""
    found: dict[str, float] = {}
    with ExitStack() as stack:

        def home() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=here.folder)))

        with used(peer) as taken:
            for how in ("cold", "warm"):
                found[f"{COMPILE}, {how}"] = clients.uv_compile(home(), WANTED, env=peer.env).ok().seconds
            locked = home()
            clients.uv_lock(locked, WANTED, env=peer.env)[0].ok()
            for how in ("cold", "warm"):
                project = shutil.copytree(locked / "project", home() / "project")
                words = ["sync", "--python", sys.executable]
                found[f"{SYNC}, {how}"] = clients.uv(project.parent, *words, env=peer.env, cwd=project).ok().seconds
    return {**found, COST: taken.processor, LOAD: taken.load}


FASTEST: Final = (NGINX_NAME, PROXPI, DEVPI)
ROWS: Final = {
    "B4": Work(
        text=f"pip download and uv pip install of {PACKAGES} packages, 35 MB, warm; upstream at 20 MB/s, 80 ms a request (quick: 8); "
        "proxpi and devpi are asked without TLS, and so is this proxy as index",
        measure=slow_upstream,
        goals=[
            Goal(what=what, limit=limit, against=against)
            for what in (PIP_SECONDS, UV_SECONDS)
            for limit, against in ((1.05, FASTEST), (1, (DIRECT,)))
        ]
        + [Goal(what=what, limit=1.05, against=FASTEST, of=AS_INDEX) for what in (PIP_SECONDS, UV_SECONDS)],
    ),
    "B9": Work(
        text=f"uv pip compile and uv sync of {PACKAGES} packages, an empty uv cache, upstream an nginx on this machine; this proxy "
        "has answered one small page and file before, cold is the first run and warm the second",
        measure=fast_upstream,
        goals=[
            Goal(what=f"{what}, {how}", limit=limit, against=(DIRECT,))
            for how, limit in (("warm", 1.1), ("cold", 1.5))
            for what in (COMPILE, SYNC)
        ],
    ),
}
