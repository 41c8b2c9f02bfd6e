"""Which indexes have files on which hosts: bounded by index and by page, and one host may belong to several indexes."""

import pytest

from pkgcache.rules.routing.host_table import FORGOTTEN_AFTER, MOST_PER_INDEX, MOST_PER_PAGE, HostTable
from pkgcache.rules.routing.package_hosts import Address

A, B = ("a.test", 443), ("b.test", 8443)


def hosts(count: int, prefix: str = "h") -> list[Address]:
    return [(f"{prefix}{number}.test", 443) for number in range(count)]


def test_a_host_belongs_to_each_index_that_links_to_it() -> None:
    table = HostTable()
    assert table.learn("one", "six", [A], now=1.0) == ([A], [])
    assert table.learn("two", "six", [A, B], now=2.0) == ([A, B], [])
    assert table.learn("one", "six", [A], now=3.0) == ([], []), "known"
    assert (table.indexes_at(A), table.indexes_at(B), table.indexes_at(("c.test", 443))) == (
        ("one", "two"),
        ("two",),
        (),
    )
    assert (len(table), list(table), A in table) == (2, [A, B], True)


@pytest.mark.parametrize("count", [MOST_PER_PAGE - 1, MOST_PER_PAGE, MOST_PER_PAGE + 1, 1000])
def test_what_a_page_may_name(count: int) -> None:
    table = HostTable()
    new, refused = table.learn("evil", "six", hosts(count), now=0.0)
    assert (len(new), len(refused)) == (min(count, MOST_PER_PAGE), max(0, count - MOST_PER_PAGE))
    assert table.learn("evil", "other", [A], now=0.0) == ([A], []), "another page has its own count"


def test_a_page_that_names_others_each_time() -> None:
    """The count is of the project, not of one version or representation of its page."""
    table = HostTable()
    for time in range(20):
        table.learn("evil", "six", hosts(3, f"t{time}-"), now=float(time))
    assert len(table) == MOST_PER_PAGE


def test_what_an_index_may_name() -> None:
    table = HostTable()
    for number in range(100):
        table.learn("evil", f"project-{number}", [(f"h{number}.test", 443)], now=0.0)
    assert len(table) == MOST_PER_INDEX
    assert table.learn("evil", "one-more", [A], now=0.0) == ([], [A])
    assert table.learn("good", "six", [A], now=0.0) == ([A], []), "another index has its own count"


def test_a_repeated_host_counts_once() -> None:
    table = HostTable()
    assert table.learn("one", "six", [A] * 100 + [B], now=0.0) == ([A, B], [])


def test_what_is_stored() -> None:
    table = HostTable()
    table.learn("one", "six", [A], now=1.0)
    table.learn("two", "six", [A, B], now=2.0)
    table.touch(A, 5.0)
    rows = table.rows()
    assert rows == ((*A, "one", 5.0), (*A, "two", 5.0), (*B, "two", 2.0))
    again = HostTable()
    again.load(rows, now=6.0)
    assert again.rows() == rows


@pytest.mark.parametrize(
    ("age", "known"),
    [(0.0, True), (FORGOTTEN_AFTER - 1, True), (FORGOTTEN_AFTER, False), (-1e308, True), (float("nan"), False)],
)
def test_what_is_forgotten(age: float, *, known: bool) -> None:
    """A time in the future, of a wrong clock or a wrong store, keeps a host no longer than its next month."""
    now = 1e9
    table = HostTable()
    table.load([(*A, "one", now - age)], now)
    assert (A in table) is known
    assert all(used <= now for *_, used in table.rows())


def test_stored_rows_are_bounded_too() -> None:
    table = HostTable()
    table.load([(f"h{number}.test", 443, "one", 1.0) for number in range(1000)], now=2.0)
    assert len(table) == MOST_PER_INDEX


@pytest.mark.parametrize("port", [0, 21, 22, 25, 53, 110, 143, 389, 465, 587, 636, 993, 6000, 6667, 10080])
def test_a_port_of_another_protocol_is_not_learned(port: int) -> None:
    """A page that linked to port 22 of the git host took SSH there away from everybody: its tunnels waited for a request."""
    table = HostTable()
    assert table.learn("evil", "six", [("git.test", port), A], now=0.0) == ([A], [])
    table.load([("git.test", port, "evil", 0.0)], now=0.0)
    assert list(table) == [A]


@pytest.mark.parametrize("port", [80, 443, 2222, 3128, 5000, 7990, 8000, 8080, 8081, 8443, 9000, 9443, 65535])
def test_ports_of_indexes(port: int) -> None:
    assert HostTable().learn("corp", "six", [("files.test", port)], now=0.0) == ([("files.test", port)], [])
