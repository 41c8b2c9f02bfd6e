"""What is wrong just now: each kind of trouble is logged once when it begins and once when it ends, and shown on /healthz."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger(__name__)


class Health:
    """Trouble by component name; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.problems: dict[str, str] = {}

    def report(self, component: str, line: str) -> None:
        """`component` fails, as `line` says."""
        with self._lock:
            new = component not in self.problems
            self.problems[component] = line
        if new:
            logger.warning("%s", line)

    def clear(self, component: str) -> None:
        """`component` works."""
        if component in self.problems:
            with self._lock:
                self.problems.pop(component, None)
            logger.warning("%s works again", component)
