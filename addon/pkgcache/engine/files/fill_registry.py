"""engine/files/fill_registry.py."""

from __future__ import annotations

LINGER_SECONDS = 1.0
