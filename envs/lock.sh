#!/usr/bin/env bash
# Makes envs/requirements.lock from the dependencies in pyproject.toml; `--upgrade` moves every version that may move.
# REDISTILL_LOCK names another file to make, as for builds without CUDA (docs/containers.md).
set -euo pipefail
unset CDPATH PYTHONHOME PYTHONPATH
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

lock=${REDISTILL_LOCK:-envs/requirements.lock}
python=${PYTHON:-$(bash envs/setup.sh --print-python)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [[ $version != 3.11 ]]; then
    echo "lock: the lock is made for Python 3.11, and $python is $version. Name one: make lock PYTHON=..." >&2
    exit 1
fi

echo "lock: making a throw-away environment for pip-tools"
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "pip-tools~=7.6"

echo "lock: resolving and hashing (some minutes)"
[[ ! -e $lock ]] || cp "$lock" "$scratch/requirements.lock"
"$scratch/venv/bin/pip-compile" pyproject.toml --extra dev --output-file "$scratch/requirements.lock" --quiet \
    --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@"
cat "$scratch/requirements.lock" >"$lock.new"
mv "$lock.new" "$lock"
echo "lock: $(grep -c '==' "$lock") packages in $lock"
