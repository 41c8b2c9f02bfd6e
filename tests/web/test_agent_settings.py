"""The settings of agents, as texts: that nothing is left to fill in, and what PowerShell, which cannot be had here, is to find."""

import json
import re

import pytest

from pkgcache.web.agent_settings import SCRIPTS, script, variables

BASES = ["http://proxy.example:8080", "https://proxy.example", "http://[2001:db8::1]:3128"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("undo", [True, False])
@pytest.mark.parametrize("path", SCRIPTS)
def test_nothing_is_left_to_fill_in(path: str, base: str, *, undo: bool, login: bool) -> None:
    text = script(path, base, undo=undo, login=login)
    assert not re.search(r"@[A-Z]+@", text)
    assert text.isascii()
    assert (base in text) != undo


@pytest.mark.parametrize("base", ["http://tools.example:8000/pypi-cache", "https://tools.example/a/b"])
@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("path", SCRIPTS)
def test_behind_a_path_the_proxy_is_the_index(path: str, base: str, *, login: bool) -> None:
    """No CONNECT can be sent to a path, so neither a proxy nor its bundle is set; an http index has to be trusted."""
    text, undo = (script(path, base, undo=undo, login=login) for undo in (False, True))
    assert not re.search(r"@[A-Z]+@", text + undo)
    assert text.isascii()
    assert base in text
    assert f"{base.partition('://')[2]}/pypi/simple/" in text
    assert not re.search("HTTPS_PROXY|https_proxy|PIP_CERT|SSL_CERT_FILE|BUNDLE", text + undo)
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PDM_PYPI_URL", "PIPENV_PYPI_MIRROR", "PIP_TRUSTED_HOST"):
        assert name in text
        assert name in undo


def test_variables_behind_a_path() -> None:
    assert json.loads(variables("/env.json", "http://tools.example:8000/cache", "/b", login=True)) == dict.fromkeys(
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PDM_PYPI_URL", "PIPENV_PYPI_MIRROR"),
        "http://USER:PASSWORD@tools.example:8000/cache/pypi/simple/",
    ) | {"PIP_TRUSTED_HOST": "tools.example:8000"}
    found = variables("/env.docker", "https://tools.example/cache", "/b", login=False)
    assert "PIP_INDEX_URL=https://tools.example/cache/pypi/simple/\n" in found
    assert "TRUSTED" not in found


@pytest.mark.parametrize("path", SCRIPTS)
def test_what_is_set_is_undone(path: str) -> None:
    """Each variable that the one script sets is known to the other."""
    names = re.compile(r"\b(?:[A-Z]+_PROXY|PIP_CERT|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)\b")
    put, undone = (set(names.findall(script(path, BASES[0], undo=undo, login=False))) for undo in (False, True))
    assert put - {"HTTP_PROXY", "ALL_PROXY"} == undone == {
        "HTTPS_PROXY", "NO_PROXY", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    }  # fmt: skip


def test_powershell_has_what_the_others_have() -> None:
    """A text test alone. Its braces and brackets are balanced, and it does each of the things that the others are seen to do."""
    text = script("/env.ps1", BASES[0], undo=False, login=True)
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)
    for piece in (
        "$client.Proxy = $null",
        "$client.DownloadFile('http://proxy.example:8080/bundle.pem', $part)",
        "Move-Item -Force -LiteralPath $part -Destination $bundle",
        "'HTTPS_PROXY' { 'http://' + $login + 'proxy.example:8080' }",
        "Get-Credential",
        "[Uri]::EscapeDataString($password)",
        "'localhost', '127.0.0.1', '::1'",
        "Write-Warning",
    ):
        assert piece in text
    assert "if ('no' -eq 'yes')" in script("/env.ps1", BASES[0], undo=False, login=False)


def test_variables_hold_a_place_for_the_login() -> None:
    assert "HTTPS_PROXY=http://USER:PASSWORD@[2001:db8::1]:3128\n" in variables(
        "/env.docker", BASES[2], "/b", login=True
    )
