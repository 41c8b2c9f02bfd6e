"""`stats`, `ls`, `purge`, `verify` on real stores: normal runs, wrong arguments, interrupted ones, and what was found."""

import json
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import click
import pytest

from pkgcache.cli.app import cli
from pkgcache.engine.store.keys import parse_key
from pkgcache.engine.store.watch import HOT_SECONDS
from tests.cli.conftest import ADDON, Command, has_open, opened_store
from tests.cli.stores import age, damage, file_of, keys, make_store, put_file
from tests.support.factories import MakeProxy
from tests.support.names import file_url, page_url
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

# ls


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def filled(store: Path) -> dict[str, str]:
    return make_store(store)


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        ([], {"large", "small", "page", "other", "other page", "private"}),
        (["alpha"], {"large", "small", "page"}),
        (["ALPHA", "b*"], {"large", "small", "page", "other", "other page"}),
        (["--files"], {"large", "small", "other", "private"}),
        (["--pages", "alpha"], {"page"}),
        (["--limit", "1"], {"large"}),
        (["--sort", "size", "--limit", "1", "--reverse"], {"large"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ls(words: list[str], listed: set[str], command: Command, store: Path, filled: dict[str, str]) -> None:
    ran = command("ls", "--dir", store, *words, "--json").ended(0)
    names = {(parse_key(filled[each]).project, parse_key(filled[each]).name) for each in listed}
    assert {(row["project"], row["name"]) for row in map(json.loads, ran.out.splitlines())} == names
    lines = command("ls", "--dir", store, *words).ended(0).out.splitlines()
    assert lines[0].startswith("PROJECT")
    assert len(lines) == len(listed) + 1


def test_ls_hides_whose_private_things_are(command: Command, store: Path, filled: dict[str, str]) -> None:
    text = command("ls", "--dir", store, "gamma").ended(0).out + command("ls", "--dir", store, "gamma", "--json").out
    assert "private:01234567" in text
    assert "0123456789" not in text


def test_ls_sorts(command: Command, store: Path, filled: dict[str, str]) -> None:
    for order, field in (("size", "size"), ("stored", "stored_at"), ("asked", "accessed_at")):
        ran = command("ls", "--dir", store, "--sort", order, "--json").ended(0)
        values = [json.loads(line)[field] for line in ran.out.splitlines()]
        assert values == sorted(values)


def test_ls_into_a_closed_pipe(command: Command, store: Path) -> None:
    """`pypi-cache ls | head -1` is quiet."""
    with opened_store(store) as entries:
        for number in range(2000):
            put_file(entries, make_wheel("many", f"{number}.0"))
    process = command.start("ls", "--dir", str(store))
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("PROJECT")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 128 + signal.SIGPIPE


# stats


def test_stats(command: Command, store: Path, filled: dict[str, str]) -> None:
    found = command("stats", "--dir", store, "--json").ended(0).json
    assert found["entries"] == 6
    assert {kind: each["entries"] for kind, each in found["kinds"].items()} == {"file": 4, "page": 2}
    assert found["largest_projects"][0]["project"] == "alpha"
    assert found["private_entries"] == 1
    assert found["max_bytes"] == 10 << 30
    text = command("stats", "--dir", store, "--set", "pypi_cache_max_size=1g").ended(0).out
    assert "6 entries" in text
    assert "of 1.0 GiB" in text


def test_stats_beside_a_proxy(command: Command, upstream: Upstream, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(upstream)
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    found = command("stats", "--dir", proxy.store, "--proxy", proxy.url, "--json").ended(0).json
    assert any("answers" in name and value for name, value in found["proxy"].items())
    assert "counted by the proxy" in command("stats", "--dir", proxy.store, "--proxy", proxy.url).ended(0).out
    ran = command("stats", "--dir", proxy.store, "--proxy", "http://127.0.0.1:1").ended(1)
    assert "127.0.0.1:1 does not answer" in ran.err
    elsewhere = proxy.folder / "nothing-here"  # it is asked first, whatever becomes of the store
    assert (
        "127.0.0.1:1 does not answer"
        in command("stats", "--dir", elsewhere, "--proxy", "http://127.0.0.1:1").ended(1).err
    )
    text = command("stats", "--dir", proxy.store, "--proxy", proxy.url).ended(0).out
    assert re.search(r"requests by status 200 +\d", text)
    assert re.search(r"hit ratio +\d", text)


# purge


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["alpha"], {"large", "small", "page"}),
        (["alpha", "--files"], {"large", "small"}),
        (["*", "--pages"], {"page", "other page"}),
        (["*", "--older-than", "30d"], {"small"}),
        (["*"], {"large", "small", "page", "other", "other page", "private"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_purge(words: list[str], gone: set[str], command: Command, store: Path, filled: dict[str, str]) -> None:
    age(store, filled["small"], 31 * 86400)
    before = keys(store)
    dry = command("purge", "--dir", store, *words, "--dry-run", "--json").ended(0).json
    assert keys(store) == before
    ran = command("purge", "--dir", store, *words, "--json", "--yes").ended(0).json
    assert (ran["entries"], ran["bytes"]) == (len(gone), dry["bytes"])
    assert before - keys(store) == {filled[each] for each in gone}


@pytest.mark.parametrize(
    "words", [["*"], ["alpha", "**"], ["*", "--files", "--pages"], ["*", "--json"], ["* x"]], ids=" ".join
)
def test_purge_of_everything_where_nobody_can_be_asked(
    words: list[str], command: Command, store: Path, filled: dict[str, str]
) -> None:
    """A script with a wrong variable must not empty the store."""
    assert "expected --yes" in command("purge", "--dir", store, *words).ended(2).err
    assert len(keys(store)) == len(filled)
    command("purge", "--dir", store, *words, "--dry-run").ended(0)


def test_the_list_of_all_projects(command: Command, store: Path, filled: dict[str, str]) -> None:
    """It is listed and purged as the page that it is."""
    with opened_store(store) as entries:
        assert entries.put("root|-|pypi|json", b"{}", {"of": "x"})
    assert "(all projects)  pypi json" in command("ls", "--dir", store).ended(0).out
    assert "all projects" in command("ls", "--dir", store, "*", "--pages").ended(0).out
    for words in (["--files"], ["alpha"]):
        assert "all projects" not in command("ls", "--dir", store, *words).ended(0).out
    command("purge", "--dir", store, "alpha").ended(0)
    assert "root|-|pypi|json" in keys(store)
    ran = command("purge", "--dir", store, "*", "--pages").ended(0)
    assert ran.out.startswith("2 entries, ")
    assert "root|-|pypi|json" not in keys(store)
    assert command("purge", "--dir", store, "beta").ended(0).out.startswith("1 entry, ")


def test_ls_fits_a_terminal(command: Command, store: Path, filled: dict[str, str]) -> None:
    """One row a line at each width, the name first; a file's name keeps its beginning and its end."""
    with opened_store(store) as entries:
        put_file(entries, make_wheel("a-project-with-a-very-long-name-indeed", "1.0.0.dev20261127"))
    for columns in (40, 80, 100, 160):
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        process = subprocess.Popen(
            [*command.words, "ls", "--dir", str(store)], env=dict(command.environment), stdin=theirs, stdout=theirs
        )
        assert process.wait(60) == 0
        os.close(theirs)
        lines = os.read(ours, 1 << 16).decode().splitlines()
        os.close(ours)
        assert len(lines) == 8
        assert max(map(len, lines)) <= columns
        assert lines[0].startswith("PROJECT")
        assert lines[1].startswith("alpha-1.0-py3")
        assert any(line.startswith("a_project") and "any.whl" in line for line in lines)
        assert ("DIGEST" in lines[0]) is (columns >= 160)


def test_ls_of_an_empty_store(command: Command, tmp_path: Path) -> None:
    with opened_store(tmp_path / "empty"):
        pass
    assert "holds no file or page yet" in command("ls", "--dir", tmp_path / "empty").ended(1).err


def test_purge_of_nothing(command: Command, store: Path, filled: dict[str, str]) -> None:
    assert "nobody: nothing stored" in command("purge", "--dir", store, "nobody").ended(1).err
    assert "expected" in command("purge", "--dir", store, "a b|c").ended(2).err
    assert "Missing argument" in command("purge", "--dir", store).ended(2).err
    assert "expected a time such as" in command("purge", "--dir", store, "x", "--older-than", "old").ended(2).err
    assert "expected a time with its unit" in command("purge", "--dir", store, "x", "--older-than", "5").ended(2).err


@pytest.mark.parametrize(("answer", "status", "left"), [("n\n", 1, 6), ("y\n", 0, 3)])
def test_purge_asks_on_a_terminal(
    answer: str, status: int, left: int, command: Command, store: Path, filled: dict[str, str]
) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*command.words, "purge", "--dir", str(store), "alpha"],
        env=dict(command.environment),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, answer.encode())
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == status, err
    assert "remove 3 entries of 1 project" in err
    assert len(keys(store)) == left


def test_purge_beside_a_proxy(command: Command, upstream: Upstream, make_proxy: MakeProxy) -> None:
    """What was purged is fetched again, and the proxy goes on. What was read of a file that is not there goes too."""
    proxy = make_proxy(upstream)
    parted = make_wheel("alpha", "1.1", payload_size=100_000)
    upstream.add(parted)
    assert fetch(proxy.port, file_url(parted), ca=proxy.ca, headers={"Range": "bytes=-99"}).status == 206
    release = make_wheel("alpha", "1.0", upload_time="2024-01-01T00:00:00.000000Z")
    for _ in range(2):
        assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
        assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    asked = upstream.count(path_contains="alpha")
    proxy.lapse(HOT_SECONDS + 1)  # it looks at a hot entry's row again
    assert {"file", "page", "part"} <= {parse_key(key).kind for key in keys(proxy.store)}
    command("purge", "--dir", proxy.store, "alpha").ended(0)
    assert not [key for key in keys(proxy.store) if parse_key(key).project == "alpha"]
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    assert upstream.count(path_contains="alpha") > asked


# verify


def test_verify_of_what_is_right(command: Command, store: Path, filled: dict[str, str]) -> None:
    ran = command("verify", "--dir", store, "--json").ended(0).json
    assert (ran["entries"], ran["wrong"], ran["files_without_entry"]) == (6, [], [])
    assert "6 entries" in command("verify", "--dir", store).ended(0).out


def test_verify_finds_damage(command: Command, store: Path, filled: dict[str, str]) -> None:
    """One wrong byte: named, taken out, kept for whoever wants to look; a second run finds nothing."""
    damage(file_of(store, filled["large"]))
    dry = command("verify", "--dir", store, "--dry-run", "--json").ended(1).json
    assert [each["key"] for each in dry["wrong"]] == [filled["large"]]
    assert filled["large"] in keys(store)
    ran = command("verify", "--dir", store, "-j", "2").ended(1)
    assert "wrong: alpha alpha-1.0-py3-none-any.whl: its blake2b is " in ran.err
    assert keys(store) == set(filled.values()) - {filled["large"]}
    assert [path.stat().st_size for path in (store / "quarantine").iterdir()]
    command("verify", "--dir", store).ended(0)


def test_verify_finds_a_damaged_page(command: Command, store: Path, filled: dict[str, str]) -> None:
    with opened_store(store) as entries:
        notes = entries.notes(filled["page"])
        assert notes is not None
        entries.put(filled["page"], b"\x1f\x8b" + bytes(notes["size"] - 2), notes)
    assert command("verify", "--dir", store, "--json").ended(1).json["wrong"][0]["key"] == filled["page"]


def test_what_a_kill_leaves_is_not_wrong(command: Command, store: Path, filled: dict[str, str]) -> None:
    """A file without an entry (once it is old enough to be no commit), an entry without its file, an unfinished download."""
    file_of(store, filled["other"]).unlink()
    old, new = (store / "entries" / "aa" / name / "x.val" for name in ("bb", "cc"))
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 10)
    part = store / "growing" / "ab.part"
    part.write_bytes(b"half")
    ran = command("verify", "--dir", store, "--json").ended(0).json
    assert ran["entries_without_file"] == [filled["other"]]
    assert ran["files_without_entry"] == []  # both are young: by their change of status, which nobody can put back
    assert not part.exists()
    assert old.exists()
    assert filled["other"] not in keys(store)


def test_verify_interrupted(command: Command, store: Path) -> None:
    """130 and one line, though a thread is hashing 4 GiB."""
    with opened_store(store) as entries:
        path = entries.growing / "big.part"
        with path.open("wb") as file:
            file.truncate(4 << 30)
        entries.adopt("file|-|url|big.whl", path, 4 << 30, {"digest": f"sha256:{make_wheel('big').sha256}"})
    big = file_of(store, "file|-|url|big.whl")
    ran = command.interrupted(lambda process: has_open(process, big), "verify", "--dir", store).ended(130)
    assert "interrupted: 0 entries checked, 0 wrong; run it again" in ran.err


def test_interrupted_before_it_has_begun(command: Command, tmp_path: Path) -> None:
    """One line, where there was a traceback out of whichever module was just being loaded."""
    shadows = tmp_path / "shadows"
    shadows.mkdir()
    (shadows / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    ran = command.process("stats", env={"PYTHONPATH": f"{shadows}:{ADDON}"}).ended(130)
    assert (ran.out, ran.err) == ("", "interrupted\n")


def test_verify_goes_on_behind_what_cannot_be_read(command: Command, store: Path, filled: dict[str, str]) -> None:
    """One file that is none: that entry is wrong, and the others are looked at all the same."""
    path = file_of(store, filled["large"])
    path.unlink()
    path.mkdir()
    ran = command("verify", "--dir", store, "--json").ended(1).json
    assert [(each["key"], each["fault"]) for each in ran["wrong"]] == [(filled["large"], "it is not a regular file")]
    assert ran["entries"] == 6
    assert command("verify", "--dir", store, "--json").ended(0).json["entries"] == 5


# All of them


@pytest.mark.parametrize(
    "name", ["stats", "ls", "purge x", "verify", "export x.tar", "import x.tar", "warm x", "doctor"]
)
def test_wrong_settings(name: str, command: Command) -> None:
    """Exit code 2, one line, and nothing was done."""
    (command.home / "x.tar").write_bytes(b"")
    words = name.split()
    ran = command(*words, "--set", "pypi_cache_max_sise=1g").ended(2)
    assert "pypi_cache_max_sise: there is no such option; did you mean pypi_cache_max_size?" in ran.err
    assert "No such option" in command(*words, "--nonsense").ended(2).err
    assert "Usage: pypi-cache" in command(words[0], "--help").ended(0).out


@pytest.mark.parametrize("name", ["stats", "ls", "purge x", "verify", "export x.tar"])
def test_no_store(name: str, command: Command, store: Path) -> None:
    """Nothing is made where there is none; and a folder of somebody's own is left alone."""
    assert "no store there" in command(*name.split(), "--dir", store).ended(2).err
    assert not store.exists()
    (store / "entries").mkdir(parents=True)
    assert "no store there" in command(*name.split(), "--dir", store).ended(2).err
    assert [path.name for path in store.iterdir()] == ["entries"]
    (store / "format").write_text("99\n")
    assert "format 99" in command(*name.split(), "--dir", store).ended(2).err


def test_settings_of_the_configuration_file(command: Command, store: Path, filled: dict[str, str]) -> None:
    folder = command.home / ".mitmproxy"
    folder.mkdir()
    (folder / "config.yaml").write_text(f"pypi_cache_dir: {store}\npypi_cache_max_size: 7g\nlisten_port: 3128\n")
    found = command("stats", "--json").ended(0).json
    assert (found["folder"], found["max_bytes"]) == (str(store), 7 << 30)
    assert command("stats", "--set", "pypi_cache_max_size=8g", "--json").ended(0).json["max_bytes"] == 8 << 30
    (folder / "config.yaml").write_text("pypi_cache_dir: [\nx")
    assert "config.yaml, line 2: " in command("stats").ended(2).err
    (folder / "config.yaml").write_text("- a\n")
    assert "expected lines such as pypi_cache_max_size: 50g" in command("stats").ended(2).err


def test_a_configuration_folder_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """A slip there would mean another store."""
    assert "no such folder" in command("purge", "x", "--confdir", tmp_path / "no").ended(2).err


@pytest.mark.parametrize("words", [["ls"], ["ls", "--json"], ["stats"], ["stats", "--json"], ["verify"]], ids=" ".join)
def test_onto_a_full_disk(words: list[str], command: Command, store: Path, filled: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = command.start(*words, "--dir", str(store), stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "Error: standard output: No space left on device\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_somebody_elses_store(command: Command, store: Path, filled: dict[str, str]) -> None:
    """root would make files that the proxy's user cannot open."""
    os.chown(store, 65534, 65534)
    ran = command("ls", "--dir", store).ended(2)
    assert "run it as that user" in ran.err


def test_only_the_command_that_is_asked_for_is_loaded(command: Command) -> None:
    """`ls` took 1.3 s of processor time, of which 0.8 s were for what other commands need: an HTTP client, certificates."""
    code = "import sys; from pkgcache.cli.app import run; run(['ls', '-h']); print(*{'aiohttp', 'cryptography'} & {*sys.modules})"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=command.environment, capture_output=True, text=True, check=True
    )
    assert (ran.stdout.splitlines()[-1], ran.stderr) == ("", "")
    assert "Did you mean 'import'?" in command("improt").ended(2).err


def test_the_readme_shows_each_command() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert [name for name in cli.list_commands(click.Context(cli)) if f"`pypi-cache {name}" not in readme] == []
