"""The texts of refusals: whatever a client or an upstream has written is shown as text, and commands nothing."""

import pytest

from pkgcache.engine.responses.messages import Response
from pkgcache.engine.upstream.errors import Failure, UpstreamError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such page", "no such page\n"),
        ("two\nlines", "two\nlines\n"),  # ours
        ("six\r\nX-Evil: yes", "six\\r\nX-Evil: yes\n"),  # a line end of others' words is escaped before
        ("a\x00b\x1b[1mc\x7f", "a\\x00b\\x1b[1mc\\x7f\n"),
        ("a\x85b\u2028c", "a\\x85b\\u2028c\n"),
        ("tab\tstays", "tab\tstays\n"),
        ("snow \u2603", "snow \u2603\n"),
        ("lone \udce9", "lone \\udce9\n"),
        ("", "\n"),
    ],
)
def test_a_text(text: str, shown: str) -> None:
    response = Response.text(404, text)
    assert isinstance(response.body, bytes)
    assert response.body.decode() == shown
    assert response.headers["Content-Length"] == str(len(response.body))


def test_an_upstreams_words() -> None:
    error = UpstreamError(Failure.BROKEN, "https://a.test/", "bad\r\nX-Evil: x\x07")
    assert str(error) == "https://a.test/: bad\\r\\nX-Evil: x\\x07"
