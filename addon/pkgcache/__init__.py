"""The house of pypi-cache.

One request walks through it in this order:

    proxy/lane.py         mitmproxy's parser hands over a GET or HEAD for a package host; desk.py says whether it is ours
    rules/routes.py       what the URL means: a project page, a release file, or nothing of ours (then it is an ordinary flow)
    engine/service.py     `Service.answer(Request) -> Response`, after the operator's rules (rules/admission.py)
    engine/pages.py       index pages: stored, fresh, stale (rules/freshness.py); pagefetch.py fetches them, views.py puts their links
                          right (rules/derive.py: links.py, pages.py, convert.py), large ones in pageprocess.py; filtered.py leaves
                          files out (rules/filters.py); documents.py: the older JSON API; root.py: the list of all projects
    engine/files.py       release files: which one is meant (identity.py), from the store, ranges (replies.py, rules/ranges.py);
                          straight.py: for one client alone; parts.py: what is kept of that; wheelmeta.py: metadata
                          out of wheels
    engine/fill.py        one fetch of a file, owned by a task: download.py brings it, growth.py is what readers.py follow,
                          growing.py is the file that grows, for all processes
    engine/upstream.py    the only importer of aiohttp; rules/indexes.py says what an index is, rules/breaker.py when one rests
    engine/store.py       entries for the event loop, behind threads (access.py), looked after (housekeeping.py); entries.py: on disk;
                          bounds.py: what goes for want of room; database.py: the only importer of diskcache; upkeep.py: after a
                          kill; soundness.py: bit rot

Beside the way: engine/credentials.py (spaces), hosts.py (learned file hosts), health.py, metrics.py, tasks.py; proxy/tunnel.py
(other hosts), trust.py (certificates), accesslog.py, addon.py (hooks); web/pages.py (the proxy's own pages); cli/ (the command
`pypi-cache`); settings.py (the one table of options).

Who may import whom: `proxy -> engine -> rules -> settings`; `web` and `cli` stand beside `proxy`. `rules` is pure (no I/O, no
clock), `engine` knows nothing of mitmproxy, `proxy` is the only place that does. tests/test_imports.py holds this.
"""

__version__ = "0.1.0"
