#!/usr/bin/env bash
# Makes .venv-validators: roc-validator, which checks crates, from envs/validators.lock. Does nothing when nothing changed.
set -euo pipefail
unset CDPATH PYTHONHOME PYTHONPATH
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-validators
stamp=$venv/.made-from
now=$(sha256sum envs/validators.lock)
if [[ -e $stamp && $(<"$stamp") == "$now" ]]; then
    exit 0
fi
python=${PYTHON:-$(bash envs/setup.sh --print-python)}
echo "validators: making $venv (41 packages, 88 MB)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r envs/validators.lock
printf '%s\n' "$now" >"$stamp"
