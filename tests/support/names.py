"""The names that clients use by default, asked of pip: no registry's host name is written in this repository."""

from typing import Final

from pip._internal.models.index import PyPI

from tests.support.wheels import ReleaseFile, normalise

INDEX_HOST: Final[str] = PyPI.netloc
"""The host of the index that pip and uv ask when nothing is configured."""

INDEX_URL: Final[str] = PyPI.simple_url.rstrip("/") + "/"
"""The default index as clients name it, with its final slash."""

FILES_HOST: Final[str] = PyPI.file_storage_domain
"""The host that the default index's links name."""

FILES_ORIGIN: Final[str] = f"https://{FILES_HOST}"


def page_url(project: str) -> str:
    """The project page that a client with no configuration asks for."""
    return f"{INDEX_URL}{normalise(project)}/"


def file_url(release: ReleaseFile, suffix: str = "") -> str:
    """The canonical address of a release file (`suffix='.metadata'` for its core metadata)."""
    return f"{FILES_ORIGIN}/{release.quoted_path}{suffix}"
