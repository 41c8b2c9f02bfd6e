"""What this process writes has no credentials in it: log records, mitmproxy's own among them, and the lines of mitmdump's flows.

mitmproxy logs requests that it refuses as they came, and its `dumper` prints the URL of each flow. Redacting is `units.redact`'s work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import IO, Any, Final

from mitmproxy import ctx, http
from mitmproxy.addons.dumper import Dumper

from pkgcache.units import printable_lines, redact

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


class _Redacted:
    """A stream that redacts what is printed to it, one call of `print` at a time."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(redact(text))

    def flush(self) -> None:
        self._stream.flush()


def redact_flows(dumper: Dumper, is_ours: Callable[[http.HTTPFlow], bool]) -> None:
    """Redact the lines that mitmdump prints for flows. Those of other hosts stay as they are where the operator asks for their headers.

    `is_ours` says whether a flow is of a package host, or of none that could be told.
    """
    echo_flow = dumper.echo_flow

    def redacted(flow: http.HTTPFlow) -> None:
        if ctx.options.flow_detail > 1 and not is_ours(flow):
            echo_flow(flow)
            return
        stream = dumper.outfp
        dumper.outfp = _Redacted(stream)  # type: ignore[assignment]
        try:
            echo_flow(flow)
        finally:
            dumper.outfp = stream

    dumper.echo_flow = redacted  # type: ignore[method-assign, assignment]
