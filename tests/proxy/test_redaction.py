"""Log records and flows' lines without credentials, whoever logs them."""

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy.addons import dumper
from mitmproxy.log import MitmFormatter
from mitmproxy.test import taddons, tflow

from pkgcache.proxy.redaction import MAX_LINE, RedactingFactory, redact_flows, redact_logs

SECRET = "s3cr3t"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler with mitmproxy's own formatter writes."""
    before = logging.getLogRecordFactory()
    redact_logs()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(MitmFormatter(colorize=False))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    ("message", "values", "shown"),
    [
        ("plain", (), "plain"),
        ("%s of %d", ("https://u:s3cr3t@h/?a=s3cr3t", 3), "https://***@h/?a=*** of 3"),
        ("https://u:%s@h/", ("s3cr3t",), "https://***@h/"),
        ("%(a)s", ({"a": "/?token=s3cr3t"},), "/?token=***"),
        ("100% of /?a=s3cr3t", (), "100% of /?a=***"),
        ("six%s-1.0", ("\r\x1b[2J\0",), "six\\r\\x1b[2J\\x00-1.0"),  # a client's words command no terminal
        ("%d", ("s3cr3t",), "a line that cannot be shown (TypeError)"),
    ],
)
def test_a_record(message: str, values: tuple[Any, ...], shown: str, written: io.StringIO) -> None:
    logging.getLogger("mitmproxy.proxy").warning(message, *values, extra={"client": ("127.0.0.1", 5)})
    assert written.getvalue().rstrip("\n").endswith(f"[127.0.0.1:5] {shown}")


def test_a_long_line(written: io.StringIO) -> None:
    """mitmproxy logs a ClientHello that it cannot read in hex, all of it. Other lines of the record stay whole."""
    logging.getLogger("x").warning("first\n%s\nlast", "ab" * MAX_LINE)
    lines = written.getvalue().splitlines()
    assert [len(line) < MAX_LINE + 40 for line in lines] == [True] * 3
    assert lines[1].endswith(f"ab… ({MAX_LINE} characters more)")
    assert lines[0].endswith("first")
    assert lines[2].endswith("last")


def test_a_traceback(written: io.StringIO) -> None:
    """It stays, and what the exception says in it is redacted."""
    try:
        raise ValueError("https://u:s3cr3t@h/?a=s3cr3t")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert SECRET not in written.getvalue()
    assert "Traceback (most recent call last)" in written.getvalue()
    assert "ValueError: https://***@h/?a=***" in written.getvalue()


def test_twice_is_once(written: io.StringIO) -> None:
    """mitmproxy loads a script again when its file changes."""
    first = logging.getLogRecordFactory()
    redact_logs()
    assert isinstance(first, RedactingFactory)
    assert logging.getLogRecordFactory() is first


@pytest.mark.parametrize(
    ("detail", "ours", "secret_left"), [(1, True, False), (1, False, False), (2, True, False), (2, False, True)]
)
def test_a_flow(detail: int, ours: bool, secret_left: bool) -> None:
    """An operator who asks for the headers of other hosts' flows gets them."""
    output = io.StringIO()
    printer = dumper.Dumper(output)
    redact_flows(printer, lambda _: ours)
    flow = tflow.tflow(resp=True, err=True)
    flow.request.url = f"https://u:{SECRET}@index.test/simple/?token={SECRET}"
    flow.request.headers["Authorization"] = f"Basic {SECRET}"
    with taddons.context(printer) as context:
        context.configure(printer, flow_detail=detail)
        printer.response(flow)
        printer.error(flow)
    assert (SECRET in output.getvalue()) is secret_left
    assert "index.test/simple/?token=" in output.getvalue()
    assert printer.outfp is output


def test_a_flow_is_one_line_with_its_date() -> None:
    output = io.StringIO()
    printer = dumper.Dumper(output)
    redact_flows(printer, lambda _: True)
    flow = tflow.tflow(resp=True)
    with taddons.context(printer) as context:
        context.configure(printer, flow_detail=1)
        printer.response(flow)
    (line,) = output.getvalue().splitlines()
    assert re.match(
        r"\[\d{4}-\d\d-\d\dT[\d:.]+\+00:00\]\[127\.0\.0\.1:22\] GET http://address:22/path << 200 OK 7b$", line
    ), line
