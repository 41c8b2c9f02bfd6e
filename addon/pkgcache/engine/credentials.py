"""Credential spaces: what was fetched with someone's credentials is kept for these alone.

A space is named by a keyed digest (HMAC, RFC 2104) of the credentials; the key is in the store's folder, for its owner's eyes only, so
that the store's keys tell nothing about them. No credential is ever written.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

logger = logging.getLogger(__name__)

KEY_BYTES = 32


class CredentialSpaces:
    """Names spaces. A folder that cannot be used means a key for this run only."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "secret"
        self._key = b""

    def open(self) -> None:
        """Read the key, or make one: whoever is first of several processes."""
        try:
            fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        except OSError:
            self._key = secrets.token_bytes(KEY_BYTES)
            return
        else:
            with os.fdopen(fresh, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        self._key = self._path.read_bytes()
        if len(self._key) != KEY_BYTES:
            logger.warning(
                "%s is no key of %d bytes; private answers of earlier runs are not found again", self._path, KEY_BYTES
            )
            self._key = secrets.token_bytes(KEY_BYTES)

    def of(self, authorization: str) -> str:
        """The space of an `Authorization` value."""
        return hmac.new(self._key, authorization.encode("latin-1", "replace"), hashlib.sha256).hexdigest()[:32]
