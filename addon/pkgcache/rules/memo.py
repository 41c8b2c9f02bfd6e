"""Remembers what was made of short texts.

`functools.lru_cache` counts values and not bytes, so a client could fill it with headers of 64 kB.
"""

from collections.abc import Callable
from functools import lru_cache, wraps

LONGEST = 512
"""Characters of all arguments together. What programs send over and over has fewer: pip's `Accept` has 89, a host name at most 253."""


def memo[**P, R](maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function of texts (or tuples of them): results for short arguments are kept, the `maxsize` used last.

    >>> @memo(maxsize=16)
    ... def doubled(text):
    ...     print("called")
    ...     return text * 2
    >>> doubled("a"), doubled("a")
    called
    ('aa', 'aa')
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        remembered = lru_cache(maxsize)(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            length = 0
            for value in args:
                if type(value) is str:
                    length += len(value)
                elif type(value) is tuple:
                    length += sum(map(len, value))
            known = remembered if length <= LONGEST and not kwargs else function
            return known(*args, **kwargs)  # type: ignore[arg-type]  # what is passed is hashable: texts, numbers, tuples

        return call

    return decorate
