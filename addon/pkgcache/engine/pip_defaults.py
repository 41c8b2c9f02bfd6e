"""pip's default index and file host, asked of pip itself: no registry's host name is written anywhere in this project."""

from __future__ import annotations

from pip._internal.models.index import PyPI

from pkgcache.rules.routing.indexes import Defaults
from pkgcache.rules.routing.urls import parse_url


def pip_defaults() -> Defaults:
    """The defaults of the pip in this environment (tests/engine/test_defaults.py holds that pip still has them)."""
    return Defaults(
        simple=parse_url(PyPI.simple_url.rstrip("/") + "/"),
        files=parse_url(f"https://{PyPI.file_storage_domain}/packages/"),
    )
