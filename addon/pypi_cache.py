"""pypi-cache: a caching forward proxy for Python packages.

This is what `mitmdump -s addon/pypi_cache.py` loads. The house is `pkgcache`, beside this file; its docstring is the map.
"""

from pkgcache.proxy.addon import PypiCache

addons = [PypiCache()]
