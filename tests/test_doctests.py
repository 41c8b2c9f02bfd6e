"""Every example in a docstring is run and gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

ADDON = Path(__file__).resolve().parents[1] / "addon"
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ADDON).with_suffix("").parts)
    for path in (ADDON / "pkgcache").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str) -> None:
    failures, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failures


def test_the_rules_have_examples() -> None:
    """The pure functions that take texts apart are where an example says more than a sentence."""
    assert len([name for name in WITH_EXAMPLES if name.startswith("pkgcache.rules.")]) > 15
