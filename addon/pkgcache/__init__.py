"""A caching forward proxy for Python packages; this is the map of its code.

One request passes through the folders in this order:

    proxy/      the only importer of mitmproxy. fast_path.py takes a GET or HEAD for a package host out of mitmproxy's HTTP layer;
                connect.py handles CONNECT; intake.py decides which requests are ours, and known_heads.py remembers what it has decided;
                addon.py holds the hooks
    web/        the proxy's own pages: /healthz, /metrics, /bundle.pem, … and the settings of agents
    engine/     I/O and concurrency. service.py is the one way in: `Service.answer(Request, Route) -> Response`
        files/      release files: from the store, from a download, or a range of one
        pages/      index pages, the JSON API beside them, and the list of all projects
        fills/      one download of a file, read by any number of clients while it grows
        responses/  Request, Response and the bodies that stream; what is answered when nothing can be served
        advisories/ OSV records: read in a process of their own, and refreshed in the background
        gatekeeper.py  requests, and redirects of upstreams, held to the operator's rules
        caching.py  RFC 9111 acted on: serve, revalidate, or serve stale
        store/      entries on disk: database.py is the only importer of diskcache
        runtime/    tasks, single flight, metrics, health
        upstream/   requests to mirrors: the only importer of aiohttp
    rules/      every decision, pure: no I/O, no clock, no logging
        policy/     the operator's rules, and ours on downloads and addresses
        simple/     the simple repository API (PEP 503, 691, 700, 714): pages read, their links rewritten
        http/       RFC 9110, 9111, 9211 and 5861: freshness, validation, ranges, content negotiation
        routing/    what a URL means: paths, file names, digests, indexes
    cli/        the command `pypi-cache`, which works on a store with or without a running proxy
    __main__.py where `pypi-cache` begins: `serve` is proxy/serve.py, the rest is cli/
    data/       no code: files that are handed out, such as the scripts for agents' shells
    settings.py the one table of options; option_values.py: what each may be; units.py: sizes, times, redaction

Imports go one way: `proxy -> web -> engine -> rules -> settings -> units`, and `cli` stands beside `proxy`, both below `__main__`.
Inside engine, rules, cli and proxy the folders and files have floors of their own. tests/test_imports.py holds all of it.
"""

__version__ = "1.0.0"
