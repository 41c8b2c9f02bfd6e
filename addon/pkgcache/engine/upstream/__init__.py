"""Fetching from upstreams: HTTP, the parent proxy, trust, and what can go wrong. `client` and `guard` alone import aiohttp."""
