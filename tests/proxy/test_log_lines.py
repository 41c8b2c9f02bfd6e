"""mitmproxy's log on standard output: the date, one line an event, no line for a connection that begins or ends."""

import io
import logging
import os
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.addons.termlog import TermLog

from pkgcache.proxy.log_lines import improve_lines, skip_add_log

SERVER = "mitmproxy.proxy.server"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[TermLog]:
    """mitmproxy's addon, with a buffered pipe for standard output that nobody empties."""
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(os.fdopen(writer, "wb"), encoding="utf-8")
    os.set_blocking(reader, False)
    termlog = TermLog(stream)
    termlog.logger._initiated_in_test = (
        None  # mitmproxy's handlers listen in the test that made them: this is still its setup
    )
    termlog.logger.setLevel(logging.INFO)
    caplog.set_level(logging.DEBUG)
    improve_lines(termlog)
    termlog.reader = reader  # type: ignore[attr-defined]
    yield termlog
    termlog.uninstall()
    stream.close()
    os.close(reader)


def arrived(log: TermLog) -> str:
    """What has come out of the pipe."""
    try:
        return os.read(log.reader, 1 << 16).decode()  # type: ignore[attr-defined]
    except BlockingIOError:
        return ""


def test_a_line_comes_at_once_with_its_date(log: TermLog) -> None:
    """The same time as in the access log: UTC, by RFC 3339."""
    logging.getLogger("pkgcache").warning("disk full", extra={"client": ("127.0.0.1", 5)})
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00\]\[127\.0\.0\.1:5\] disk full\n", arrived(log))


def test_a_traceback_is_one_line(log: TermLog) -> None:
    try:
        raise KeyError("six")
    except KeyError:
        logging.getLogger("pkgcache").exception("failed")
    text = arrived(log)
    assert text.count("\n") == 1
    assert "failed | Traceback (most recent call last): | " in text
    assert text.endswith("KeyError: 'six'\n")


class Legacy(logging.Handler):
    """In the place of mitmproxy's handler that makes `add_log` events."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def test_no_event_of_a_line_that_nobody_wants() -> None:
    """A script that has the deprecated hook gets it from then on."""
    handler, scripts = Legacy(), list[str]()
    skip_add_log(SimpleNamespace(_legacy_log_events=handler), lambda: scripts)  # type: ignore[arg-type]
    logger = logging.Logger("alone")  # noqa: LOG001  no other handler is to hear it
    logger.addHandler(handler)
    logger.warning("first")
    scripts.append("one")
    logger.warning("second")
    assert handler.told == ["second"]


@pytest.mark.parametrize(
    ("logger", "message", "quiet"),
    [
        (SERVER, "client connect", True),
        (SERVER, "client disconnect", True),
        (SERVER, "client disconnect (closed by peer)", True),
        (SERVER, "server disconnect peer.test:443 (192.0.2.1:443)", True),
        (SERVER, "server connect peer.test:443 (192.0.2.1:443)", False),
        (SERVER, "Client TLS handshake failed.", False),
        (SERVER, "mitmproxy has crashed!", False),
        ("pkgcache.proxy", "client connect", False),
    ],
)
@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_connections_are_for_the_verbose(log: TermLog, logger: str, message: str, quiet: bool, level: int) -> None:
    """A health check every few seconds was two lines each time; `-v` shows them."""
    log.logger.setLevel(level)
    logging.getLogger(logger).info(message)
    assert (message in arrived(log)) is (level == logging.DEBUG or not quiet)


def test_once_more_is_the_same(log: TermLog) -> None:
    """mitmproxy loads a script again when its file changes."""
    improve_lines(log)
    logging.getLogger("x").warning("once")
    assert arrived(log).count("once") == 1
    assert len(log.logger.filters) == 1


def test_the_console_has_no_lines() -> None:
    improve_lines(None)


def test_a_stream_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    termlog: Any = TermLog(stream := io.StringIO())
    improve_lines(termlog)
    logging.getLogger("x").warning("here")
    termlog.uninstall()
    assert stream.getvalue().endswith("] here\n")
