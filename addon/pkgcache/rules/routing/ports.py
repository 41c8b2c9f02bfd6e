"""Ports that other protocols have: no index has its files there, and a page or a redirect that names one means harm.

The list is that of the Fetch standard (§2.9, "bad port"), which browsers keep to. Opening TLS at such a port would cut off who has a
tunnel to it for its own protocol: from SSH on port 22 came no greeting any more, once a page had a link there.
"""

from typing import Final

_OTHERS: Final = frozenset(
    map(
        int,
        """
        0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137 139
        143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049
        3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080
        """.split(),  # noqa: SIM905  as a list each number would have a line
    )
)


def is_for_http(port: int) -> bool:
    """Whether HTTP servers are to be found at a port.

    >>> is_for_http(8443), is_for_http(22)
    (True, False)
    """
    return port not in _OTHERS
