"""Credential spaces: what was fetched with credentials is stored apart, and served only to requests that carry the same ones.

A space is named by a keyed digest (HMAC, RFC 2104) of the `Authorization` value. The key is a file in the store's folder that only its
owner can read: a plain digest in the store's keys could be tested against a list of passwords. No credential is ever written.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from pathlib import Path

from pkgcache.engine.store.safe_files import ForeignFileError, read_small

logger = logging.getLogger(__name__)

KEY_BYTES = 32

TRIES = 10
TRY_SECONDS = 0.02
"""A key that is too short is read again so often: another process, which has just made the file, may not have written it yet."""


class CredentialSpaces:
    """Names spaces. Where the folder cannot be used, the key lasts for this run alone, as does all that is cached."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "secret"
        self._key = b""

    def open(self) -> None:
        """Read the key, or make one; of several processes that start together the first makes it (O_EXCL)."""
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
        self._key = self._read()
        for _ in range(TRIES):
            if len(self._key) == KEY_BYTES:
                break
            time.sleep(TRY_SECONDS)
            self._key = self._read()
        if len(self._key) != KEY_BYTES:
            logger.warning(
                "%s is not a key of %d bytes; private pages and files of earlier runs are not found again",
                self._path,
                KEY_BYTES,
            )
            self._key = secrets.token_bytes(KEY_BYTES)

    def _read(self) -> bytes:
        try:
            return read_small(self._path, KEY_BYTES)
        except (OSError, ForeignFileError):  # a FIFO or a link that somebody else has put there, for one
            return b""

    def of(self, authorization: str) -> str:
        """Return the space of an `Authorization` value: 32 hex digits."""
        return hmac.new(self._key, authorization.encode("latin-1", "replace"), hashlib.sha256).hexdigest()[:32]
