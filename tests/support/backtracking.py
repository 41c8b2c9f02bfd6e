"""Counts the steps that a backtracking matcher takes, so that a test can say "linear" without a clock.

`re` does not tell its steps. This matcher walks the same tree (`re._parser`) in the same order as `re`, and counts each look at a
character or a place. It knows what the patterns of the house are made of, and raises NotImplementedError for anything else.
"""

import contextlib
import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

type _Then = Callable[[int], bool]

_CATEGORIES: Final[dict[Any, Callable[[str], bool]]] = {
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda char: not char.isdecimal(),
    sre.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    sre.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}
MOST: Final = 300
_SINGLE: Final = {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}


class _TooMany(Exception):  # noqa: N818 - it only ends the counting
    pass


class Counter:
    """One pattern. `scans`: it is searched for from each place on, and not matched at one."""

    def __init__(self, pattern: "re.Pattern[str] | re.Pattern[bytes]", *, scans: bool, full: bool) -> None:
        self._tree = list(
            parser.parse(
                pattern.pattern,
                pattern.flags & ~re.UNICODE & ~re.DEBUG if isinstance(pattern.pattern, str) else pattern.flags,
            )
        )
        self._ignores_case = bool(pattern.flags & re.IGNORECASE)
        self._scans = scans
        self._full = full
        self._text = ""
        self.steps = 0

    def count(self, text: str) -> int:
        """The steps that matching, or finding all matches, takes; about MOST for each character where they are more."""
        self._text, self.steps = text, 0
        with contextlib.suppress(_TooMany):
            self._match(text)
        return self.steps

    def _match(self, text: str) -> None:
        end = len(text)
        if self._full:
            self._walk(self._tree, 0, 0, lambda at: at == end)
        elif not self._scans:
            self._first(self._tree, 0)
        else:
            at = 0
            while at <= end:
                found = self._first(self._tree, at)
                at = at + 1 if found is None or found == at else found

    # The matcher

    def _first(self, nodes: Sequence[Any], at: int) -> int | None:
        """Where the first match from a place on ends."""
        ends: list[int] = []
        return ends[0] if self._walk(nodes, 0, at, lambda end: ends.append(end) or True) else None  # type: ignore[func-returns-value]

    def _walk(self, nodes: Sequence[Any], number: int, at: int, then: _Then) -> bool:
        self.steps += 1
        if self.steps > MOST * (len(self._text) + 1):
            raise _TooMany
        if number == len(nodes):
            return then(at)
        kind, value = nodes[number]

        def rest(place: int) -> bool:
            return self._walk(nodes, number + 1, place, then)

        if kind in _SINGLE:
            return at < len(self._text) and self._fits(kind, value, self._text[at]) and rest(at + 1)
        if kind is sre.AT:
            return self._is_at(value, at) and rest(at)
        if kind is sre.BRANCH:
            return any(self._walk(list(branch), 0, at, rest) for branch in value[1])
        if kind is sre.SUBPATTERN:
            return self._walk(list(value[3]), 0, at, rest)
        if kind is sre.ATOMIC_GROUP:
            end = self._first(list(value), at)
            return end is not None and rest(end)
        if kind in {sre.ASSERT, sre.ASSERT_NOT}:
            direction, inner = value
            start = at if direction > 0 else at - inner.getwidth()[0]
            found = start >= 0 and self._first(list(inner), start) is not None
            return found == (kind is sre.ASSERT) and rest(at)
        if kind in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
            return self._repeat(kind, value, at, rest)
        raise NotImplementedError(f"{kind} in a pattern")

    def _repeat(self, kind: Any, value: Any, at: int, rest: _Then) -> bool:
        least, most, inner = value
        nodes = list(inner)
        limit = len(self._text) + 1 if most is sre.MAXREPEAT else int(most)
        if kind is sre.POSSESSIVE_REPEAT:
            count = 0
            while count < limit and (end := self._first(nodes, at)) is not None:
                count += 1
                if end == at:
                    break
                at = end
            return count >= least and rest(at)
        if len(nodes) == 1 and nodes[0][0] in _SINGLE:
            return self._repeat_one(kind, least, limit, nodes[0], at, rest)

        def more(count: int, place: int) -> bool:
            def again() -> bool:
                return count < limit and self._walk(nodes, 0, place, lambda end: end != place and more(count + 1, end))

            if kind is sre.MIN_REPEAT:
                return (count >= least and rest(place)) or again()
            return again() or (count >= least and rest(place))

        return more(0, at)

    def _repeat_one(self, kind: Any, least: int, limit: int, node: Any, at: int, rest: _Then) -> bool:
        """A repeated single character, without a frame for each."""
        if kind is sre.MIN_REPEAT:
            for count in range(limit + 1):
                if count >= least and rest(at + count):
                    return True
                self.steps += 1
                if at + count >= len(self._text) or not self._fits(node[0], node[1], self._text[at + count]):
                    return False
            return False
        end = at
        while end < len(self._text) and end - at < limit and self._fits(node[0], node[1], self._text[end]):
            end += 1
        self.steps += end - at
        return any(rest(place) for place in range(end, at + least - 1, -1))

    def _fits(self, kind: Any, value: Any, char: str) -> bool:
        if kind is sre.ANY:
            return True
        if kind is sre.IN:
            negated = value[0][0] is sre.NEGATE
            return any(self._fits(item[0], item[1], char) for item in value[negated:]) != negated
        if kind is sre.CATEGORY:
            return _CATEGORIES[value](char)
        chars = (
            {ord(each) for each in (char, char.lower(), char.upper()) if len(each) == 1}
            if self._ignores_case
            else {ord(char)}
        )
        if kind is sre.RANGE:
            return any(value[0] <= each <= value[1] for each in chars)
        return (value in chars) == (kind is sre.LITERAL)

    def _is_at(self, where: Any, at: int) -> bool:
        text = self._text
        if where in {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING}:
            return at == 0 or text[at - 1] == "\n"
        if where in {sre.AT_END, sre.AT_END_STRING}:
            return at == len(text) or text[at] == "\n"
        before = at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")
        behind = at < len(text) and (text[at].isalnum() or text[at] == "_")
        return (before != behind) == (where is sre.AT_BOUNDARY)

    # What a pattern is made of

    def sample(self, variant: int) -> str:
        """A text made of what the pattern looks for, though it need not match; each `variant` chooses otherwise."""
        return "".join(self._made(self._tree, variant))

    def _made(self, nodes: Sequence[Any], variant: int) -> Iterator[str]:
        for kind, value in nodes:
            if kind is sre.LITERAL:
                yield chr(value)
            elif kind is sre.NOT_LITERAL:
                yield "a" if value != ord("a") else "b"
            elif kind is sre.ANY:
                yield "a"
            elif kind is sre.IN:
                yield self._of_class(value, variant)
            elif kind is sre.BRANCH:
                yield from self._made(list(value[1][variant % len(value[1])]), variant)
            elif kind is sre.SUBPATTERN:
                yield from self._made(list(value[3]), variant)
            elif kind is sre.ATOMIC_GROUP:
                yield from self._made(list(value), variant)
            elif kind in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
                for _ in range(max(1, min(int(value[0]), 3))):
                    yield from self._made(list(value[2]), variant)

    def _of_class(self, items: Sequence[Any], variant: int) -> str:
        fitting = [char for char in "a0 -./:=\"'<>&\\,A\t\x80\x00" if self._fits(sre.IN, items, char)]
        return fitting[variant % len(fitting)] if fitting else "!"
