"""Stands for the process for large pages, and does not answer: it ends at each page, or hangs at it (`serve_never`)."""

import time

from pkgcache.engine.pages.worker_pipe import PipeEnd


def serve() -> None:
    """Be there, take a page, and end."""
    pipe = PipeEnd(0, 1)
    pipe.send({}, b"")
    pipe.receive()


def serve_never() -> None:
    """Be there, take a page, and say nothing."""
    serve()
    time.sleep(600)
