"""How much of what a client sends the layers get at a time."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Final

import pytest

from pkgcache.proxy.read_pace import (
    COSTLY_SECONDS,
    LARGEST_READ,
    LEAST_READ,
    LONGEST_PAUSE,
    LONGEST_QUEUE,
    QUICK_READS,
    SHARE,
    SMALL_READ,
    WATCHED_READS,
    CostClock,
    CostlyWork,
    ReadPace,
    read_before_reset,
)

ORDINARY: Final = [(500, 0.0015)] * QUICK_READS
ONES: Final = 6e-7
"""Seconds of work for a byte of chunks of one byte."""


@pytest.mark.parametrize(
    ("reads", "size", "pause"),
    [
        pytest.param([], SMALL_READ, 0.0, id="nothing yet"),
        pytest.param(ORDINARY[1:], SMALL_READ, 0.0, id="the first requests"),
        pytest.param(ORDINARY, LARGEST_READ, 0.0, id="and those after"),
        pytest.param([*ORDINARY, (500, 0.005)], LARGEST_READ, 0.005, id="one that costs much: its next bytes wait"),
        pytest.param([(SMALL_READ, 0.0002)] * (QUICK_READS - 1), SMALL_READ, 0.0, id="an upload begins"),
        pytest.param([(SMALL_READ, 0.0002)] * QUICK_READS, 2 * SMALL_READ, 0.0, id="and gets larger reads"),
        pytest.param([*ORDINARY, (LARGEST_READ, 0.0005)], LARGEST_READ, 0.0, id="an upload goes on"),
        pytest.param([*ORDINARY, (LARGEST_READ, 0.01)], LARGEST_READ // 2, 0.01, id="a flood: half as much"),
        pytest.param(
            [*ORDINARY, (LARGEST_READ, 0.0025)], LARGEST_READ // 2, 0.0, id="a long turn, though cheap by the byte"
        ),
        pytest.param([*ORDINARY, (LARGEST_READ, 9.0)], LARGEST_READ // 2, LONGEST_PAUSE, id="never a longer pause"),
        pytest.param([*ORDINARY, (LARGEST_READ, 0.01), (100, 0.001)], LARGEST_READ, 0.0, id="no flood any more"),
        pytest.param([(SMALL_READ, 0.003)], SMALL_READ // 2, 0.003, id="a flood from the first byte"),
    ],
)
def test_reads(reads: Sequence[tuple[int, float]], size: int, pause: float) -> None:
    pace = ReadPace()
    pauses = [pace.pause_after(got, cost) for got, cost in reads]
    assert (pace.size, pauses[-1] if pauses else 0.0) == (size, pause)


@pytest.mark.parametrize(
    ("a_byte", "low", "high"),
    [
        pytest.param(ONES, SMALL_READ // 4, SMALL_READ, id="chunks of one byte: turns of two milliseconds and less"),
        pytest.param(3e-8, LARGEST_READ, LARGEST_READ, id="an upload"),
        pytest.param(1e-4, LEAST_READ, LEAST_READ, id="whatever it is, never less than this"),
    ],
)
def test_a_flood_settles(a_byte: float, low: int, high: int) -> None:
    """Each read is full: what the client sends is always there."""
    pace = ReadPace()
    for _ in range(100):
        pause = pace.pause_after(pace.size, pace.size * a_byte)
    assert low <= pace.size <= high
    assert (pause > 0) == (pace.size * a_byte > COSTLY_SECONDS * pace.size / LARGEST_READ)


def test_costly_work_of_all_clients_takes_a_share() -> None:
    """Twenty clients at once are served one after the other, with as much time for everybody else."""
    work = CostlyWork()
    waits = [work.wait(0.003, now=100.0) for _ in range(20)]
    assert waits == pytest.approx([number * 0.003 / SHARE for number in range(20)])


@pytest.mark.parametrize(("later", "expected"), [(0.0, 0.006), (0.002, 0.004), (0.006, 0.0), (9.0, 0.0)])
def test_the_queue_empties(later: float, expected: float) -> None:
    work = CostlyWork()
    assert work.wait(0.003, now=100.0) == 0
    assert work.wait(0.003, now=100.0 + later) == pytest.approx(expected, abs=1e-9)


def test_nobody_waits_for_ever() -> None:
    work = CostlyWork()
    assert max(work.wait(0.05, now=100.0) for _ in range(1000)) == pytest.approx(LONGEST_QUEUE)
    assert work.wait(0.05, now=200.0) == 0


async def test_what_came_before_a_reset_is_read() -> None:
    """The alert by which a client says that it does not trust the CA was lost, and the log did not say what that agent lacks.

    It leaves the handshake's rest unread, so that its system resets the connection (RFC 1122 §4.2.2.13).
    """
    ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
    theirs.connect(ours.getsockname())
    reader, writer = await asyncio.open_connection(sock=ours.accept()[0])
    writer.write(b"certificate")
    await writer.drain()
    assert theirs.recv(1) == b"c"
    theirs.sendall(b"an alert")
    theirs.close()
    while not reader.exception():
        await asyncio.sleep(0.01)
    assert [await read_before_reset(reader, size) for size in (3, 100)] == [b"an ", b"alert"]
    with pytest.raises(ConnectionResetError):
        await read_before_reset(reader, 100)
    writer.close()
    ours.close()


async def test_without_a_reset_it_is_an_ordinary_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"hello")
    reader.feed_eof()
    assert [await read_before_reset(reader, size) for size in (3, 100, 100)] == [b"hel", b"lo", b""]


@pytest.mark.parametrize(
    ("costly", "certain", "left"),
    [
        pytest.param("", "", 0, id="nothing yet"),
        pytest.param("....", "----", 0, id="ordinary reads"),
        pytest.param("!", "-", WATCHED_READS, id="it may only have waited"),
        pytest.param("!!", "-!", WATCHED_READS, id="the thread's time says the same"),
        pytest.param("!.!", "--!", WATCHED_READS, id="costly ones and others in turn"),
        pytest.param(
            "!" + "." * (WATCHED_READS - 1) + "!", "-" * WATCHED_READS + "!", WATCHED_READS, id="the last one"
        ),
        pytest.param("!" + "." * WATCHED_READS, "-" * (WATCHED_READS + 1), 0, id="it was the machine"),
        pytest.param("!" + "." * WATCHED_READS + "!", "-" * (WATCHED_READS + 2), WATCHED_READS, id="and is again"),
        pytest.param("!!" + "." * WATCHED_READS, "-!" + "-" * WATCHED_READS, 0, id="a flood is over"),
    ],
)
def test_what_tells_the_cost(costly: str, certain: str, left: int) -> None:
    clock = CostClock()
    assert [clock.confirms(each == "!") for each in costly] == [each == "!" for each in certain]
    for _ in range(left):
        assert clock.now is time.thread_time
        clock.confirms(False)
    assert clock.now is time.perf_counter
