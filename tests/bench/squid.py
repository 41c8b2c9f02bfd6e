"""Squid as a forward proxy that opens TLS (ssl-bump), before the same upstream."""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trustme

from tests.bench.peers import wait_for_port

SQUID: Final = shutil.which("squid", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CERTGEN: Final = Path("/usr/lib/squid/security_file_certgen")
"""Debian's package `squid-openssl` has it."""

UNPRIVILEGED: Final = "nobody"

AVAILABLE: Final = SQUID is not None and CERTGEN.exists()


class Squid:
    """One Squid process; `upstream_port`: where every host's requests go, over TLS."""

    def __init__(self, folder: Path, upstream_port: int, upstream_ca: Path) -> None:
        assert SQUID is not None, "no squid"
        folder.mkdir(parents=True)
        self.ca = folder / "ca.pem"
        authority = trustme.CA(organization_name="pypi-cache benchmark")
        authority.cert_pem.write_to_path(self.ca)
        authority.private_key_pem.write_to_path(folder / "key.pem")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._service = f"bench{self.port}"  # names its shared memory
        subprocess.run([CERTGEN, "-c", "-s", folder / "certificates", "-M", "16MB"], check=True, capture_output=True)
        config = folder / "squid.conf"
        config.write_text(
            _CONFIG
            % {
                "folder": folder,
                "port": self.port,
                "certgen": CERTGEN,
                "upstream": upstream_port,
                "roots": upstream_ca,
                "user": _user(),
            }
        )
        if os.geteuid() == 0:
            _give_away(folder)
        words = [SQUID, "-N", "-n", self._service, "-f", str(config)]
        subprocess.run([*words, "-z"], check=True, capture_output=True)  # makes its folders
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)

    @property
    def url(self) -> str:
        """What `HTTPS_PROXY` would say."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        for shared in Path("/dev/shm").glob(f"{self._service}-*"):
            shared.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _user() -> str:
    """Squid refuses to run as root."""
    return f"cache_effective_user {UNPRIVILEGED}" if os.geteuid() == 0 else ""


def _give_away(folder: Path) -> None:
    """Let Squid's user into its folder."""
    user = pwd.getpwnam(UNPRIVILEGED)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


_CONFIG: Final = """
%(user)s
http_port 127.0.0.1:%(port)d ssl-bump tls-cert=%(folder)s/ca.pem tls-key=%(folder)s/key.pem \\
    generate-host-certificates=on dynamic_cert_mem_cache_size=16MB
sslcrtd_program %(certgen)s -s %(folder)s/certificates -M 16MB
sslcrtd_children 2
ssl_bump bump all
tls_outgoing_options cafile=%(roots)s flags=DONT_VERIFY_PEER
cache_peer 127.0.0.1 parent %(upstream)d 0 no-query originserver default tls tls-flags=DONT_VERIFY_PEER name=origin
never_direct allow all
http_access allow all
cache_mem 512 MB
maximum_object_size 8 GB
cache_dir ufs %(folder)s/kept 20000 16 256
collapsed_forwarding on
maximum_object_size_in_memory 300 MB
pid_filename %(folder)s/squid.pid
cache_log %(folder)s/cache.log
access_log stdio:%(folder)s/access.log
coredump_dir %(folder)s
shutdown_lifetime 1 second
"""
