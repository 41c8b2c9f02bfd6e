"""A proxy whose limits are smaller than the defaults, so that a test reaches them with a few requests and in little time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.proxy import ADDON

BREAKER_BY_CLOCK: Final = {
    "engine.upstream.breakers.time": "importlib.import_module('types').SimpleNamespace(monotonic=importlib.import_module('time').time)"
}
"""How long an upstream is left alone after failures goes by the clock that `Proxy.lapse` moves."""


def script_with(folder: Path, limits: Mapping[str, object]) -> Path:
    """Write a script that starts the addon with these limits: `module.NAME` (below `pkgcache`) to its value's expression.

    A constant is changed in every module that has taken it from there. What was made of it when its module was imported is not: a
    default of an argument, another constant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "import importlib, sys",
        f"sys.path.insert(0, {str(ADDON.parent)!r})",
        "from pkgcache.proxy.addon import PypiCache",
        "from pkgcache.rules.policy.places import PlaceLimits",
    ]
    for name, value in limits.items():
        module, _, constant = name.rpartition(".")
        target = f"importlib.import_module('pkgcache.{module}')"
        lines.append(f"was = {target}.{constant}")
        if constant.isupper():
            lines.append("takers = [each for name, each in sys.modules.items() if name.startswith('pkgcache.')]")
        else:
            lines.append(f"takers = [{target}]")
        lines.append(f"for taker in takers:\n    if vars(taker).get({constant!r}) is was:")
        lines.append(f"        taker.{constant} = {value}")
    lines.append("addons = [PypiCache()]")
    script = folder / "limited.py"
    script.write_text("\n".join(lines) + "\n")
    return script
