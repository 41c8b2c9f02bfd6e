"""pip still has the names that this project asks of it: no registry's host name stands anywhere else."""

import re
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI, TestPyPI

from pkgcache.engine.pip_defaults import pip_defaults

HOST = r"[a-z0-9-]+(\.[a-z0-9-]+)+"


def test_pip_still_has_its_default_index() -> None:
    """If this fails, pip has moved them: look for `simple_url` in `pip/_internal/models/`, and mend engine/pip_defaults.py."""
    parts = urlsplit(PyPI.simple_url)
    assert (parts.scheme, parts.netloc) == ("https", PyPI.netloc)
    assert parts.path.rstrip("/").endswith("/simple")
    assert re.fullmatch(HOST, PyPI.netloc)
    assert re.fullmatch(HOST, PyPI.file_storage_domain)
    assert PyPI.file_storage_domain != PyPI.netloc


def test_it_is_what_pip_uses() -> None:
    """The same model gives pip's own `--index-url` its default."""
    from pip._internal.cli.cmdoptions import index_url  # noqa: PLC0415 - it imports much of pip

    assert index_url().default == PyPI.simple_url


def test_the_defaults_are_pips() -> None:
    defaults = pip_defaults()
    assert str(defaults.simple) == PyPI.simple_url.rstrip("/") + "/"
    assert (defaults.simple.host, defaults.simple.port) == (PyPI.netloc, 443)
    assert str(defaults.files) == f"https://{PyPI.file_storage_domain}/packages/"


def test_it_is_not_the_test_index() -> None:
    assert TestPyPI.netloc not in str(pip_defaults())
