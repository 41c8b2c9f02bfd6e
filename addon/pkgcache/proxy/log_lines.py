"""How this process's own lines look on standard output: at once, one line an event, with date and time in UTC, as in the access log.

mitmproxy writes its log through a buffer, which a terminal empties at each line, and a file or a pipe after 8 kB: journald and container
logs would show nothing for minutes. Its times have no date. It tells of each connection's beginning and end, which a health check has
every few seconds: these lines are for `-v` alone.

Leaves out: what the lines say, and which secrets they must not have (`redaction`); the access log.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Final

from mitmproxy.addons.termlog import TermLog
from mitmproxy.log import MitmFormatter
from mitmproxy.master import Master

from pkgcache.units import timestamp

ONLY_IF_VERBOSE: Final = ("client connect", "client disconnect", "server disconnect")
"""How mitmproxy's lines begin that tell of connections, and of nothing else. `server connect` stays: it says where a tunnel led."""


class LineFormatter(MitmFormatter):
    """mitmproxy's format, with the date. Where no terminal shows it, a record of several lines (a traceback) becomes one."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002  logging's
        """Return date and time in UTC."""
        return timestamp(record.created)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = super().format(record)
        return text if self.colorize else one_line(text)


def one_line(text: str) -> str:
    r"""Return the lines of a text as one.

    >>> one_line("failed\n  File x\nKeyError: 1\n")
    'failed |   File x | KeyError: 1'
    """
    return " | ".join(text.rstrip("\n").split("\n"))


def improve_lines(termlog: TermLog | None) -> None:
    """Let mitmproxy's `termlog` addon write as said above. None: the console has the screen, and there are no lines."""
    if termlog is None:
        return
    handler = termlog.logger
    if isinstance(handler.file, io.TextIOWrapper):
        handler.file.reconfigure(line_buffering=True)
    handler.setFormatter(LineFormatter(handler.has_vt_codes))
    handler.filters.clear()
    handler.addFilter(lambda record: handler.level <= logging.DEBUG or not _tells_of_a_connection(record))


def skip_add_log(master: Master, is_wanted: Callable[[], object]) -> None:
    """Make no `add_log` event of each line where no addon wants one: it is deprecated, and offered to all addons one after the other."""
    master._legacy_log_events.addFilter(lambda _: bool(is_wanted()))  # noqa: SLF001  it has no other name


def _tells_of_a_connection(record: logging.LogRecord) -> bool:
    return record.name == "mitmproxy.proxy.server" and str(record.msg).startswith(ONLY_IF_VERBOSE)
