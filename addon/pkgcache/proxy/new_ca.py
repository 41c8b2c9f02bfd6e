"""The CA of a first start, made once, however many proxies start at that moment.

mitmproxy makes its CA where it finds none, and two that do so at once make two: each serves with its own, and the file has the one that
was written last. So `pypi-cache serve` makes it before mitmproxy starts, under a lock, and puts it there whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mitmproxy.certs import CertStore
from mitmproxy.options import CONF_BASENAME, Options

from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, NEXT_NAME

CA_NAME: Final = "pypi-cache"


def make_ca(options: Options) -> None:
    """Make the CA in mitmproxy's `confdir` if there is none. Raises OSError."""
    folder = Path(options.confdir).expanduser()
    if (folder / CA_KEY_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if (folder / CA_KEY_NAME).exists():
            return
        made = Path(tempfile.mkdtemp(prefix=".new-ca-", dir=folder))
        try:
            CertStore.create_store(made, CONF_BASENAME, options.key_size, CA_NAME, CA_NAME)
            # The key last: mitmproxy takes the CA as made once its file is there, and a start that was killed begins anew.
            for file in sorted(made.iterdir(), key=lambda file: file.name == CA_KEY_NAME):
                file.rename(folder / file.name)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def make_next_ca(options: Options) -> Path:
    """Make the CA that is to replace the one in `confdir`, beside it. Raises FileExistsError if there is one, or another OSError."""
    folder = Path(options.confdir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-ca-", dir=folder) as made:
        CertStore.create_store(Path(made), CONF_BASENAME, options.key_size, CA_NAME, CA_NAME)
        pem = (Path(made) / CA_KEY_NAME).read_bytes()
    path = folder / NEXT_NAME
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's own lock, so that no lock file is left there."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
