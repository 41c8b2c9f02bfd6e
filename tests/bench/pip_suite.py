"""pip's own tests on the real index: direct, cold through the proxy, restarted with the upstream cut, and offline.

`CHECKOUT` is a folder with pip's sources by a tag; `--python` is an interpreter that has that pip, and what its tests need, installed
(the group `test` of its pyproject.toml, pytest-timeout, and wheels in tests/data/common_wheels). Its tests that are marked `network` are
run; the others may open no socket, so no proxy can matter to them. What needs a version control's server is left out.

A test should have the same outcome everywhere. The exit status is 1 if one has not, and those are listed with their last words.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.tools import note, table
from tests.bench.workshop import ROOTS, TRUST
from tests.support.clients import bare_env
from tests.support.peers import Peer
from tests.support.proxy import Proxy

FILES: Final = tuple(
    f"tests/functional/test_{name}.py"
    for name in ("download", "install", "install_index", "index", "fast_deps", "proxy", "lock")
)
SELECTED: Final = "network and not git and not svn and not mercurial and not bzr"
NOT_VCS: Final = "not vcs and not git and not svn and not hg and not editable_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the tests: each test's outcome, its last words if it failed, and how the proxy took part."""

    how: str
    outcomes: Mapping[str, str]
    words: Mapping[str, str]
    seconds: float
    asked: int = 0
    forwarded: int = 0

    @property
    def row(self) -> tuple[str, ...]:
        """For the table."""
        counts = Counter(self.outcomes.values())
        shown = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        return (self.how, shown, f"{self.seconds:.0f} s", str(self.asked or "–"), str(self.forwarded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The tests to run, and with what."""

    checkout: Path
    python: Path
    tests: Sequence[str]
    timeout: int

    def run(self, how: str, folder: Path, env: Mapping[str, str], proxy: Proxy | None = None) -> Run:
        """Run them once."""
        home, report = folder / how.replace(" ", "-"), folder / f"{how.replace(' ', '-')}.xml"
        home.mkdir()
        words = [str(self.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", SELECTED, "-k", NOT_VCS]
        words += ["--timeout", str(self.timeout), "--basetemp", str(home / "tmp"), f"--junitxml={report}", *self.tests]
        clean = bare_env(home)
        path = {"PATH": f"{self.python.parent}:{clean['PATH']}", "PIP_CONFIG_FILE": "/dev/null"}
        before, began = len(proxy.access_log()) if proxy else 0, time.monotonic()
        with (home / "output").open("wb") as output:
            subprocess.run(
                words,
                cwd=self.checkout,
                env={**clean, **path, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        lines = proxy.access_log()[before:] if proxy else []
        outcomes, said = read_report(report)
        return Run(
            how=how,
            outcomes=outcomes,
            words=said,
            seconds=time.monotonic() - began,
            asked=len(lines),
            forwarded=sum("fwd=" in line["cache"] for line in lines),
        )


def read_report(report: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The outcome of each test in a JUnit report, and the last words of those that failed."""
    outcomes: dict[str, str] = {}
    words: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        bad = next((each for kind in ("failure", "error") if (each := case.find(kind)) is not None), None)
        outcomes[name] = "failed" if bad is not None else "skipped" if case.find("skipped") is not None else "passed"
        if bad is not None:
            told = [line for line in (bad.text or "").splitlines() if "ERROR" in line or "error:" in line]
            words[name] = (told or [bad.get("message", "")])[-1].strip()[:300]
    return outcomes, words


def through(proxy: Proxy) -> dict[str, str]:
    """The environment of an agent."""
    return {"HTTPS_PROXY": proxy.url, **dict.fromkeys(TRUST, str(proxy.bundle))}


def runs(suite: Suite, folder: Path) -> list[Run]:
    """All four."""
    done = [suite.run("direct", folder, dict.fromkeys(TRUST, ROOTS))]
    note(" | ".join(done[-1].row))
    with Proxy(folder / "proxy", timeout=60) as proxy, Peer(lambda _: None) as dead:
        for how in ("cold", "upstream cut", "offline"):
            if how != "cold":
                proxy.stop()
                proxy.env |= {"HTTPS_PROXY": f"http://127.0.0.1:{dead.port}"}
                proxy.options["pypi_cache_offline"] = how == "offline"
                proxy.start()
            done.append(suite.run(how, folder, through(proxy), proxy))
            note(" | ".join(done[-1].row))
        for complaint in proxy.complaints:
            note(complaint)
    return done


def main() -> int:
    """Run them, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="a folder with pip's sources")
    parser.add_argument("tests", nargs="*", default=FILES, help=f"else {' '.join(FILES)}")
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with that pip and its tests' needs")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for each test")
    arguments = parser.parse_args()
    suite = Suite(
        checkout=arguments.checkout,
        python=arguments.python.absolute(),
        tests=arguments.tests,
        timeout=arguments.timeout,
    )
    with tempfile.TemporaryDirectory(prefix="pypi-cache-pip-suite-") as name:
        done = runs(suite, Path(name))
    header = ("how", "tests", "time", "package requests", "of these from upstream")
    table("pip's own tests", header, [run.row for run in done])
    direct = done[0].outcomes
    others = [(run, test) for run in done[1:] for test in direct if run.outcomes.get(test) != direct[test]]
    for run, test in others:
        print(f"- {run.how}: {test} {run.outcomes.get(test)}, direct {direct[test]}: {run.words.get(test, '')}")
    failed = {test: done[0].words.get(test, "") for test, outcome in direct.items() if outcome == "failed"}
    for test, why in failed.items():
        print(f"- direct: {test} failed: {why}")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
