"""`--workers`, and mitmproxy's options as the supervisor reads them."""

from pathlib import Path

import pytest

from pkgcache.proxy.workers.arguments import MOST_WORKERS, cores, read_options, take_workers


@pytest.mark.parametrize(
    ("words", "count", "rest"),
    [
        ([], None, []),
        (["--listen-port", "3128"], None, ["--listen-port", "3128"]),
        (["--workers", "2"], 2, []),
        (["--workers=2"], 2, []),
        (["--workers", "0"], 0, []),
        (["--workers", "1", "-p", "3128"], 1, ["-p", "3128"]),
        (["-p", "3128", "--workers=4", "--set", "a=b"], 4, ["-p", "3128", "--set", "a=b"]),
        (
            ["--workers", "2", "--workers", "3"],
            3,
            [],
        ),  # as argparse: the last one counts (a unit's, and what was added to it)
        (["--set", "x=--workers"], None, ["--set", "x=--workers"]),
        (["--workers", str(MOST_WORKERS)], MOST_WORKERS, []),
    ],
)
def test_taken(words: list[str], count: int | None, rest: list[str]) -> None:
    assert take_workers(words) == (count, rest)


@pytest.mark.parametrize(
    "words",
    [
        ["--workers"],
        ["--workers="],
        ["--workers", "two"],
        ["--workers", "-1"],
        ["--workers", "1.5"],
        ["--workers", "+2"],
        ["--workers", "²"],
        ["--workers", "２"],  # full-width: int() would take it
        ["--workers", str(MOST_WORKERS + 1)],
        ["--workers", "--listen-port", "3128"],
    ],
)
def test_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^--workers '.*': expected a number up to 256; 0: one for each core$"):
        take_workers(words)


def test_cores() -> None:
    assert 1 <= cores() <= 4096


def test_options_are_read_as_mitmdump_reads_them(tmp_path: Path) -> None:
    """Words that only addons of mitmproxy's know, its config.yaml, and our own options, which wait for our addon."""
    (tmp_path / "config.yaml").write_text("listen_port: 3129\nlisten_host: 127.0.0.9\npypi_cache_max_size: 5g\n")
    words = ["-s", "a.py", "-w", "flows", "--set", f"confdir={tmp_path}", "--listen-host", "127.0.0.1", "-q"]
    options = read_options([*words, "--set", "pypi_cache_memory=1g", "--mode", "regular@8085"])
    assert options is not None
    assert (options.listen_port, options.listen_host, options.mode) == (3129, "127.0.0.1", ["regular@8085"])
    assert options.deferred.keys() == {"pypi_cache_max_size", "pypi_cache_memory"}


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["-h"],
        ["--version"],
        ["--options"],
        ["--commands"],
        ["--no-such"],
        ["--listen-port", "many"],
        ["--set", "listen_port=many"],
        ["--mode", "no-such-mode"],
    ],
)
def test_what_mitmdump_itself_has_to_say(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """None, and nothing is printed: mitmdump is run then, and says it once."""
    assert read_options(words) is None
    assert capfd.readouterr() == ("", "")
