"""`pypi-cache serve --workers 2`: two processes on one port and one store, and what becomes of a request when one of them dies."""

import hashlib
import json
import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from pkgcache.proxy.workers.listening import why_impossible
from tests.support.authority import Authority
from tests.support.house import House, leftovers, published, tidied
from tests.support.names import file_url
from tests.support.proxy import Proxy, refused, worker_of
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wire import Fetched, Wire, fetch, fetch_many

pytestmark = pytest.mark.skipif(why_impossible() is not None, reason=f"{why_impossible()}")

SEVERAL: Final = 16
"""Connections of which the kernel hardly gives all to one of two workers: once in 32,768 times."""


@pytest.fixture(scope="module")
def pair(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two workers, and their upstream."""
    with Upstream(ca) as upstream:
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"]}
        folder = tmp_path_factory.mktemp("pair")
        with Proxy(folder, options=options, upstream_ca=ca.bundle, workers=2) as proxy:
            yield House(upstream, proxy)
        assert not proxy.complaints, f"{proxy.complaints}\n{proxy.output}"


@pytest.fixture
def house(pair: House) -> Iterator[House]:
    with tidied(pair) as house:
        yield house


def is_gone(pid: int) -> bool:
    """Whether a process has ended. One of the test run's own forks' children may wait for its parent to be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_each_answer_names_its_worker(house: House) -> None:
    pids = house.proxy.worker_pids()
    assert pids.keys() == {1, 2}
    assert len(set(pids.values()) | {house.proxy.pid}) == 3


def test_one_start_speaks_for_all(house: House) -> None:
    house.proxy.worker_pids()
    assert house.proxy.output.count(" listens on 127.0.0.1:") == 1
    assert house.proxy.output.count("\npypi-cache serve: 2 workers, each with 33,554,432 bytes for pages") == 1


def test_one_upstream_get_for_forty_clients_of_both(house: House) -> None:
    """The file comes slowly; clients of the worker that does not fetch it read it as it grows."""
    release = published(house.upstream, "forty", 3_000_000)
    house.upstream.pace(2_000_000)
    url = file_url(release)
    answers = fetch_many(40, house.proxy.port, url, ca=house.proxy.ca)
    assert {(answer.status, answer.sha256, answer.complete) for answer in answers} == {(200, release.sha256, True)}
    assert {number for number, _ in map(worker_of, answers)} == {1, 2}
    assert house.file_requests(release) == 1


def test_clients_of_the_other_worker_read_it_while_it_grows(house: House) -> None:
    """They do not wait for its end: their first byte comes while the upstream still has most of it."""
    release = published(house.upstream, "growing", 6_000_000)
    house.upstream.pace(300_000)
    begun: dict[int, int] = {}

    def ask() -> int:
        answer = fetch(house.proxy.port, file_url(release), ca=house.proxy.ca, read_limit=1)
        begun[worker_of(answer)[0]] = answer.status
        return len(begun)

    eventually(ask, lambda count: count == 2)
    sent = house.upstream.bytes_sent(path_contains=release.filename)
    house.upstream.pace(None)
    assert begun == {1: 200, 2: 200}
    assert sent < release.size
    whole = fetch(house.proxy.port, file_url(release), ca=house.proxy.ca)
    assert (whole.status, whole.sha256) == (200, release.sha256)
    assert house.file_requests(release) == 1


def test_a_request_that_came_back_is_known_by_each(house: House) -> None:
    """RFC 9110 §7.6.3: a loop may lead from one worker to the other, so they have one name there, and each adds its own."""
    release = published(house.upstream, "loop", 1000)
    url = file_url(release)
    found = {}
    family = fetch(house.proxy.port, url, ca=house.proxy.ca).headers["Via"].partition("-worker")[0]
    for name in ("-worker1-1", "-worker2-1"):
        for _ in range(SEVERAL):
            answer = fetch(house.proxy.port, url, ca=house.proxy.ca, headers={"Via": family + name})
            found[worker_of(answer)[0], name] = answer.status
    assert found == dict.fromkeys([(number, name) for number in (1, 2) for name in ("-worker1-1", "-worker2-1")], 508)


def stats_by_worker(proxy: Proxy) -> dict[int, dict[str, Any]]:
    """What each worker answers to /stats."""
    found: dict[int, dict[str, Any]] = {}

    def ask() -> int:
        answer = proxy.get("/stats")
        found[worker_of(answer)[0]] = json.loads(answer.body)
        return len(found)

    eventually(ask, lambda count: count == proxy.workers)
    return found


def test_any_worker_speaks_for_all(house: House) -> None:
    """And a killed worker's share is not lost with it: what was told of it once is counted on."""
    release = published(house.upstream, "counted", 1000)
    before = max(each["answers"].get("file", {}).get("hit", 0) for each in stats_by_worker(house.proxy).values())
    fetch(house.proxy.port, file_url(release), ca=house.proxy.ca)
    answers = [fetch(house.proxy.port, file_url(release), ca=house.proxy.ca) for _ in range(SEVERAL)]
    hits = before + sum("; hit" in answer.headers["Cache-Status"] for answer in answers)
    assert {number for number, _ in map(worker_of, answers)} == {1, 2}
    assert {each["answers"]["file"]["hit"] for each in stats_by_worker(house.proxy).values()} == {hits}
    pids = house.proxy.worker_pids()
    os.kill(pids[2], signal.SIGKILL)
    eventually(lambda: house.proxy.worker_pids()[2] != pids[2])
    for each in stats_by_worker(house.proxy).values():
        assert each["answers"]["file"]["hit"] == hits
        assert each["workers"] == {"answering": [1, 2], "missing": []}


def test_a_worker_that_is_stopped_is_named_and_not_waited_for(house: House) -> None:
    pids = house.proxy.worker_pids()
    with ExitStack() as stack:
        wires = []
        os.kill(pids[1], signal.SIGSTOP)
        stack.callback(os.kill, pids[1], signal.SIGCONT)
        wires = [stack.enter_context(Wire(house.proxy.port, "/healthz", via="own")) for _ in range(SEVERAL)]
        paths = dict(zip(wires, ["/healthz", "/readyz", "/stats", "/metrics"] * (SEVERAL // 4), strict=True))
        for wire, path in paths.items():
            wire.send(path)
        answered = select.select([wire.sock for wire in wires], [], [], 30)[0]
        first = next(wire for wire in wires if wire.sock in answered)
        answer = first.receive()
        assert worker_of(answer) == (2, pids[2])
        assert (
            b"\npypi_cache_workers_missing 1.0" in answer.body if paths[first] == "/metrics" else missing(answer) == [1]
        )
        if paths[first] == "/healthz":
            assert json.loads(answer.body)["status"] == "trouble"
        if paths[first] == "/readyz":
            assert answer.status == 200
        os.kill(pids[1], signal.SIGCONT)
        assert {wire.receive().status for wire in wires if wire is not first} == {200}
    assert missing(house.proxy.get("/healthz")) == []


def missing(answer: Fetched) -> list[int]:
    found: list[int] = json.loads(answer.body)["workers"]["missing"]
    return found


def test_what_waits_at_a_dead_workers_socket_waits_for_its_successor(house: House) -> None:
    """The supervisor is stopped before the kill: whoever came to the dead worker's socket has to wait until it goes on.

    Without the supervisor's own hold on the sockets they would be refused, or reset.
    """
    pids = house.proxy.worker_pids()
    os.kill(house.proxy.pid, signal.SIGSTOP)
    with ExitStack() as stack:
        stack.callback(os.kill, house.proxy.pid, signal.SIGCONT)
        os.kill(pids[1], signal.SIGKILL)
        eventually(lambda: is_gone(pids[1]))
        wires = [stack.enter_context(Wire(house.proxy.port, "/readyz", via="own")) for _ in range(SEVERAL)]
        for wire in wires:
            wire.send("/readyz")
        os.kill(house.proxy.pid, signal.SIGCONT)
        found = {worker_of(wire.receive()) for wire in wires}
    assert found == {(2, pids[2]), (1, house.proxy.worker_pids()[1])}
    assert (1, pids[1]) not in found
    assert f"worker 1 ({pids[1]}) was ended by SIGKILL; starting another\n" in house.proxy.output


def test_a_worker_that_is_killed_in_mid_file(house: House) -> None:
    """Its client is cut, by an answer that names it. Whoever asks then gets the whole file, of which the other half is still to come."""
    release = published(house.upstream, "orphan", 3_000_000)
    house.upstream.pace(1_500_000)
    with Wire(house.proxy.port, file_url(release), ca=house.proxy.ca) as wire:
        begun = wire.request(file_url(release), read_limit=1)
        number, pid = worker_of(begun)
        assert house.proxy.worker_pids()[number] == pid
        os.kill(pid, signal.SIGKILL)
        house.upstream.pace(None)
        answers = fetch_many(SEVERAL, house.proxy.port, file_url(release), ca=house.proxy.ca)
    assert {(answer.status, answer.sha256, answer.complete) for answer in answers} == {(200, release.sha256, True)}
    assert pid not in {worker_of(answer)[1] for answer in answers}
    assert leftovers(house.proxy.store) == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_reaches_all(ca: Authority, tmp_path: Path, sign: signal.Signals) -> None:
    with Proxy(tmp_path, upstream_ca=ca.bundle, workers=2) as proxy:
        pids = proxy.worker_pids()
        assert proxy.stop(sign) == 0
        assert all(map(is_gone, pids.values()))
        assert not proxy.complaints, proxy.output
        assert "starting another" not in proxy.output


def test_what_is_under_way_has_time_to_end(ca: Authority, tmp_path: Path) -> None:
    """SIGTERM to the supervisor closes the port, and what has begun goes on to its end (Ctrl-C would stop it)."""
    with Upstream(ca) as upstream, ExitStack() as stack:
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"]}
        proxy = stack.enter_context(Proxy(tmp_path, options=options, upstream_ca=ca.bundle, workers=2))
        proxy.worker_pids()
        release = published(upstream, "ending", 2_000_000)
        upstream.pace(500_000)
        wires = [stack.enter_context(Wire(proxy.port, file_url(release), ca=proxy.ca)) for _ in range(4)]
        for wire in wires:
            wire.send(file_url(release))
        begun = {wire: until_head(wire) for wire in wires}
        assert proxy.process is not None
        proxy.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(proxy))
        upstream.pace(None)
        for wire, body in begun.items():
            assert hashlib.sha256(read_on(wire, body, release.size)).hexdigest() == release.sha256
        assert proxy.wait_for_exit() == 0


def until_head(wire: Wire) -> bytes:
    """Read an answer's head, and return what has come of its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += wire.sock.recv(65536)
    assert data.startswith(b"HTTP/1.1 200 "), data
    return data.partition(b"\r\n\r\n")[2]


def read_on(wire: Wire, body: bytes, size: int) -> bytes:
    """Read the rest of a body of so many bytes."""
    while len(body) < size and (more := wire.sock.recv(65536)):
        body += more
    return body


def is_refused(proxy: Proxy) -> bool:
    """Whether the port is closed."""
    try:
        proxy.get("/readyz")
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def test_no_worker_outlives_its_supervisor(ca: Authority, tmp_path: Path) -> None:
    with Proxy(tmp_path, upstream_ca=ca.bundle, workers=2) as proxy:
        pids = proxy.worker_pids()
        proxy.kill()
        eventually(lambda: all(map(is_gone, pids.values())))


@pytest.mark.parametrize(
    ("options", "args"),
    [
        ({"pypi_cache_max_size": "many"}, ()),
        ({"pypi_cache_deny": "["}, ()),
        ({"pypi_cache_no_such": "1"}, ()),
        ({"pypi_cache_access_log": "/proc/no-such/log"}, ()),  # only a worker finds that out
    ],
)
def test_what_cannot_start_says_so_once(
    ca: Authority, tmp_path: Path, options: dict[str, str], args: tuple[str, ...]
) -> None:
    proxy = Proxy(tmp_path, options=options, upstream_ca=ca.bundle, workers=2, args=args, start=False)
    with proxy:
        line = refused(proxy)
    assert next(iter(options)) in line
    assert "starting another" not in proxy.output


def test_a_port_that_is_taken(house: House, ca: Authority, tmp_path: Path) -> None:
    """SO_REUSEPORT alone would let a second proxy take half of the first one's requests."""
    proxy = Proxy(tmp_path, upstream_ca=ca.bundle, workers=2, start=False)
    with proxy:
        proxy.port = house.proxy.port
        proxy.start(wait=False)
        assert proxy.wait_for_exit() == 1
    assert (
        f"pypi-cache serve: [Errno 98] cannot listen on 127.0.0.1:{proxy.port}: Address already in use\n"
        in proxy.output
    )
