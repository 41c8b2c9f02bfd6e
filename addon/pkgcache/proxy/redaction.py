"""What this process writes has no credentials in it: log records, mitmproxy's own among them, and the lines of mitmdump's flows.

mitmproxy logs requests that it refuses as they came, and its `dumper` prints the URL of each flow. Redacting is `units.redact`'s work.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from mitmproxy import ctx, http
from mitmproxy.addons.dumper import Dumper

from pkgcache.units import printable_lines, redact, timestamp

MAX_LINE: Final = 2048
"""Characters of a line in the log. The URL of a signed link has about 1,000."""


class RedactingFactory:
    """Makes log records whose text, with the traceback if there is one, is complete and redacted.

    A record is the one thing that all handlers share: mitmproxy installs its own, at times that are not ours, and its formatter renders
    tracebacks by itself.
    """

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record; the arguments are those of `logging.LogRecord`."""
        record = self._make(*args, **kwargs)
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001  whatever `__str__` or a wrong format raises
            text = f"a line that cannot be shown ({type(error).__name__})"
        if record.exc_info:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
            record.exc_info = None
        record.msg, record.args = _clipped(printable_lines(redact(text))), None
        return record


def _clipped(text: str) -> str:
    """Shorten the lines that mitmproxy makes of all that a peer has sent: a ClientHello in hex, or an unexpected answer."""
    if len(text) <= MAX_LINE:
        return text
    lines = text.split("\n")
    return "\n".join(
        line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… ({len(line) - MAX_LINE} characters more)"
        for line in lines
    )


def redact_logs() -> None:
    """Redact all that is logged from now on, to the end of the process: what is logged while the addon closes, too."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, RedactingFactory):
        logging.setLogRecordFactory(RedactingFactory(make))


def redact_flows(dumper: Dumper, is_ours: Callable[[http.HTTPFlow], bool]) -> None:
    """Redact what mitmdump prints for flows, and print one line for each where no more than that was asked for (`flow_detail=1`).

    What is printed of other hosts stays as it is where the operator asks for their headers. `is_ours` says whether a flow is of a package
    host, or of none that could be told.
    """
    echo_flow = dumper.echo_flow

    def redacted(flow: http.HTTPFlow) -> None:
        detailed = ctx.options.flow_detail > 1
        stream, dumper.outfp = dumper.outfp, io.StringIO()
        try:
            echo_flow(flow)
            text = dumper.outfp.getvalue()
        finally:
            dumper.outfp = stream
        if not detailed or is_ours(flow):
            text = redact(text)
        print(text.rstrip("\n") if detailed else _dated(text), file=stream, flush=True)

    dumper.echo_flow = redacted  # type: ignore[method-assign, assignment]


def _dated(text: str) -> str:
    """A flow's request and response in one line that begins as all lines do."""
    client, _, rest = " ".join(line.strip() for line in text.splitlines()).partition(": ")
    return f"[{timestamp(time.time())}][{client}] {rest}"
