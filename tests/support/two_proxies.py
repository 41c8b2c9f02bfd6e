"""Two proxies before one upstream: one remembers what it has seen, the other has no memory for that. Both are to do the same."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.authority import Authority
from tests.support.factories import small_wheels
from tests.support.index import JSON_TYPE
from tests.support.names import INDEX_HOST, file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch

CHANGING: Final = re.compile(rb"(?im)^(?:date|age|via|cache-status):[^\r\n]*\r\n")
"""Header lines that need not be the same in two answers."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The two proxies, which have all of the upstream's files and pages."""

    knows: Proxy
    forgets: Proxy
    upstream: Upstream

    def answers(self, proxy: Proxy, *packets: bytes, host: str = INDEX_HOST) -> list[bytes]:
        """What one connection within a CONNECT brings after each packet; it ends with the connection."""
        with Wire(proxy.port, f"https://{host}/", ca=proxy.ca) as wire:
            found = []
            for packet in packets:
                wire.sock.sendall(packet)
                found.append(CHANGING.sub(b"", read_answer(wire.sock, to_head=packet.startswith(b"HEAD "))))
            return found

    @property
    def known(self) -> int:
        """How many requests were answered by their head alone."""
        metrics = self.knows.get("/metrics").body.decode()
        return int(float(re.search(r"(?m)^pypi_cache_known_heads_total (\S+)", metrics)[1]))  # type: ignore[index]

    def wake(self) -> None:
        """Let the proxy look at its store, without which memory is not believed."""

        def is_known() -> bool:
            before = self.known
            self.answers(self.knows, PLAIN, PLAIN)
            return self.known > before

        eventually(is_known)

    def both(self, *packets: bytes, host: str = INDEX_HOST) -> list[bytes]:
        """The answers of both, which are the same."""
        self.wake()
        ours = self.answers(self.knows, *packets, host=host)
        assert ours == self.answers(self.forgets, *packets, host=host)
        return ours


def read_answer(sock: socket.socket, *, to_head: bool) -> bytes:
    """One answer, framed by its Content-Length; what there is where the connection ends."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := sock.recv(65536)):
            return data
        data += piece
    head = data.partition(b"\r\n\r\n")[0]
    length = re.search(rb"(?i)content-length: (\d+)", head)
    wanted = len(head) + 4 + (int(length[1]) if length and not to_head and b" 304 " not in head[:20] else 0)
    while len(data) < wanted and (piece := sock.recv(65536)):
        data += piece
    return data


@contextmanager
def two_proxies(folder: Path, ca: Authority) -> Iterator[Scene]:
    """Start both, with all of the upstream's files and pages in their stores."""
    with Upstream(ca) as upstream:
        upstream.add(*small_wheels())
        options = {"pypi_cache_index": f"pypi={upstream.index_url}"}
        remembers, remembers_nothing = ({**options, "pypi_cache_known_heads": size} for size in ("32m", "0"))
        with (
            Proxy(folder / "knows", options=remembers, upstream_ca=ca.bundle) as knows,
            Proxy(folder / "forgets", options=remembers_nothing, upstream_ca=ca.bundle) as forgets,
        ):
            scene = Scene(knows, forgets, upstream)
            for proxy in (knows, forgets):
                for url in (page_url("alpha"), page_url("beta"), file_url(small_wheels()[0])):
                    assert fetch(proxy.port, url, ca=proxy.ca).status == 200
            yield scene


def head(
    target: str = "/simple/alpha/", *, host: str = INDEX_HOST, method: str = "GET", version: str = "1.1", **fields: str
) -> bytes:
    """A request's bytes; an underscore in a field's name is a hyphen."""
    lines = {"Host": host, "Accept": JSON_TYPE, **{name.replace("_", "-"): value for name, value in fields.items()}}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {target} HTTP/{version}\r\n{text}\r\n".encode()


PLAIN: Final = head()
