"""Where advisories come from: what `pypi_cache_advisories` names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pkgcache.rules.routing.urls import Url, basic_credentials, parse_url
from pkgcache.settings import SettingError
from pkgcache.units import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A URL, with its `Authorization` or '', or else a path. `shown` is for people, without what may be secret."""

    shown: str
    path: Path
    url: Url | None = None
    authorization: str = ""

    def is_at(self, address: tuple[str, int]) -> bool:
        """Whether the operator's URL is at this host and port."""
        return self.url is not None and (self.url.host, self.url.port) == address


def parse_source(text: str) -> Source | None:
    """Read the option's value; None for an empty one. Raises SettingError, also for a path where nothing is: it may be mistyped."""
    if not text:
        return None
    shown = redact(text)
    if not text.lower().startswith(("http://", "https://")):
        path = Path(text)
        if not path.exists():
            raise SettingError(
                f"pypi_cache_advisories={shown!r}: expected a folder, a JSON file or a zip that is there, or a URL"
            )
        return Source(shown=shown, path=path.absolute())
    try:
        userinfo, at, _ = urlsplit(text).netloc.rpartition("@")
        url = parse_url(text.replace(f"{userinfo}{at}", "", 1))
    except ValueError as error:
        raise SettingError(f"pypi_cache_advisories={shown!r}: {error}") from None
    return Source(shown=shown, path=Path(), url=url, authorization=basic_credentials(userinfo))
