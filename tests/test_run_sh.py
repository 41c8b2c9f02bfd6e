"""run.sh on machines of every sort, made of stand-ins: no network, no real install, a second or two in all.

PATH holds the few tools that run.sh needs and the Pythons of the case; each Python is a shell script that answers run.sh's question as
told, writes down what it is called for, and makes a `.venv` of more such scripts.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "cp",
    "dirname",
    "flock",
    "ln",
    "mkdir",
    "mv",
    "perl",
    "readlink",
    "rm",
    "sleep",
    "sort",
)

# $0 is what it is called as, so that the .venv's link to it tells itself from the interpreter.
GOOD_PYTHON = """#!/bin/bash
echo "${0##*/} $*" >> "$RECORD"
case "$*" in
    *"-m venv "*)
        mkdir -p "${!#}/bin"
        ln -s "$SELF" "${!#}/bin/python"
        for name in mitmdump pypi-cache; do
            printf '#!/bin/bash\\necho "%s $*"\\necho "in $PWD"\\nexit 7\\n' "$name" > "${!#}/bin/$name"
            chmod +x "${!#}/bin/$name"
        done ;;
    *"-m pip "*install*)
        sleep "${PIP_TAKES:-0}"
        if [[ -n ${PIP_FAILS:-} ]]; then echo "no matching distribution" >&2; exit 1; fi ;;
    *"-m pytest"*) echo "pytest $*" ;;
    *"-m tests.bench."* | *"-m mkdocs"*) echo "$*, in $PWD" ;;
    *"import os, sys"*) echo "$SELF" ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A project folder with run.sh in it, a PATH and a HOME, all empty but for what a test adds."""

    project: Path
    path: Path
    home: Path
    record: Path

    def python(self, name: str = "python3.13", *, at: Path | None = None) -> Path:
        """Put a Python there that does all that run.sh asks."""
        place = (at or self.path) / name
        return self.script(place, GOOD_PYTHON.replace("$SELF", str(place)))

    def script(self, place: Path, text: str) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
        return place

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [str(environment.pop("RUN_SH", self.project / "run.sh")), *arguments]
        clean = {"PATH": str(self.path), "HOME": str(self.home), "RECORD": str(self.record), "LC_ALL": "C"}
        return subprocess.Popen(
            ["bash", *command],
            env=clean | environment,
            cwd=self.home,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
        """Run run.sh; its status, what it printed, and its complaints by line."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err.splitlines()

    def calls(self, part: str) -> list[str]:
        """All calls of a Python so far that have this in their arguments."""
        return [line for line in self.record.read_text().splitlines() if part in line] if self.record.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path)


def make_machine(tmp_path: Path) -> Machine:
    project, path, home = (tmp_path / name for name in ("a project's folder", "bin", "home"))
    for folder in (project, path, home):
        folder.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (path / tool).symlink_to(found)
    shutil.copy(ROOT / "run.sh", project)
    (project / "pyproject.toml").write_text("[project]\n")
    return Machine(project=project, path=path, home=home, record=tmp_path / "record")


def test_starts_mitmdump_with_the_addon_the_arguments_and_its_status(machine: Machine) -> None:
    machine.python()
    status, out, err = machine.run("--listen-port", "9000", "--set", "a=b c")
    assert out == (
        f"mitmdump -s {machine.project}/addon/pypi_cache.py --listen-port 9000 --set a=b c\nin {machine.home}\n"
    )
    assert status == 7
    assert [line.split(", with")[0] for line in err] == ["run.sh: Installing into .venv"]
    assert len(machine.calls(f"--editable {machine.project}")) == 1


@pytest.mark.parametrize("words", [("--workers", "2"), ("--workers=0",), ("--listen-port", "9000", "--workers", "2")])
def test_workers_are_started_by_the_command(machine: Machine, words: tuple[str, ...]) -> None:
    """mitmdump does not know the word."""
    machine.python()
    status, out, _ = machine.run(*words)
    assert (status, out) == (7, f"pypi-cache serve {' '.join(words)}\nin {machine.home}\n")


@pytest.mark.parametrize(
    ("words", "config", "wanted"),
    [
        (("--set", "pypi_cache_shared=s3://bucket"), "", True),
        (("--set=pypi_cache_shared=file:///srv/tier",), "", True),
        (("cli", "stats", "--set", "pypi_cache_shared=s3://bucket"), "", True),
        (("--workers", "2", "--set", "pypi_cache_shared=s3://bucket"), "", True),
        ((), "pypi_cache_offline: true\npypi_cache_shared: s3://bucket\n", True),
        ((), "'pypi_cache_shared': \"s3://bucket\"\n", True),
        (("--set", "pypi_cache_shared="), "", False),
        (("--set", "pypi_cache_shared_wait=1s"), "pypi_cache_shared_wait: 1s\n", False),
        ((), "# pypi_cache_shared: s3://bucket\npypi_cache_shared: ''\n", False),
    ],
)
def test_a_shared_tier_gets_what_it_needs(
    machine: Machine, words: tuple[str, ...], config: str, *, wanted: bool
) -> None:
    """Nobody else does. Without a second start's asking: obstore's folder is not there in the stand-in."""
    machine.python()
    (machine.home / ".mitmproxy").mkdir()
    (machine.home / ".mitmproxy" / "config.yaml").write_text(config)
    _, _, err = machine.run(*words)
    assert bool(machine.calls(f"--editable {machine.project}[shared]")) is wanted
    assert any("obstore" in line for line in err) is wanted


def test_the_command_installs_too_and_works_where_one_stands(machine: Machine) -> None:
    """`./run.sh cli import cache.tar` is the first thing that a machine behind an air gap does."""
    machine.python()
    status, out, err = machine.run("cli", "import", "a b.tar")
    assert (status, out) == (7, f"pypi-cache import a b.tar\nin {machine.home}\n")
    assert [line.split(", with")[0] for line in err] == ["run.sh: Installing into .venv"]


def test_a_second_start_calls_no_python(machine: Machine) -> None:
    machine.python()
    machine.run()
    before = machine.record.read_text()
    assert machine.run()[0] == 7
    assert machine.record.read_text() == before
    assert machine.run()[2] == []


def test_a_checkout_that_the_services_user_cannot_write() -> None:
    """What is installed is started, and an update waits for whoever may make it: a service must not fail for it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        machine = make_machine(Path(folder))
        machine.python()
        machine.run()
        installed = machine.record.read_text()
        (machine.project / "pyproject.toml").write_text("[project]\n# newer\n")
        machine.project.chmod(0o555)
        done = subprocess.run(
            ["bash", machine.project / "run.sh", "--listen-port", "9000"],
            env={"PATH": str(machine.path)},
            cwd="/",
            user=65534 if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, "--listen-port 9000" in done.stdout) == (7, True), done
        assert "starting what is installed; an update waits for ./run.sh cli" in done.stderr
        machine.project.chmod(0o755)
        assert machine.record.read_text() == installed
        assert machine.run()[2], "its owner installs"
        assert machine.record.read_text() != installed


def test_works_through_a_link_in_another_folder(machine: Machine) -> None:
    machine.python()
    (machine.home / "first").symlink_to(machine.project / "run.sh")
    (machine.home / "proxy").symlink_to("first")
    status, out, _ = machine.run(RUN_SH=str(machine.home / "proxy"))
    assert (status, f"-s {machine.project}/addon/pypi_cache.py" in out) == (7, True)


@pytest.mark.parametrize("argument", ["help", "-h", "--help"])
def test_help_installs_nothing(machine: Machine, argument: str) -> None:
    status, out, err = machine.run(argument)
    assert (status, out.startswith("usage: ./run.sh"), err) == (0, True, [])
    assert not (machine.project / ".venv").exists()


@pytest.mark.parametrize(("word", "hint"), [("warm", "./run.sh cli warm"), ("foo", "--listen-port")])
def test_a_word_that_is_none(machine: Machine, word: str, hint: str) -> None:
    """mitmdump would take it for a filter of flows, with all options behind it, and start a proxy on another port."""
    status, _, err = machine.run(word, "--listen-port", "3128")
    assert (status, len(err)) == (2, 1)
    assert word in err[0]
    assert hint in err[0]
    assert not (machine.project / ".venv").exists()


# ---- Which Python ----


def test_the_newest_name_on_path_is_taken(machine: Machine) -> None:
    for name in ("python3", "python3.12", "python3.13"):
        machine.python(name)
    machine.run()
    assert machine.calls("-m venv")[0].startswith("python3.13 ")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("echo 'pyenv: python3.13: command not found' >&2; exit 127", id="a pyenv shim without a version"),
        pytest.param("echo 'is Python 3.11' >&2; exit 1", id="an old one"),
        pytest.param("exit 0", id="says nothing"),
        pytest.param("echo hello", id="no interpreter at all"),
    ],
)
def test_a_python_that_does_not_run_is_passed_over_even_for_a_hidden_namesake(machine: Machine, broken: str) -> None:
    shims = machine.home / "shims"
    machine.script(shims / "python3.13", f"#!/bin/bash\n{broken}\n")
    good = machine.python("python3.13")
    status, _, err = machine.run(PATH=f"{shims}:{machine.path}")
    assert status == 7
    assert f"with {good} " in err[0]


def test_pyenvs_newest_is_taken_where_path_has_none(machine: Machine) -> None:
    versions = machine.home / ".pyenv" / "versions"
    for version in ("3.9.18", "3.12.10", "3.13.2", "3.13.10", "3.15.0a1", "miniconda3-latest"):
        machine.python("python3", at=versions / version / "bin")
    _, _, err = machine.run()
    assert f"with {versions}/3.13.10/bin/python3 " in err[0]


def test_pyenv_root_comes_before_home(machine: Machine, tmp_path: Path) -> None:
    machine.python("python3", at=machine.home / ".pyenv" / "versions" / "3.13.2" / "bin")
    machine.python("python3", at=tmp_path / "pyenv" / "versions" / "3.12.1" / "bin")
    _, _, err = machine.run(PYENV_ROOT=str(tmp_path / "pyenv"))
    assert f"with {tmp_path}/pyenv/versions/3.12.1/bin/python3 " in err[0]


def test_pyenvs_versions_are_found_beside_its_shim(machine: Machine, tmp_path: Path) -> None:
    """PYENV_ROOT is a variable of the shell alone, or HOME is another user's (sudo)."""
    root = tmp_path / "elsewhere"
    machine.script(root / "shims" / "python3", "#!/bin/bash\necho 'pyenv: python3: command not found' >&2; exit 127\n")
    machine.python("python3", at=root / "versions" / "3.12.9" / "bin")
    _, _, err = machine.run(PATH=f"{root / 'shims'}:{machine.path}")
    assert f"with {root}/versions/3.12.9/bin/python3 " in err[0]


def test_uv_is_asked_where_there_is_no_other(machine: Machine) -> None:
    managed = machine.python("python3.13", at=machine.home / "managed")
    machine.script(machine.path / "uv", f'#!/bin/bash\n[[ $1 == python && $2 == find ]] && echo "{managed}"\nexit 0\n')
    status, _, err = machine.run()
    assert (status, len(err)) == (7, 1)
    assert f"with {managed} " in err[0]


def test_uv_fetches_one_where_it_knows_none(machine: Machine) -> None:
    managed = machine.home / "managed" / "python3.13"
    ready = machine.python("ready", at=machine.home)
    ready.write_text(GOOD_PYTHON.replace("$SELF", str(managed)))
    machine.script(
        machine.path / "uv",
        f"""#!/bin/bash
case "$*" in
    "python install"*) mkdir -p "{managed.parent}"; cp "{ready}" "{managed}" ;;
    "python find"*) [[ -x "{managed}" ]] && echo "{managed}" ;;
esac
""",
    )
    status, _, err = machine.run()
    assert (status, len(err)) == (7, 2)
    assert "fetching one with uv" in err[0]
    assert f"with {managed} " in err[1]


def test_an_old_pythons_pip_brings_uv(machine: Machine) -> None:
    managed = machine.python("python3.13", at=machine.home / "managed")
    machine.script(
        machine.path / "python3",
        f"""#!/bin/bash
case "$*" in
    *"-m pip --version") ;;
    *"-m pip install"*" uv")
        target=$(for part; do [[ $last == --target ]] && echo "$part"; last=$part; done)
        mkdir -p "$target/bin"
        printf '#!/bin/bash\\n[[ "$*" == "python find"* ]] && echo "{managed}"; exit 0\\n' > "$target/bin/uv"
        chmod +x "$target/bin/uv" ;;
    *) exit 1 ;;
esac
""",
    )
    assert machine.run()[0] == 7
    assert (machine.project / ".tools" / "uv" / "bin" / "uv").exists()
    assert machine.calls("-m venv")[0].startswith("python3.13 ")


def test_no_python_is_one_line(machine: Machine) -> None:
    status, out, err = machine.run()
    assert (status, out, len(err)) == (1, "", 1)
    for part in ("run.sh: ", "3.12 or newer", "PATH", "pyenv", "uv", "apt install", "brew install", "PYTHON="):
        assert part in err[0]
    assert not (machine.project / ".venv").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no such program"),
        (
            "echo 'pyenv: python3: command not found' >&2\necho 'more' >&2\nexit 127",
            "pyenv: python3: command not found",
        ),
        ("echo 'is Python 3.11' >&2\nexit 1", "is Python 3.11"),
        (
            "printf 'Traceback (most recent call last):\\n  …\\nImportError: no ssl\\n' >&2\nexit 1",
            "ImportError: no ssl",
        ),
        ("exit 0", "it does not run"),
    ],
)
def test_an_unusable_chosen_python_is_one_line_whatever_else_there_is(
    machine: Machine, text: str | None, reason: str
) -> None:
    machine.python()
    chosen = machine.home / "python"
    if text is not None:
        machine.script(chosen, f"#!/bin/bash\n{text}\n")
    status, _, err = machine.run(PYTHON=str(chosen))
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith(f"run.sh: PYTHON={chosen} cannot be used: {reason};")


def test_a_python_without_ensurepip_gets_pip_from_another_pip(machine: Machine) -> None:
    """Debian without python3-venv."""
    lacking = machine.python("python3.12")
    lacking.write_text(
        lacking.read_text()
        .replace(
            "case",
            'case "$*" in *"-c import ensurepip") exit 1 ;; *"import sysconfig"*) echo /packages ;; esac\ncase',
            1,
        )
        .replace(f'echo "{lacking}" ;;', f'echo "{lacking}"; exit 3 ;;')
    )
    assert machine.run()[0] == 7
    assert machine.calls("-m venv --without-pip")
    assert machine.calls("--target /packages pip")


# ---- When to install again ----


def test_another_pyproject_installs_into_the_same_venv(machine: Machine) -> None:
    machine.python()
    machine.run()
    (machine.project / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    machine.run()
    assert (len(machine.calls("-m venv")), len(machine.calls("--editable"))) == (1, 2)


def _interpreter_gone(machine: Machine) -> None:
    (machine.path / "python3.13").rename(machine.path / "python3.12")
    machine.python("python3.12")


def _link_leads_elsewhere(machine: Machine) -> None:
    (machine.project / ".venv/bin/python").unlink()
    (machine.project / ".venv/bin/python").symlink_to(machine.python("python3.14"))


def _stamp_gone(machine: Machine) -> None:
    (machine.project / ".venv/.installed-run").unlink()


def _mitmdump_gone(machine: Machine) -> None:
    (machine.project / ".venv/bin/mitmdump").unlink()


@pytest.mark.parametrize("damage", [_interpreter_gone, _link_leads_elsewhere, _stamp_gone, _mitmdump_gone])
def test_a_broken_venv_is_made_anew(machine: Machine, damage: Callable[[Machine], None]) -> None:
    machine.python()
    machine.run()
    damage(machine)
    assert machine.run()[0] == 7
    assert len(machine.calls("-m venv")) == 2
    assert machine.run()[2] == []


def test_a_moved_folder_gets_a_new_venv(machine: Machine, tmp_path: Path) -> None:
    machine.python()
    machine.run()
    moved = machine.project.rename(tmp_path / "moved")
    assert machine.run(RUN_SH=str(moved / "run.sh"))[0] == 7
    assert len(machine.calls(f"-m venv {moved}/.venv")) == 1


def test_another_chosen_python_gets_a_new_venv_and_the_same_one_does_not(machine: Machine) -> None:
    machine.python("python3.13")
    machine.python("python3.12")
    machine.run()
    machine.run(PYTHON="python3.13")
    assert len(machine.calls("-m venv")) == 1
    machine.run(PYTHON="python3.12")
    machine.run(PYTHON="python3.12")
    machine.run()
    assert [call.split()[0] for call in machine.calls("-m venv")] == ["python3.13", "python3.12"]


def test_a_failed_install_shows_pips_words_and_is_tried_again(machine: Machine) -> None:
    machine.python()
    status, out, err = machine.run(PIP_FAILS="1")
    assert (status, out) == (1, "")
    assert err[1] == "no matching distribution"
    assert err[2].startswith("run.sh: the install failed")
    assert machine.run()[0] == 7


@pytest.mark.parametrize("tool", ["flock", "perl"])
def test_two_first_starts_at_once_install_once(machine: Machine, tool: str) -> None:
    """macOS has no flock: there, Perl takes the lock."""
    if not (machine.path / tool).exists():
        pytest.skip(f"no {tool} here")
    (machine.path / {"flock": "perl", "perl": "flock"}[tool]).unlink(missing_ok=True)
    machine.python()
    both = [machine.start(PIP_TAKES="0.5") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [7, 7]
    assert len(machine.calls("--editable")) == 1
    assert any("waiting for another run.sh" in error for error in errors)


def test_the_users_pip_settings_hold_but_nothing_leads_past_the_venv(machine: Machine) -> None:
    python = machine.python()
    python.write_text(python.read_text() + 'echo "$PIP_INDEX_URL ${PIP_USER:-} ${PIP_TARGET:-none}" >> "$RECORD.pip"\n')
    index = "https://index.example/simple"
    machine.run(PIP_INDEX_URL=index, PIP_USER="1", PIP_TARGET="/elsewhere")
    assert Path(f"{machine.record}.pip").read_text().splitlines()[-1] == f"{index} 0 none"


# ---- Tests ----


def test_test_adds_the_dev_group_once_and_runs_pytest(machine: Machine) -> None:
    machine.python()
    machine.run()
    status, out, _ = machine.run("test", "-k", "two words")
    assert (status, out.startswith("pytest -m pytest "), out.endswith(" -k two words\n")) == (0, True, True)
    group = f"--group {machine.project}/pyproject.toml:dev"
    assert machine.run("test")[2] == []
    assert machine.run()[2] == []
    assert (len(machine.calls(group)), len(machine.calls("-m venv"))) == (1, 1)


def test_bench_adds_its_group_which_has_all_that_the_tests_need(machine: Machine) -> None:
    machine.python()
    status, out, _ = machine.run("bench", "--quick", "B2")
    assert (status, out) == (0, f"-m tests.bench.compare --quick B2, in {machine.project}\n")
    assert len(machine.calls(f"--group {machine.project}/pyproject.toml:bench")) == 1
    for words in (("bench",), ("test",), ()):
        assert machine.run(*words)[2] == []


def test_docs_adds_its_group(machine: Machine) -> None:
    machine.python()
    status, out, _ = machine.run("docs", "--quiet")
    config = machine.project / "docs" / "mkdocs.yml"
    assert (status, out.partition(",")[0]) == (0, f"-m mkdocs build --strict --config-file {config} --quiet")
    assert len(machine.calls(f"--group {machine.project}/pyproject.toml:docs")) == 1
    for words in (("docs",), ("test",), ()):
        assert machine.run(*words)[2] == []


def test_the_tests_alone_do_not_bring_what_bench_needs(machine: Machine) -> None:
    machine.python()
    machine.run("test")
    assert machine.calls(":bench") == []
    machine.run("bench")
    assert (len(machine.calls(":bench")), len(machine.calls("-m venv"))) == (1, 1)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    scripts = [str(ROOT / "run.sh"), str(ROOT / ".ci" / "run")]
    assert subprocess.run(["shellcheck", *scripts], check=False, capture_output=True, text=True).stdout == ""


def test_the_scripts_may_be_run() -> None:
    assert all(os.access(ROOT / script, os.X_OK) for script in ("run.sh", ".ci/run"))
