"""Pages without a release file: which are a project's all the same, as pip and uv take them, and which are somebody else's answer."""

import pytest

from pkgcache.rules.simple.html_page import check_html, read_html
from pkgcache.rules.simple.page_model import BrokenPage
from tests.support.answers import CAPTIVE_PAGE

NGINX = (
    b"<html>\r\n<head><title>Index of /simple/six/</title></head>\r\n<body>\r\n<h1>Index of /simple/six/</h1><hr><pre>"
    b'<a href="../">../</a>\r\n</pre><hr></body>\r\n</html>'
)
APACHE = (
    b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head><title>Index of /six</title></head><body>'
    b'<h1>Index of /six</h1><table><tr><th><a href="?C=N;O=D">Name</a></th></tr></table></body></html>'
)
HTTP_SERVER = (
    b'<!DOCTYPE HTML><html><head><meta charset="utf-8"><title>Directory listing for /six/</title></head><body>'
    b"<h1>Directory listing for /six/</h1><hr><ul></ul><hr></body></html>"
)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b"", id="an empty body with 200"),
        pytest.param(b" \r\n\t", id="blanks"),
        pytest.param(b"<html></html>", id="nothing in it"),
        pytest.param(b"<!DOCTYPE html><html><head></head><body>\n</body></html>", id="a skeleton"),
        pytest.param(b"<!-- generated --><!doctype html>", id="a comment"),
        pytest.param(b"<!DOCTYPE html><meta charset=utf-8><title></title><br><hr>", id="an empty title"),
        pytest.param(b"<h1>Links for six</h1>", id="a heading"),
        pytest.param(b'<h1 class="x" id=y>Links for six</h1>', id="a heading with attributes"),
        pytest.param(b"<H1\n>Links for six</H1>", id="a heading in capitals"),
        pytest.param(b"<h2>links for six</h2>", id="another heading"),
        pytest.param(b"<h1><b>Links</b> for six</h1>", id="a heading with an element"),
        pytest.param(b"<h1> <a href='..'><span>Links for six</span></a></h1>", id="a heading with two elements"),
        pytest.param(b"<h1>root/pypi: links for six</h1>", id="devpi's heading"),
        pytest.param(b"<title>Links for six</title>", id="a title"),
        pytest.param(b"<title data-x=1>Simple index: links for six</title><p>No files yet.", id="a title and a text"),
        pytest.param(b'<meta name="pypi:repository-version" content="1.0">', id="a version"),
        pytest.param(b'<meta name="pypi:repository-version" content="1.3"><script></script>', id="a version, and a script"),
        pytest.param(b'<a href="git+https://git.test/six@main#egg=six">six</a>', id="a VCS link"),
        pytest.param(b'<a href="hg+ssh://hg.test/six">six</a> from source', id="another VCS link"),
        pytest.param(b'<a href="https://git.test/six/archive/main#egg=six-dev">main</a>', id="an egg"),
        pytest.param(NGINX, id="an empty folder by nginx"),
        pytest.param(APACHE, id="an empty folder by Apache"),
        pytest.param(HTTP_SERVER, id="an empty folder by http.server"),
        pytest.param(b"<form action=/login></form><a href=six-1.0.tar.gz>six</a>", id="a release file beside a form"),
    ],
)  # fmt: skip
def test_a_project_page(page: bytes) -> None:
    check_html(read_html(page))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(CAPTIVE_PAGE, id="a hotel's"),
        pytest.param(b"<h1>Log in</h1>", id="a text"),
        pytest.param(b"Welcome", id="a text without HTML"),
        pytest.param(b"<html><body><h1>It works!</h1></body></html>", id="a placeholder"),
        pytest.param(b"<title>Welcome to nginx!</title>", id="a title"),
        pytest.param(b"<title>Sign in</title><body></body>", id="an empty body with a title"),
        pytest.param(b"<form action=/login></form>", id="a form"),
        pytest.param(b"<FORM action=/login>", id="a form in capitals"),
        pytest.param(b"<script src=/app.js></script>", id="a script: a single-page application"),
        pytest.param(b"<div id=root></div><script type=module src=x></script>", id="an application"),
        pytest.param(b'<meta http-equiv="refresh" content="0; url=https://login.test/">', id="a refresh"),
        pytest.param(b'<meta content="0;url=/login" http-equiv=Refresh>', id="a refresh, in another order"),
        pytest.param(b"<iframe src=//portal.test>", id="a frame"),
        pytest.param(b"<frameset><frame src=x></frameset>", id="a frameset"),
        pytest.param(b"<img src=logo.png>", id="a picture"),
        pytest.param(NGINX + b"<form>", id="a listing with a form"),
        pytest.param(b"<h1>Index of /</h1><script>x()</script>", id="a listing with a script"),
        pytest.param(b'<a href="git+https://x.test/y">y</a><form>', id="a VCS link beside a form"),
        pytest.param(b'<a href="https://login.test/">Continue</a>', id="one link"),
        pytest.param(b"<p>See the index of our hotel</p>", id="the words, and no heading"),
        pytest.param(b"<p>links</p>", id="the word, and no heading"),
        pytest.param(b"{}", id="JSON"),
        pytest.param(b"\x1f\x8b\x08\x00", id="bytes"),
        pytest.param(b"<a", id="a tag without an end"),
    ],
)
def test_no_project_page(page: bytes) -> None:
    with pytest.raises(BrokenPage, match="no release file's link"):
        check_html(read_html(page))
