"""pip's default index and file host, read from the installed pip: no registry's host name is written anywhere in this project."""

from __future__ import annotations

from pip._internal.models.index import PyPI

from pkgcache.rules.routing.indexes import Defaults
from pkgcache.rules.routing.urls import parse_url


def pip_defaults() -> Defaults:
    """Return the defaults of the pip in this environment. These are private names of pip, and have a test of their own."""
    return Defaults(
        simple=parse_url(PyPI.simple_url.rstrip("/") + "/"),
        files=parse_url(f"https://{PyPI.file_storage_domain}/packages/"),
    )
