#!/usr/bin/env bash
# Makes .venv: the exact packages of envs/requirements.lock, then the project itself. Safe to run again at any time.
#
#   envs/setup.sh                  make or mend .venv; does nothing when nothing changed
#   envs/setup.sh --check-only     say which Python would be used and whether there is room; change nothing
#   envs/setup.sh --print-python   print the Python that would be used
#
#   PYTHON                  the Python to use, in place of the first on PATH that fits
#   REDISTILL_MIN_FREE_GB   free disk that a new .venv needs (8)
#   REDISTILL_LOCK          another lock file than envs/requirements.lock
set -euo pipefail
unset CDPATH PYTHONHOME PYTHONPATH
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
lock=${REDISTILL_LOCK:-envs/requirements.lock}
log=$venv/setup.log
stamp=$venv/.setup-done             # what a finished .venv was made from, then the packages that it has
unfinished=$venv/.setup-unfinished  # is there from the first change to .venv until the last
needed_gb=${REDISTILL_MIN_FREE_GB:-8}

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Prints "VERSION EXECUTABLE"; the executable is the one behind a virtual environment or a shim.
probe() {
    "$1" -c 'import sys; print("%d.%d.%d %s" % (*sys.version_info[:3], sys._base_executable or sys.executable))' 2>/dev/null </dev/null ||
        "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null
}

find_python() {
    local candidate candidates=(python3.11 python3 python3.12 python3.13 python3.14) found major minor too_old=""
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        found=$(probe "$candidate") || continue
        read -r version python <<<"$found"
        IFS=. read -r major minor _ <<<"$version"
        if ((major == 3 && minor >= 11)); then
            python=${python:-$(command -v "$candidate")}
            return
        fi
        too_old=${too_old:-"$candidate is $version"}
    done
    [[ -z ${PYTHON:-} || -n $too_old ]] || fail "PYTHON=$PYTHON does not run."
    fail "redistill needs Python 3.11 or newer${too_old:+, and $too_old}. Install one, or name it: make setup PYTHON=..."
}

check_python() {
    find_python
    [[ $version == 3.11.* ]] || printf 'setup: warning: this is Python %s; redistill is tested on 3.11 only.\n' "$version" >&2
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null ||
        fail "$python cannot make virtual environments. On Debian: apt install python${version%.*}-venv"
}

check_space() {
    local place=.
    [[ ! -d $venv ]] || place=$venv/
    local free_kb
    free_kb=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
    awk -v kb="$free_kb" -v gb="$needed_gb" 'BEGIN { exit !(kb * 1024 >= gb * 1e9) }' ||
        fail "a new .venv needs $needed_gb GB of free disk, and $PWD has $((free_kb * 1024 / 1000000000)) GB."
    # Where there is just enough, there is none for pip's cache of the downloads, 3 GB.
    ((free_kb * 1024 / 1000000000 >= needed_gb + 4)) || export PIP_NO_CACHE_DIR=1
}

# What a .venv made now would be made from; the place counts because scripts in .venv name it.
inputs() {
    sha256sum "$lock" pyproject.toml
    printf 'python %s\nplace %s\n' "$1" "$PWD"
}

venv_version() {
    local found
    found=$(probe "$venv/bin/python") && printf '%s\n' "${found%% *}"
}

has_its_packages() {
    local site=("$venv"/lib/python3.*/site-packages) package
    while read -r package; do
        [[ -d ${site[0]}/$package ]] || return 1
    done < <(tail -n +5 "$stamp")
}

is_wanted_python() { [[ -z ${PYTHON:-} ]] || { find_python && [[ $version == "$1" ]]; }; }

# new: nothing there. foreign: not ours to touch. broken: start afresh. stale: bring up to date. current: nothing to do.
state() {
    local contents made_with
    contents=$(ls -A "$venv" 2>/dev/null | grep -v '^\.setup-lock$' || true)
    if [[ -z $contents ]]; then
        echo new
    elif [[ -e $unfinished ]]; then
        echo broken
    elif [[ ! -e $venv/pyvenv.cfg ]]; then
        echo foreign
    elif ! made_with=$(venv_version) || ! is_wanted_python "$made_with"; then
        echo broken
    elif [[ ! -e $stamp ]]; then
        echo stale
    elif [[ $(sed -n 4p "$stamp") != "place $PWD" ]]; then
        echo broken
    elif [[ $(head -n 4 "$stamp") == "$(inputs "$made_with")" && -x $venv/bin/redistill ]] && has_its_packages; then
        echo current
    else
        echo stale
    fi
}

run_pip() {
    local status=0
    # Downloads are unpacked beside .venv: its disk was checked, and /tmp is often small.
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_USER=0 TMPDIR=$PWD/$venv/.setup-tmp \
        "$venv/bin/python" -m pip --no-input "$@" >>"$log" 2>&1 </dev/null || status=$?
    [[ $status -eq 0 ]] || explain
}

explain() {
    awk '/^Traceback/ { skip = 1; next } skip && /^[^ ]/ { skip = 0 } !skip' "$log" | tail -n 12 | sed 's/^/    /' >&2
    # What pip finds before it installs anything leaves a .venv as it was.
    if grep -qi 'do not match the hashes' "$log"; then
        [[ $kind != stale ]] || rm -f "$unfinished"
        fail "a package is not the one that $lock names: its hash differs. Nothing of it was installed."
    elif grep -qE 'No space left on device|Errno 28|Disk quota exceeded' "$log"; then
        fail "the disk is full: $needed_gb GB are needed for .venv. Make room and run make setup again."
    elif grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Max retries|Connection (refused|reset|aborted|broken)|[Tt]imed? ?out|from versions: none' "$log"; then
        [[ $kind != stale ]] || rm -f "$unfinished"
        fail "could not reach a package index: check the network or pip's index setting, then run make setup again."
    elif [[ $made_with == 3.11.* ]]; then
        fail "pip failed; all it said is in $log. make setup starts again."
    fi
    fail "pip failed, perhaps because this is Python $made_with and not 3.11; all it said is in $log."
}

lock_is_installed() {
    [[ -e $stamp && $(head -n 1 "$stamp") == "$(sha256sum "$lock")" ]] && has_its_packages
}

locked_names() { sed -nE 's/^([A-Za-z0-9._-]+)==.*/\1/p' "$lock" | normalise; }
normalise() { tr 'A-Z_.' 'a-z--' | LC_ALL=C sort; }

install_lock() {
    # First the build tools, so that what has no wheel is built with the locked ones. Then the largest packages, in parts:
    # the downloads of one are gone before the next comes, or 8 GB would not do.
    local part parts=('(pip|setuptools)==' 'nvidia-' '(torch|triton)==')
    for part in "${parts[@]}"; do
        awk -v part="^$part" '/^[A-Za-z0-9]/ { keep = $0 ~ part } keep' "$lock" >"$venv/.setup-part"
        [[ ! -s $venv/.setup-part ]] || run_pip install --require-hashes --no-deps -r "$venv/.setup-part"
    done
    run_pip install --require-hashes --no-build-isolation -r "$lock"

    local extra
    extra=$("$venv/bin/python" -m pip list --format=freeze --exclude redistill 2>>"$log" | sed 's/==.*//' | normalise |
        LC_ALL=C comm -23 - <(locked_names))
    if [[ -n $extra ]]; then
        say "removing what the lock does not have:" $extra
        run_pip uninstall --yes $extra
    fi
}

install() {
    local kind=$1 made_with started=$SECONDS packages
    trap 'fail "interrupted; run make setup again."' INT TERM HUP
    touch "$unfinished"
    if [[ $kind != stale ]]; then
        [[ -n ${version:-} ]] || check_python
        find "$venv/" -mindepth 1 ! -name '.setup-unfinished' ! -name '.setup-lock' -delete
        check_space
        say "making .venv with Python $version"
        "$python" -m venv "$venv" >"$log" 2>&1 || { tail -n 5 "$log" >&2 && fail "$python could not make .venv."; }
    fi
    : >"$log"
    mkdir -p "$venv/.setup-tmp"
    made_with=$(venv_version)
    packages=$(locked_names | wc -l)
    if ! lock_is_installed; then
        say "installing $packages packages from $lock (6 GB, some minutes); pip's words go to $log"
        install_lock
    fi
    say "installing redistill"
    run_pip install --no-index --no-deps --no-build-isolation --editable .

    inputs "$made_with" >"$stamp.new"
    (cd "$venv"/lib/python3.*/site-packages && ls -d ./*.dist-info) >>"$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -rf "$venv/.setup-tmp" "$venv/.setup-part" "$unfinished"
    say "done: .venv has Python $made_with and $packages locked packages ($((SECONDS - started)) s)"
}

main() {
    case ${1:-} in
        --print-python)
            find_python
            printf '%s\n' "$python"
            return
            ;;
        --check-only)
            check_python
            check_space
            say "Python $version ($python) and at least $needed_gb GB of free disk: setup can run."
            return
            ;;
        "") ;;
        *) fail "unknown option $1; there are --check-only and --print-python." ;;
    esac

    local now
    now=$(state)
    if [[ $now != current ]]; then
        [[ $now != foreign ]] || fail "$PWD/.venv is not a virtual environment: move it away."
        [[ $now == stale ]] || check_python
        mkdir -p "$venv"
        exec 9>>"$venv/.setup-lock"
        if command -v flock >/dev/null; then
            flock -n 9 || { say "another setup is running here: waiting for it" && flock 9; }
            now=$(state)
        fi
    fi
    if [[ $now == current ]]; then
        say "nothing to do"
    else
        install "$now"
    fi
}

main "$@"
