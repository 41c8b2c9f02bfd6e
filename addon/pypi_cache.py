"""pypi-cache: a caching forward proxy for Python packages.

This is the script that `mitmdump -s addon/pypi_cache.py` loads. The code is in the package `pkgcache` beside it, whose docstring is the
map. mitmproxy reloads this file alone, so it holds nothing but the addon's instance.
"""

from pkgcache.proxy.addon import PypiCache

addons = [PypiCache()]
