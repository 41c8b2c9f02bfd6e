"""The query of a page's URL: what a client says in one, and how it is joined to the operator's own.

By PEP 691 ("URL parameter"): `?format=<content type>` asks for a representation and goes before `Accept`. Everything else means
something to the upstream alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+")
"""PEP 691: "Passing multiple content types, wild cards, quality values, etc is not supported"."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What a page's query says: the content type that it asks for, and what the upstream is to be told; '' where there is none."""

    accept: str = ""
    passed: str = ""


NO_QUERY: Final = PageQuery()


def read_query(query: str) -> PageQuery:
    """Read the query of a client's request for a page or a list. A `+` in it is a plus sign, as in a content type.

    >>> read_query("format=application/vnd.pypi.simple.v1+json")
    PageQuery(accept='application/vnd.pypi.simple.v1+json', passed='')
    >>> read_query("format=json&page=2")
    PageQuery(accept='', passed='format=json&page=2')
    """
    parameters = _parameters(query)
    if not parameters:
        return NO_QUERY
    formats = [unquote(each.partition("=")[2]) for each in parameters if _name(each) == "format"]
    accept = formats[0] if len(formats) == 1 and _CONTENT_TYPE.fullmatch(formats[0]) else ""
    return PageQuery(accept=accept, passed="" if accept and len(parameters) == 1 else query)


def joined_query(operators: str, clients: str) -> str:
    """The query to ask an upstream with. A client cannot say again what the operator says.

    >>> joined_query("token=secret", "page=2&token=mine")
    'token=secret&page=2'
    """
    if not operators or not clients:
        return operators or clients
    names = {_name(each) for each in _parameters(operators)}
    return "&".join([operators, *(each for each in _parameters(clients) if _name(each) not in names)])


def _parameters(query: str) -> list[str]:
    return [each for each in query.split("&") if each]


def _name(parameter: str) -> str:
    return unquote(parameter.partition("=")[0])
