"""What is wrong just now: each problem is logged once when it begins and once when it ends, and is shown on /healthz."""

from __future__ import annotations

import logging
import threading

from pkgcache.units import redact

logger = logging.getLogger(__name__)


class Health:
    """The problems of this moment by component, one line each. For all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.problems: dict[str, str] = {}

    def report(self, component: str, line: str) -> None:
        """Note that `component` fails, as `line` says; logged unless it failed already."""
        line = redact(line)
        with self._lock:
            new = component not in self.problems
            self.problems[component] = line
        if new:
            logger.warning("%s", line)

    def clear(self, component: str) -> None:
        """Note that `component` works."""
        if component in self.problems:  # without the lock: each successful read and write comes here, and finds nothing
            with self._lock:
                self.problems.pop(component, None)
            logger.warning("%s works again", component)
