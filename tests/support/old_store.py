"""A small store as the first version of format 1 wrote it, packed in tests/data: what every later version must read.

It was filled by a real proxy from the index `corp` at index.test: a wheel and an sdist large enough for a file of its own, a file that is
known by its URL alone, a core metadata file, two ranges of a wheel, the pages of four projects with their variants, a remembered 404,
the list of projects, a file host learned from a link, and a page and a file that were fetched with Alice's credentials.
"""

import base64
import tarfile
from pathlib import Path
from typing import Final

ARCHIVE: Final = Path(__file__).resolve().parents[1] / "data" / "store_of_format_1.tar.gz"

INDEX: Final = "corp=https://index.test/corp/simple/"
"""The option `pypi_cache_index` that it was filled with."""

ALICE: Final = "Basic " + base64.b64encode(b"alice:w0nderland").decode()

WHEEL: Final = "0b/2c/aad0bf35786a3500b8be213f109620cd189789032a8e07d6691951335356/alpha-1.0-py3-none-any.whl"
SDIST: Final = "ac/8b/c742cc65510bb031384a826fdc82eec58af81ad940ac83bddd10ff554bfa/alpha-2.0.tar.gz"
RANGED: Final = "94/a6/521293c5f350e218243b9e8d683d62856f8a68fe79db4cf1143f29aa483d/bravo-1.0-py3-none-any.whl"
PRIVATE: Final = "15/6a/8e1975fc5ea266dc870b63b79f58e4ebba1913202878db07eebc77fe14ff/secret-1.0-py3-none-any.whl"
"""Where the files are below `/corp/packages/`."""

WHEEL_DIGEST: Final = "sha256:b5393aea9ef2d82f5dc1aeec153eb2be29cb7ef7b97e214085b95ea0f7a45694"
SDIST_DIGEST: Final = "sha256:aaf0db37d96fa21af34eb76701631624dea95f3f59a3d504f71d564575f47a2d"
METADATA_DIGEST: Final = "sha256:e70b13cf810d0a6d4c950f2e55982d40916857059c642abb5dcaf41bb93370bb"
RANGED_DIGEST: Final = "sha256:59ecea726df6ca53b273f51b6f1ec7fa862dd675695a835c1d1cdd6b3e1f9e3a"
PRIVATE_DIGEST: Final = "sha256:3c5bbdd16d08941f3cce6eac180bc16a46c8ee3949f9c4ef59424f5385f0c1ff"


def unpack(folder: Path) -> None:
    """Put the store into a folder, which is made."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
