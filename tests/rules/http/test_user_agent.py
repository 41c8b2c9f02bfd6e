"""Which product and which family a client is, by what it sends as User-Agent."""

import pytest

from pkgcache.rules.http.user_agent import FAMILIES, family_of, product_of, sent_agent

PIP = 'pip/26.3 {"ci":null,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.13.5"}}'
UV = 'uv/0.13.9 {"installer":{"name":"uv","version":"0.13.9","subcommand":["pip","install"]}}'


@pytest.mark.parametrize(
    ("user_agent", "product", "family"),
    [
        (PIP, "pip/26.3", "pip"),
        ("pip/9.0.3", "pip/9.0.3", "pip"),
        ("pip/26.3.dev0+gabc 1", "pip/26.3.dev0+gabc", "pip"),
        (UV, "uv/0.13.9", "uv"),
        ("poetry/2.2.1 CPython/3.13.5 Linux/6.1", "poetry/2.2.1", "poetry"),
        ("unearth/0.17 CPython/3.13 Linux", "unearth/0.17", "other"),
        ("python-requests/2.32.5", "python-requests/2.32.5", "other"),
        ("twine/6.2.0 pkginfo/1.12", "twine/6.2.0", "other"),
        ("curl/8.0", "curl/8.0", "other"),
        ("Pip/26.3", "Pip/26.3", "pip"),
        ("pip-tools/7.5", "pip-tools/7.5", "other"),
        # browsers: what they are shown is not what installers are
        ("Mozilla/5.0 (X11; Linux x86_64) pip/26.3", "", "other"),
        ("mozilla/5.0", "", "other"),
        # nothing that could be a product (RFC 9110 §10.1.5), or that could be more than one field
        (None, "", "other"),
        ("", "", "other"),
        ("pip", "", "other"),
        ("pip/", "", "other"),
        ("/26.3", "", "other"),
        ("pip/26.3{}", "", "other"),
        (" pip/26.3", "", "other"),
        ("pip/26.3\r\nX: y", "", "other"),
        ("pip/26.3\x00", "", "other"),
        ("p\xefp/1", "", "other"),
        (f"pip/{'1' * 100}", "", "other"),
        (f"{'p' * 100}/1", "", "other"),
    ],
)
def test_product(user_agent: str | None, product: str, family: str) -> None:
    assert product_of(user_agent) == product
    assert family_of(product) == family
    assert sent_agent(product) == (f"{product} pypi-cache" if product else "pypi-cache")


def test_each_family_is_its_own() -> None:
    assert [family_of(f"{family}/1") for family in FAMILIES] == list(FAMILIES)
