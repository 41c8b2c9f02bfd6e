"""Builds the indexes from the settings: each has a name, the URL that clients know it by, and upstreams in order of preference.

The index `pypi` always exists. A mirror is an index as well, under its own URL, because an agent may name it in its pip.conf: links on
its pages then stay on that mirror, and its files share their keys with all other mirrors.

No host name is written here: pip is asked for its defaults, which are passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pkgcache.option_values import IndexSetting
from pkgcache.rules.routing.urls import Url, basic_credentials, parse_url
from pkgcache.settings import SettingError
from pkgcache.units import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """pip's default index: its simple URL, ending in a slash, and the `packages/` folder of its file host."""

    simple: Url
    files: Url


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A place that an index is fetched from.

    `files` is the folder of files in PyPI's layout: `…/packages/` beside the mirror's `simple/`, or the default index's file host. It is
    None for an index whose files are known only by its pages' links. `authorization` is an `Authorization` value, or empty. `query` is
    sent with every request for a page, and may be a secret: only the methods here put it into a URL.
    """

    simple: Url
    files: Url | None = None
    authorization: str = ""
    query: str = ""
    name: str = field(init=False)
    """What logs and error pages call it: the URL, which holds no credentials."""

    def __post_init__(self) -> None:
        """Make the name once."""
        object.__setattr__(self, "name", str(self.simple))


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index as clients see it. `canonical_files` is the origin of the file host that all mirrors of `pypi` share, else empty."""

    name: str
    simple: Url
    upstreams: tuple[Upstream, ...]
    canonical_files: str = ""
    base: str = ""
    """What comes before all paths at the proxy's own address, as clients see them: the path of `pypi_cache_public_url`."""
    shares_pypi_files: bool = field(init=False)
    """Whether a PyPI-layout path on this index is a digest: only `pypi` and its mirrors keep that promise."""

    def __post_init__(self) -> None:
        """Find out once, since each request asks."""
        object.__setattr__(self, "shares_pypi_files", any(upstream.files is not None for upstream in self.upstreams))


def build_indexes(settings: tuple[IndexSetting, ...], defaults: Defaults, public_url: str = "") -> tuple[Index, ...]:
    """Build all indexes: `pypi` first, then the operator's, then each mirror under its own URL. Raises SettingError."""
    base = parse_url(public_url).path.rstrip("/") if public_url else ""
    given = {setting.name: setting.urls for setting in settings}
    mirrors = tuple(_pypi_upstream(url, defaults) for url in given.pop("pypi", ())) or (
        Upstream(simple=defaults.simple, files=defaults.files),
    )
    found = [
        Index(name="pypi", simple=defaults.simple, upstreams=mirrors, canonical_files=defaults.files.origin, base=base)
    ]
    found += [_named_index(name, urls, base) for name, urls in given.items()]
    known = {index.simple for index in found}
    for index in tuple(found):
        for upstream in index.upstreams:
            if upstream.simple not in known:
                known.add(upstream.simple)
                found.append(
                    Index(
                        name=f"{index.name}@{upstream.name}", simple=upstream.simple, upstreams=(upstream,), base=base
                    )
                )
    return tuple(found)


def _pypi_upstream(text: str, defaults: Defaults) -> Upstream:
    url, authorization, query = _split_secrets(text, "pypi")
    files = defaults.files
    if url != defaults.simple:
        files = url.with_path(f"{url.path.rstrip('/').rpartition('/')[0]}/packages/")
    return Upstream(simple=url, files=files, authorization=authorization, query=query)


def _named_index(name: str, urls: tuple[str, ...], base: str) -> Index:
    split = [_split_secrets(url, name) for url in urls]
    upstreams = tuple(Upstream(simple=url, authorization=login, query=query) for url, login, query in split)
    return Index(name=name, simple=split[0][0], upstreams=upstreams[1:] or upstreams, base=base)


def _split_secrets(text: str, name: str) -> tuple[Url, str, str]:
    """Split an index's URL into one without secrets that ends in a slash, an `Authorization` value or '', and its query."""
    try:
        parts = urlsplit(text)
        bare = text.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1)
        url = parse_url(bare)
        if "#" in text:
            raise ValueError("an index URL has no fragment")
    except ValueError as error:
        raise SettingError(f"pypi_cache_index={name}={redact(text)}: {error}") from None
    return url.with_path(url.path.rstrip("/") + "/"), basic_credentials(parts.netloc.rpartition("@")[0]), url.query
