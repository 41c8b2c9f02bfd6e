"""The CA's certificates, of each layout of its folder that mitmproxy takes."""

from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, CA_NAME, NEXT_NAME, OLD_NAME, ca_path, own_certificates


def pem(name: str) -> str:
    """Such as a certificate looks."""
    return f"-----BEGIN CERTIFICATE-----\nMII{name}+/\nAA==\n-----END CERTIFICATE-----\n"


KEY: Final = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"

LAYOUTS: Final[dict[str, tuple[dict[str, str], list[str], str]]] = {
    "as mitmproxy makes it": ({CA_KEY_NAME: KEY + pem("ca"), CA_NAME: pem("ca")}, ["ca"], CA_NAME),
    "the key's file alone": ({CA_KEY_NAME: KEY + pem("ca")}, ["ca"], CA_KEY_NAME),
    "the certificate before the key": ({CA_KEY_NAME: pem("ca") + KEY}, ["ca"], CA_KEY_NAME),
    "comments between": ({CA_KEY_NAME: f"Bag Attributes\n  x: 1\n{KEY}subject=CN=a\n{pem('ca')}"}, ["ca"], CA_KEY_NAME),
    "lines of Windows": ({CA_KEY_NAME: (KEY + pem("ca")).replace("\n", "\r\n")}, ["ca"], CA_KEY_NAME),
    "no end of line": ({CA_KEY_NAME: (KEY + pem("ca")).rstrip()}, ["ca"], CA_KEY_NAME),
    "an intermediate CA": ({CA_KEY_NAME: KEY + pem("ca") + pem("root")}, ["ca", "root"], CA_KEY_NAME),
    "two above it": ({CA_KEY_NAME: pem("ca") + KEY + pem("mid") + pem("root")}, ["ca", "mid", "root"], CA_KEY_NAME),
    "beside that of an earlier CA": ({CA_KEY_NAME: KEY + pem("ca"), CA_NAME: pem("gone")}, ["ca"], CA_KEY_NAME),
    "a copy with its chain": (
        {CA_KEY_NAME: KEY + pem("ca"), CA_NAME: pem("ca") + pem("root")},
        ["ca"],
        CA_NAME,
    ),
    "the copy alone": ({CA_NAME: pem("ca")}, ["ca"], CA_NAME),
    "a next one": ({CA_KEY_NAME: KEY + pem("ca"), NEXT_NAME: pem("next") + KEY}, ["ca", "next"], CA_KEY_NAME),
    "an old one": ({CA_KEY_NAME: KEY + pem("ca"), OLD_NAME: KEY + pem("old")}, ["ca", "old"], CA_KEY_NAME),
    "both": (
        {CA_KEY_NAME: pem("ca"), OLD_NAME: pem("old"), NEXT_NAME: pem("next")},
        ["ca", "next", "old"],
        CA_KEY_NAME,
    ),
    "the next one twice": ({CA_KEY_NAME: KEY + pem("ca"), NEXT_NAME: pem("ca")}, ["ca"], CA_KEY_NAME),
    "a key without a certificate": ({CA_KEY_NAME: KEY, CA_NAME: pem("ca")}, ["ca"], CA_NAME),
    "something else": ({CA_NAME: "no PEM"}, [], CA_NAME),
    "nothing": ({}, [], CA_NAME),
}
"""name → files, the certificates that agents have to trust, and the file that people are told of."""


@pytest.mark.parametrize(("files", "expected", "shown"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout(files: dict[str, str], expected: list[str], shown: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    found = own_certificates(tmp_path)
    assert found == [pem(name).encode() for name in expected], "no key, and nothing twice"
    assert ca_path(tmp_path) == tmp_path / shown


def test_what_is_in_use_comes_first(tmp_path: Path) -> None:
    """The files are those of the next start while a CA is being replaced, and need not be readable any more."""
    (tmp_path / CA_KEY_NAME).write_text(KEY + pem("new"))
    in_use = [pem("used").encode(), pem("root").encode()]
    assert own_certificates(tmp_path, in_use) == [*in_use, pem("new").encode()]
    assert own_certificates(tmp_path / "gone", in_use) == in_use
