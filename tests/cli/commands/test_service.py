"""The systemd unit: what it starts, and that systemd takes it, where systemd is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pkgcache.cli.commands.service import UNIT, quoted, start, unit
from pkgcache.cli.store_location import CONFDIR, read_location
from tests.cli.conftest import Command
from tests.support.forked import REPOSITORY

INSTALLED = ["/opt/pypi-cache/bin/pypi-cache", "serve"]


def lines(*arguments: str, command: list[str] = INSTALLED) -> list[str]:
    return unit(UNIT.read_text(), command, "cache", arguments).splitlines()


def test_the_unit(command: Command) -> None:
    """From a checkout it starts run.sh, which installs what a `git pull` has changed."""
    ran = command(
        "service",
        "--user",
        "me",
        "--listen-port",
        "3128",
        "--set",
        "pypi_cache_index=a=https://a.test/ https://b.test/%20",
    ).ended(0)
    assert "User=me\n" in ran.out
    start_line = next(line for line in ran.out.splitlines() if line.startswith("ExecStart="))
    assert start_line == (
        f"ExecStart={REPOSITORY}/run.sh --set confdir=%S/pypi-cache --set pypi_cache_dir=%S/pypi-cache/store --listen-port 3128"
        ' --set "pypi_cache_index=a=https://a.test/ https://b.test/%%20"'
    )
    assert "@USER@" not in ran.out
    assert "SystemCallFilter=@system-service" in ran.out


@pytest.mark.parametrize(
    "words", [("--user", "root; id"), ("--user", "A"), ("--user", ""), ("--set", "a=b\nExecStartPre=/bin/evil")]
)
def test_what_cannot_stand_in_a_unit(command: Command, words: tuple[str, ...]) -> None:
    ran = command("service", *words).ended(2)
    assert "ExecStart" not in ran.out


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--set", "--set"),
        ("a=b%20c", "a=b%%20c"),
        ("$HOME", '"$$HOME"'),
        ("two words", '"two words"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("semi;colon", '"semi;colon"'),
        ("", '""'),
        ("it's", '"it\'s"'),
    ],
)
def test_quoted(word: str, expected: str) -> None:
    """systemd.service(5), "Command lines"."""
    assert quoted(word) == expected


@pytest.mark.parametrize(
    ("arguments", "capability"),
    [
        ((), ""),
        (("--listen-port", "3128"), ""),
        (("--listen-port", "80"), "CAP_NET_BIND_SERVICE"),
        (("--listen-port=443",), "CAP_NET_BIND_SERVICE"),
        (("-p", "80"), "CAP_NET_BIND_SERVICE"),
        (("--set", "listen_port=80"), "CAP_NET_BIND_SERVICE"),
    ],
)
def test_a_low_port_needs_a_capability(arguments: tuple[str, ...], capability: str) -> None:
    assert f"CapabilityBoundingSet={capability}" in lines(*arguments)
    assert f"AmbientCapabilities={capability}" in lines(*arguments)


@pytest.mark.parametrize(
    ("program", "hidden"),
    [("/opt/x/pypi-cache", "yes"), ("/home/me/.local/bin/pypi-cache", "read-only"), ("/root/x", "read-only")],
)
def test_a_program_in_a_home_can_be_read(program: str, hidden: str) -> None:
    assert f"ProtectHome={hidden}" in lines(command=[program, "serve"])


def test_what_is_started(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "site-packages" / "pkgcache" / "__init__.py"
    assert start(package, Path("/opt/bin/pypi-cache")) == ["/opt/bin/pypi-cache", "serve"]
    assert start(package, package.parent / "__main__.py") == [sys.executable, "-m", "pkgcache", "serve"]
    assert start(REPOSITORY / "addon/pkgcache/__init__.py", Path("x")) == [f"{REPOSITORY}/run.sh"]


def test_a_user_without_a_home_looks_after_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the unit's first lines say; mitmproxy's default folder is then none at all, and no error."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    for confdir in (CONFDIR, str(tmp_path)):
        assert read_location(confdir, (), str(tmp_path)).settings.dir == tmp_path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed on this machine")
def test_systemd_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "pypi-cache.service"
    file.write_text("\n".join(lines("--set", "a=two words", command=["/bin/true", "serve"])) + "\n")
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
