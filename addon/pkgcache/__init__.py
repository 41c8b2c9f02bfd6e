"""The house of pypi-cache.

One request walks through it in this order:

    proxy/lane.py       mitmproxy's parser hands over a GET or HEAD for a package host; the lane asks the service
    rules/routes.py     what the URL means: a project page, a release file, or nothing of ours (then it is an ordinary flow)
    engine/service.py   `Service.answer(Request) -> Reply`: from the store, from a fill in progress, or by starting one
    engine/pages.py     index pages: stored, fresh, stale (RFC 9111); pagefetch.py fetches them, views.py puts their links right
    engine/files.py     release files: ranges, fills, digests
    engine/fill.py      one download, owned by a task, followed by any number of readers
    engine/upstream.py  the only importer of aiohttp
    engine/store.py     the only importer of diskcache

Who may import whom: `proxy -> engine -> rules -> settings`; `web` and `cli` stand beside `proxy`. `rules` is pure (no I/O, no
clock), `engine` knows nothing of mitmproxy, `proxy` is the only place that does. tests/test_imports.py holds this.
"""

__version__ = "0.1.0"
