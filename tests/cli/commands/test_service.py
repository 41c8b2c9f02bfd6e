"""The systemd unit: what it starts, and that systemd takes it, where systemd is installed."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pkgcache.cli.commands.service import UNIT, closed_folder, quoted, start, unit
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
        "--workers",
        "2",
        "--set",
        "pypi_cache_index=a=https://a.test/ https://b.test/%20",
    ).ended(0)
    assert "User=me\n" in ran.out
    start_line = next(line for line in ran.out.splitlines() if line.startswith("ExecStart="))
    assert start_line == (
        f"ExecStart={REPOSITORY}/run.sh --set confdir=%S/pypi-cache --set pypi_cache_dir=%S/pypi-cache/store --listen-port 3128 --workers 2"
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
    ("arguments", "writable", "own"),
    [
        ((), [], ["confdir=%S/pypi-cache", "pypi_cache_dir=%S/pypi-cache/store"]),
        (
            ("--set", "pypi_cache_dir=/big/store"),
            ["/big/store"],
            ["confdir=%S/pypi-cache", "pypi_cache_dir=/big/store"],
        ),
        (
            ("--set=pypi_cache_dir=/big/store",),
            ["/big/store"],
            ["confdir=%S/pypi-cache", "--set=pypi_cache_dir=/big/store"],
        ),
        (("--set", "pypi_cache_dir=/big/a b"), ['"/big/a b"'], ["confdir=%S/pypi-cache", '"pypi_cache_dir=/big/a b"']),
        (
            ("--set", "confdir=/etc/pc", "--set", "pypi_cache_access_log=/var/log/pc/access.log"),
            ["/etc/pc", "/var/log/pc"],
            ["pypi_cache_dir=%S/pypi-cache/store", "confdir=/etc/pc", "pypi_cache_access_log=/var/log/pc/access.log"],
        ),
        (
            ("--set", "pypi_cache_dir=/var/lib/pypi-cache/other", "--set", "pypi_cache_access_log=-"),
            [],
            ["confdir=%S/pypi-cache", "pypi_cache_dir=/var/lib/pypi-cache/other", "pypi_cache_access_log=-"],
        ),
    ],
)
def test_what_is_elsewhere_can_be_written(arguments: tuple[str, ...], writable: list[str], own: list[str]) -> None:
    """The store was set twice, and a store on another disk was read-only: `ProtectSystem=strict`."""
    text = lines(*arguments)
    assert [line.partition("=")[2] for line in text if line.startswith("ReadWritePaths=")] == writable
    start_line = next(line for line in text if line.startswith("ExecStart="))
    for each in own:
        assert start_line.count(each) == 1
    assert start_line.count("pypi_cache_dir=") == start_line.count("confdir=") == 1
    assert len([line for line in text if line.startswith("#   install -d -o ")]) == len(writable)
    made = next(line for line in text if line.endswith("> /etc/systemd/system/pypi-cache.service"))
    assert all(shlex.quote(each) in made for each in arguments)


def test_a_program_that_the_user_cannot_read(tmp_path: Path) -> None:
    """`/root/.local` has mode 0700, and the unit then ends with 203/EXEC."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    for folder in reversed([home, *home.parents]):
        if folder.is_relative_to(tmp_path.parent):
            folder.chmod(0o755)
    above = closed_folder(tmp_path)
    home.chmod(0o700)
    assert closed_folder(home / "bin" / "pypi-cache") == (above or home)
    home.chmod(0o711)
    assert closed_folder(home / "bin" / "pypi-cache") == above


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
