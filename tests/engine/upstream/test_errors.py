"""An error that is kept holds nothing of what was being worked on when it was raised."""

import sys
from collections.abc import Callable

import pytest

from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError


def raised(page: object) -> UpstreamError:
    """An error whose traceback has a frame with the page."""
    try:
        assert page
        raise UpstreamError(Failure.WRONG_PAGE, "https://mirror.test/", "it is no page")
    except UpstreamError as error:
        return error


def caused(page: object) -> UpstreamError:
    """One whose cause has such a frame."""
    try:
        try:
            assert not page
        except AssertionError as error:
            raise UpstreamError(Failure.WRONG_PAGE, "https://mirror.test/", "it is no page") from error
    except UpstreamError as error:
        return error
    raise AssertionError("it has raised")


def while_another_was_handled(page: object) -> UpstreamError:
    """One that was raised in the handler of such an error, without naming it."""
    try:
        try:
            assert not page
        except AssertionError:
            raise UpstreamError(Failure.WRONG_PAGE, "https://mirror.test/", "it is no page")  # noqa: B904
    except UpstreamError as error:
        return error
    raise AssertionError("it has raised")


@pytest.mark.parametrize("keep", [UpstreamError.to_keep, lambda error: AllFailedError([error])], ids=["one", "all"])
@pytest.mark.parametrize("make", [raised, caused, while_another_was_handled])
def test_a_kept_error_holds_no_page(
    make: Callable[[object], UpstreamError], keep: Callable[[UpstreamError], Exception]
) -> None:
    page = bytes(range(256))
    before = sys.getrefcount(page)
    error = make(page)
    assert sys.getrefcount(page) > before
    kept = keep(error)
    assert sys.getrefcount(page) == before
    assert "it is no page" in str(kept)
