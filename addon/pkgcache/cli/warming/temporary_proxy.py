"""A proxy for one run of `warm`: a mitmdump with the same settings and store, on a free port of the loopback address.

It may run beside the real one, since several processes can share a store and its downloads. It takes mitmproxy's options from
config.yaml, except for where it listens, logins and scripts. Its CA is a new one, which is removed with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pkgcache
from pkgcache.cli.exits import UnusableError
from pkgcache.cli.output import say
from pkgcache.cli.proxy_client import ProxyClient, ProxyError, proxy_of_environment, shown_url
from pkgcache.cli.store_location import StoreLocation
from pkgcache.settings import OPTIONS, PREFIX

START_SECONDS = 60.0
SETTLE_SECONDS = 60.0
END_SECONDS = 30.0

_OMITTED = frozenset(
    {"listen_host", "listen_port", "mode", "proxyauth", "scripts", "confdir", "server", "rfile", "save_stream_file"}
)
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_LISTENS = re.compile(r"pypi-cache \S+ listens on 127\.0\.0\.1:(\d+)")
_STAMP = re.compile(r"^\[[0-9:.]+\] ")

_MITMDUMP = "from mitmproxy.tools.main import mitmdump; mitmdump()"
_SCRIPT = '''\
"""The addon, in a proxy that ends when its parent process does, even if that is killed."""

import asyncio
import os

from mitmproxy import ctx

from pkgcache.proxy.addon import PypiCache

PARENT = int(os.environ["PYPI_CACHE_PARENT"])


class EndsWithParent:
    def running(self):
        self.task = asyncio.get_running_loop().create_task(self.watch())

    async def watch(self):
        while os.getppid() == PARENT:
            await asyncio.sleep(1)
        ctx.master.shutdown()


addons = [PypiCache(), EndsWithParent()]
'''


@contextlib.contextmanager
def temporary_proxy(location: StoreLocation) -> Iterator[ProxyClient]:
    """Run a proxy with these settings while the block runs. Raises UnusableError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="pypi-cache-proxy-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(json.dumps(_options(location)))  # JSON is YAML
        (folder / "script.py").write_text(_SCRIPT)
        log = folder / "log"
        command = [sys.executable, "-c", _MITMDUMP, "-s", str(folder / "script.py"), "--set", f"confdir={folder}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a terminal's Ctrl-C reaches only the command, which then ends the proxy
            )
        try:
            client = _wait(process, log)
            yield client
            with contextlib.suppress(ProxyError):
                client.stats_when_idle(SETTLE_SECONDS)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _options(location: StoreLocation) -> dict[str, Any]:
    """mitmproxy's options for it: those of config.yaml that fit, with a parent proxy if there is one."""
    options = {
        name: value for name, value in location.config.items() if name not in _OMITTED and not name.startswith("web_")
    }
    modes = location.config.get("mode", [])
    parents = [
        mode.partition("@")[0]
        for mode in ([modes] if isinstance(modes, str) else modes)
        if str(mode).startswith("upstream:")
    ]
    return {
        **options,
        **_typed(location.given),
        f"{PREFIX}dir": str(location.folder.absolute()),
        f"{PREFIX}access_log": "",
        f"{PREFIX}public_url": "",
        f"{PREFIX}flows": "never",
        "mode": parents[:1] or ["regular"],
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "termlog_verbosity": "info",
    }


def _typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Our options for a configuration file, where mitmproxy wants exact types. `make_settings` has checked them."""
    typed: dict[str, Any] = {}
    for option in OPTIONS:
        if (value := given.get(option.full_name)) is None:
            continue
        if option.type is bool:
            value = value if isinstance(value, bool) else value in {"true", ""}
        elif option.type is not str:
            value = [value] if isinstance(value, str) else list(value)
        else:
            value = str(value)
        typed[option.full_name] = value
    return typed


def _environment() -> dict[str, str]:
    """This process's environment, in which the package is found even if it is not installed.

    If HTTPS_PROXY names a pypi-cache on this machine, it is removed: on a shared store, a parent and its child would each wait for the
    other's download.
    """
    environment = dict(os.environ)
    environment_proxy = proxy_of_environment(environment)
    if environment_proxy is not None and environment_proxy.is_here:
        say("HTTPS_PROXY is a pypi-cache on this machine, so upstreams are asked directly")
        say(f"to fetch through it: --proxy {shown_url(environment_proxy.url)}")
        environment = {name: value for name, value in environment.items() if name.lower() not in _PROXIES}
    package = str(Path(pkgcache.__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYPI_CACHE_PARENT": str(os.getpid())}


def _wait(process: subprocess.Popen[bytes], log: Path) -> ProxyClient:
    """Wait until it listens. Raises UnusableError if it does not."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if match := _LISTENS.search(log.read_text(errors="replace")):
            client = ProxyClient(f"http://127.0.0.1:{match[1]}")
            with contextlib.suppress(ProxyError):
                client.health()
                return client
        if process.poll() is not None:
            break
        time.sleep(0.05)
    lines = [
        _STAMP.sub("", line) for line in log.read_text(errors="replace").splitlines() if "Loading script" not in line
    ]
    raise UnusableError(f"the temporary proxy does not start: {' / '.join(lines[-3:]) or 'it printed nothing'}")
