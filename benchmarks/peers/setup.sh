#!/usr/bin/env bash
# Makes .venv-peers: torchdistill beside the torch, transformers and accelerate that .venv has, without a copy of them.
# The peers' own packages come first on its path, then those of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages() {
    "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

[ -x .venv/bin/python ] || { echo "no .venv: run make setup first" >&2; exit 1; }
rm -rf .venv-peers
.venv/bin/python -m venv --without-pip .venv-peers
.venv/bin/python -m pip --python .venv-peers/bin/python install --quiet --disable-pip-version-check --no-deps \
    -r benchmarks/peers/requirements.txt
own=$(packages .venv-peers/bin/python)
shared=$(packages .venv/bin/python)
realpath --relative-to="$own" "$shared" > "$own/shared.pth"
.venv-peers/bin/python -c 'import accelerate, torch, torchdistill, transformers
for package in (torch, transformers, accelerate):
    print(package.__name__, package.__version__)'
