#!/usr/bin/env bash
# Starts the proxy, or its tests, on a machine where nothing is prepared: see usage below.
# Bash 3.2 (macOS) must do: no mapfile, no ${x,,}, no "${empty[@]}" under set -u.
set -euo pipefail
unset CDPATH PYTHONHOME # either would lead cd, or the virtual environment's Python, elsewhere

usage() {
    cat <<'END'
usage: ./run.sh [mitmdump's arguments]   start the proxy, on port 8080 unless --listen-port says otherwise
       ./run.sh --workers N […]           start N processes of it on one port (0: one a core)
       ./run.sh cli [arguments]           pypi-cache, the command that looks after the store (as .venv/bin/pypi-cache)
       ./run.sh test [pytest's arguments] run the tests
       ./run.sh lint                      ruff and mypy
       ./run.sh bench [--quick] [--save]  compare the proxy with nginx, Squid, proxpi, devpi and mitmdump (--help: more)
       ./run.sh docs                      build the documents as a site, in .site/
       ./run.sh help                      this text

The first start makes .venv and installs into it, as pip's settings (PIP_INDEX_URL, PIP_PROXY, pip.conf …) say.
PYTHON=/path/to/python3 chooses the interpreter (3.12 or newer).
All other options: .venv/bin/mitmdump --help; the addon's own: docs/pages/options.md.
END
}

say() { printf 'run.sh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

script=${BASH_SOURCE[0]}
while [[ -L $script ]]; do
    target=$(readlink "$script")
    case $target in
        /*) script=$target ;;
        *) script=$(dirname "$script")/$target ;;
    esac
done
root=$(cd -P "$(dirname "$script")" && pwd)
venv=$root/.venv
tools=$root/.tools # the lock, the log, and where needed a uv and a Python of our own

# ---- Is there anything to do? Bash alone answers, so that a second start costs nothing. ----

# A stamp is written last, when an install has finished. Its lines: the project's folder (scripts in .venv name it), the
# interpreter, and pyproject.toml as it was.
stamp_text() { printf '%s\n%s\n%s\n' "$root" "$1" "$(<"$root/pyproject.toml")"; }

# ours STAMP: did this script finish an install here, on an interpreter that is still the same? Sets installed_on.
ours() {
    local made_in
    [[ -f $1 && -x $venv/bin/python && -x $venv/bin/mitmdump ]] || return 1
    { IFS= read -r made_in && IFS= read -r installed_on; } <"$1" || return 1
    [[ $made_in == "$root" ]] || return 1
    # A link that now leads to another Python (python3 after a system upgrade) finds none of its packages. Where
    # the file system has no links, venv copies.
    [[ ! -L $venv/bin/python || $venv/bin/python -ef $installed_on ]]
}

# whole STAMP: ours, as today's pyproject.toml wants it, and on the Python that $PYTHON asks for, if it does.
whole() { ours "$1" && [[ $(<"$1") == "$(stamp_text "$installed_on")" ]] && on_asked_python; }

on_asked_python() {
    local asked
    [[ -n ${PYTHON:-} ]] || return 0
    asked=$(type -P "$PYTHON") || asked=
    [[ $asked -ef $installed_on ]] || [[ $(asked_python) == "$installed_on" ]]
}

# ---- A Python that really runs ----

# Prints the interpreter's own path, behind shims, links and virtual environments. Status 3: all but ensurepip is there (Debian
# without python3-venv). mitmproxy's binary parts are built for CPython with its lock.
# Any Python must be able to read this, to say that it is too old.
probe='
import os, sys
if sys.version_info < (3, 12):
    sys.exit("is Python %d.%d" % sys.version_info[:2])
if sys.implementation.name != "cpython" or "t" in sys.abiflags:
    sys.exit("is not the ordinary CPython")
import sqlite3, ssl, venv
print(os.path.realpath(sys._base_executable))
try:
    import ensurepip
except ImportError:
    sys.exit(3)
'
# -I: neither the current folder nor PYTHONPATH may put a module in the way.
try_python() {
    local found status=0
    found=$("$1" -I -c "$probe" </dev/null 2>/dev/null) || status=$?
    [[ -x $found ]] || return 1 # no interpreter's answer, whatever the status
    printf '%s\n' "$found"
    return "$status"
}

asked_python() {
    local status=0
    try_python "$PYTHON" || status=$?
    [[ $status == 0 || $status == 3 ]]
}

# All that PATH has, not only the first: a pyenv shim that fails may hide the system's own.
pythons_on_path() {
    local name
    for name in "$@"; do type -aP "$name" || true; done
}

pythons_of_pyenv() {
    local folder version names plain shim
    # Beside a shim on PATH, too: PYENV_ROOT need not be exported, and HOME may be another user's.
    while IFS= read -r folder; do
        [[ -d $folder/versions ]] || continue
        names=$(for version in "$folder"/versions/*; do printf '%s\n' "${version##*/}"; done |
            LC_ALL=C sort -t . -k 1,1nr -k 2,2nr -k 3,3nr)
        for plain in yes no; do # 3.13.2 before 3.15-dev, 3.15.0a1 and miniconda3-latest
            while IFS= read -r version; do
                case $version in *[!0-9.]*) [[ $plain == no ]] ;; *) [[ $plain == yes ]] ;; esac || continue
                printf '%s\n' "$folder/versions/$version/bin/python3"
            done <<<"$names"
        done
    done < <(
        printf '%s\n' "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"
        pythons_on_path python3 python | while IFS= read -r shim; do
            case $shim in */shims/*) printf '%s\n' "${shim%/shims/*}" ;; esac
        done
    )
}

# Sets python.
find_python() {
    local candidate found status without_ensurepip='' hint=''
    if [[ -n ${PYTHON:-} ]]; then
        python=$(asked_python) || die "$(asked_python_fails)"
        return
    fi
    while IFS= read -r candidate; do
        status=0
        found=$(try_python "$candidate") || status=$?
        if [[ $status == 0 ]]; then
            python=$found
            return
        elif [[ $status == 3 && -z $without_ensurepip ]]; then
            without_ensurepip=$found
        fi
    done < <(
        pythons_on_path python3.14 python3.13 python3.12 python3
        pythons_of_pyenv
    )
    if [[ -n $without_ensurepip ]]; then
        python=$without_ensurepip
        if any_pip --version >/dev/null 2>&1; then return; fi
    fi
    if python=$(python_from_uv); then return; fi
    if [[ -n $without_ensurepip ]]; then
        hint="; $without_ensurepip would do, but has no ensurepip: apt install ${without_ensurepip##*/}-venv"
    fi
    die "no Python 3.12 or newer that runs: looked for python3.14, 3.13, 3.12 and python3 on PATH, in" \
        "pyenv's versions, and asked uv (what it said: $tools/python.log); install one (Debian 13, Ubuntu 24.04:" \
        "apt install python3 python3-venv; macOS: brew install python; pyenv install 3.13; uv python install 3.13)" \
        "or set PYTHON=/path/to/python3$hint"
}

asked_python_fails() {
    local why='there is no such program'
    if type -P "$PYTHON" >/dev/null; then
        why=$("$PYTHON" -c "$probe" </dev/null 2>&1 >/dev/null) || true
        case $why in
            Traceback*) why=${why##*$'\n'} ;; # its last line says what is wrong
            *) why=${why%%$'\n'*} ;;
        esac
    fi
    printf '%s\n' "PYTHON=$PYTHON cannot be used: ${why:-it does not run}; it must be a Python 3.12 or newer that runs"
}

# any_pip ARGUMENTS…: of all pips that there are, of any Python, runs the first that succeeds with them. It serves to get
# the first thing onto the machine: a uv, or the pip of a .venv that was made without.
any_pip() {
    local command pip status=1
    mkdir -p "$tools"
    while [[ $status != 0 ]] && IFS= read -r command; do
        case ${command##*/} in
            pip*) pip=("$command") ;;
            *) pip=("$command" -I -m pip) ;;
        esac
        if ! "${pip[@]}" --version </dev/null >/dev/null 2>&1; then
            rm -rf "$tools/venv"
            "$command" -I -m venv "$tools/venv" </dev/null >/dev/null 2>&1 || continue
            pip=("$tools/venv/bin/python" -I -m pip)
        fi
        if "${pip[@]}" "$@" </dev/null >&2; then status=0; fi
    done < <(
        if [[ -n ${python:-} ]]; then printf '%s\n' "$python"; fi
        pythons_on_path python3 python pip3 pip
    )
    rm -rf "$tools/venv"
    return "$status"
}

uv_on_path() {
    local uv
    uv=$(type -P uv) && "$uv" --version >/dev/null 2>&1 && printf '%s\n' "$uv" # a shim may fail here, too
}

# Prints the path of a Python that uv knows, or else fetches.
python_from_uv() {
    local uv found
    if [[ -t 2 ]]; then say "no Python 3.12 or newer is installed; asking uv for one …"; fi
    mkdir -p "$tools"
    : >"$tools/python.log"
    {
        if ! uv=$(uv_on_path); then
            uv=$(private_uv) || return 1
            export UV_PYTHON_INSTALL_DIR=${UV_PYTHON_INSTALL_DIR:-$tools/python}
        fi
        export UV_PYTHON_INSTALL_BIN=0 # no links into ~/.local/bin
        export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true} UV_NATIVE_TLS=${UV_NATIVE_TLS:-true} # as pip; the older name
        if ! { found=$("$uv" python find --system '>=3.12') && found=$(try_python "$found"); }; then
            say "no Python 3.12 or newer is installed: fetching one with uv, which may take a minute …" 2>&8
            "$uv" python install 3.13 >&2 || return 1
            found=$(UV_PYTHON_PREFERENCE=only-managed "$uv" python find --system 3.13) || return 1
            found=$(try_python "$found") || return 1
        fi
        printf '%s\n' "$found"
    } 8>&2 2>>"$tools/python.log"
}

# Prints the path of a uv in a folder of our own.
private_uv() {
    local uv=$tools/uv/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
        rm -rf "$tools/uv"
        any_pip install --quiet --no-input --target "$tools/uv" uv || return 1
    fi
    "$uv" --version >/dev/null && printf '%s\n' "$uv"
}

# ---- The install ----

# One installer at a time. The lock is the open file's, so it ends with the last process that has it, killed or not.
lock() {
    { mkdir -p "$tools" && : >>"$tools/lock"; } 2>/dev/null || die "cannot write in $root"
    exec 9>>"$tools/lock"
    take_lock -n && return
    say "waiting for another run.sh that is installing here …"
    take_lock || die "cannot lock $tools/lock"
}
take_lock() {
    if type -P flock >/dev/null; then
        flock "$@" 9
    else # macOS has no flock, but Perl
        perl -e 'open(LOCK, ">>&=", 9) && flock(LOCK, 2 | (@ARGV ? 4 : 0)) or exit 1' -- ${1:+"$1"}
    fi
}

# quietly COMMAND…: its output is shown if it fails, and kept in a log.
quietly() {
    if ! "$@" </dev/null >"$tools/install.log" 2>&1; then
        cat "$tools/install.log" >&2
        return 1
    fi
}

make_venv() {
    local packages
    rm -rf "$venv"
    if "$python" -I -c 'import ensurepip' 2>/dev/null; then
        quietly "$python" -I -m venv "$venv" || die "$python could not make a virtual environment: see above"
    else
        quietly "$python" -I -m venv --without-pip "$venv" || die "$python could not make a virtual environment: see above"
        packages=$("$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        quietly any_pip install --quiet --no-input --target "$packages" pip ||
            die "$python has no ensurepip, and pip could not be had otherwise: apt install ${python##*/}-venv"
    fi
}

pip_install() { quietly "$venv/bin/python" -I -m pip install --quiet --no-input "$@"; }

# install run|dev|bench|docs: makes .venv what pyproject.toml says; the last three with its dependency group of that name.
install() {
    if whole "$venv/.installed-$1"; then return; fi
    if [[ $1 == run && ! -w $root ]] && ours "$venv/.installed-run"; then
        say "$root is not this user's to write: starting what is installed; an update waits for ./run.sh cli --version by its owner"
        return
    fi
    (install_locked "$1") # a subshell: it changes the environment
}
install_locked() {
    local python
    # pip's settings stay in force, but for those that would lead packages past .venv.
    export PIP_USER=0
    unset PIP_TARGET PIP_PREFIX PIP_ROOT
    lock
    whole "$venv/.installed-$1" && return # another start has done it meanwhile
    if { ours "$venv/.installed-run" || ours "$venv/.installed-dev"; } && on_asked_python; then
        say "Installing what pyproject.toml asks for into .venv …"
    else
        find_python
        installed_on=$python
        say "Installing into .venv, with $python (once, about half a minute) …"
        make_venv
    fi
    rm -f "$venv"/.installed-*
    if [[ $1 != run ]]; then
        # pip knows dependency groups (PEP 735) from 25.1 on
        pip_install 'pip>=25.1' && pip_install --editable "$root" --group "$root/pyproject.toml:$1"
    else
        pip_install --editable "$root"
    fi || die "the install failed: see pip's output above; the next start tries again"
    [[ -x $venv/bin/mitmdump ]] || die "the install brought no mitmdump: see dependencies in pyproject.toml"
    write_stamp run
    case $1 in
        dev) write_stamp dev ;;
        bench | docs) write_stamp dev && write_stamp "$1" ;; # they have all of dev
    esac
}
write_stamp() {
    stamp_text "$installed_on" >"$venv/.unfinished"
    mv "$venv/.unfinished" "$venv/.installed-$1"
}

# The extra `shared` (obstore), for those alone whose arguments or config.yaml name a shared tier.
install_shared() {
    local confdir=${HOME:-}/.mitmproxy asked='' word config='' packages
    local named=$'(^|\n)["\']?pypi_cache_shared["\']?:[ ]*["\']?[a-z]'
    for word in "$@"; do
        case ${word#--set=} in
            confdir=*) confdir=${word#*confdir=} ;;
            pypi_cache_shared=?*) asked=yes ;;
        esac
    done
    if [[ -r $confdir/config.yaml ]]; then config=$(<"$confdir/config.yaml"); fi
    if [[ -z $asked && ! $config =~ $named ]]; then return; fi
    packages=("$venv"/lib/python3*/site-packages/obstore)
    if [[ -d ${packages[0]} ]]; then return; fi
    say "Installing obstore, for pypi_cache_shared …"
    (lock && pip_install --editable "${root}[shared]") || die "obstore cannot be installed: see pip's output above"
}

# ---- What was asked for ----

case ${1:-} in
    help | -h | --help)
        usage
        ;;
    cli)
        shift
        install run
        install_shared "$@"
        exec "$venv/bin/pypi-cache" "$@"
        ;;
    test)
        shift
        install dev
        cd "$root"
        unset PYTHONDONTWRITEBYTECODE # what one process compiles, the others read
        exec "$venv/bin/python" -m pytest -n 4 --dist worksteal "$@" # each works through whole modules, whose proxies start once
        ;;
    lint)
        install dev
        cd "$root"
        status=0
        "$venv/bin/ruff" check . || status=1
        "$venv/bin/ruff" format --check . || status=1
        "$venv/bin/mypy" || status=1
        exit "$status"
        ;;
    bench)
        shift
        install bench
        cd "$root"
        exec "$venv/bin/python" -m tests.bench.compare "$@"
        ;;
    docs)
        shift
        install docs
        exec "$venv/bin/python" -m mkdocs build --strict --config-file "$root/docs/mkdocs.yml" "$@"
        ;;
    stats | ls | purge | verify | warm | export | import | doctor)
        say "$1: no word of run.sh's; expected ./run.sh cli $1 …"
        exit 2
        ;;
    [a-z]*)
        say "$1: expected cli, test, lint, bench, docs, help, or mitmdump's options such as --listen-port 3128"
        exit 2
        ;;
    *)
        install run
        install_shared "$@"
        for word in "$@"; do
            case $word in --workers | --workers=*) exec "$venv/bin/pypi-cache" serve "$@" ;; esac
        done
        exec "$venv/bin/mitmdump" -s "$root/addon/pypi_cache.py" "$@"
        ;;
esac
