"""I/O and concurrency: the store, fills, upstreams, the service. Nothing of mitmproxy."""
