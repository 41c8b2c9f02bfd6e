"""The comparison: a cache as a mitmproxy addon is usually written, answering by `flow.response` in the `request` hook.

`mitmdump -s tests/bench/flow_addon.py`, with BENCH_ANSWERS a JSON object: path → [file, content type].
"""

import json
import os
from pathlib import Path

from mitmproxy import http

SMALL = 1_000_000


class FlowAddon:
    """Answers the paths that it knows with the bytes of a file; small ones are kept in memory."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, str]] = json.loads(os.environ["BENCH_ANSWERS"])
        self.small: dict[str, bytes] = {}

    def request(self, flow: http.HTTPFlow) -> None:
        """Answer from disk or memory."""
        if found := self.answers.get(flow.request.path):
            flow.response = http.Response.make(200, self.body(Path(found[0])), {"Content-Type": found[1]})

    def body(self, path: Path) -> bytes:
        """A file's bytes."""
        if str(path) in self.small:
            return self.small[str(path)]
        data = path.read_bytes()
        if len(data) <= SMALL:
            self.small[str(path)] = data
        return data


addons = [FlowAddon()]
