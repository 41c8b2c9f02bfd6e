"""The house of pypi-cache.

One request walks through it in this order:

    proxy/lane.py         mitmproxy's parser hands over a GET or HEAD for a package host; desk.py says whether it is ours
    rules/routes.py       what the URL means: a project page, a release file, or nothing of ours (then it is an ordinary flow)
    engine/service.py     `Service.answer(Request) -> Reply`, after the operator's rules (rules/admission.py)
    engine/pages.py       index pages: stored, fresh, stale (rules/freshness.py); pagefetch.py fetches them, views.py puts their links
                          right (rules/links.py, pages.py, convert.py), filtered.py leaves files out (rules/filters.py)
    engine/files.py       release files: keys (rules/digests.py, with what a release file's name may end on), fills, ranges
                          (rules/ranges.py, engine/replies.py); passage.py: what is passed through; wheelmeta.py: metadata out of wheels
    engine/fill.py        one download, owned by a task, on a growing file (growing.py), followed by any number of readers (readers.py)
    engine/upstream.py    the only importer of aiohttp; rules/indexes.py says what an index is, rules/breaker.py when one rests
    engine/store.py       the only importer of diskcache

Beside the way: engine/credentials.py (spaces), hosts.py (learned file hosts), health.py, metrics.py, tasks.py; proxy/tunnel.py
(other hosts), trust.py (certificates), accesslog.py, addon.py (hooks); web/pages.py (the proxy's own pages); settings.py (the one
table of options).

Who may import whom: `proxy -> engine -> rules -> settings`; `web` stands beside `proxy`. `rules` is pure (no I/O, no
clock), `engine` knows nothing of mitmproxy, `proxy` is the only place that does. tests/test_imports.py holds this.
"""

__version__ = "0.1.0"
