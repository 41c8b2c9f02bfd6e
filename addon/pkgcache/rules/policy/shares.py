"""What each of several workers may take of the memory that the options grant to the proxy as a whole."""

from __future__ import annotations

from dataclasses import replace

from pkgcache.settings import Settings


def share_of(settings: Settings, workers: int) -> Settings:
    """Return a worker's settings: the options for memory divided by their number.

    What the store holds on the disk is not divided, since they share it.
    """
    return replace(settings, memory=settings.memory // workers, known_heads=settings.known_heads // workers)


def shown_share(share: Settings, workers: int) -> str:
    """Return the line that tells at start what each worker has."""
    return (
        f"{workers} workers, each with {share.memory:,} bytes for pages and small files (pypi_cache_memory ÷ {workers}) "
        f"and {share.known_heads:,} for known heads (pypi_cache_known_heads ÷ {workers})"
    )
