#!/bin/sh
# For the image's build alone: installs one part of the lock that lies beside this file, or what redistill itself needs.
#
#   install.sh tools PYTHON        the virtual environment, with the pip of the lock
#   install.sh cuda|torch|rest     a part of the lock, as parts.awk has them
#   install.sh project             redistill's entry points, and its user, below /project
set -eu

part=$1
beside=$(cd "$(dirname "$0")" && pwd)
venv=/opt/redistill
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONDONTWRITEBYTECODE=1 HOME="$scratch"

# The user's own pip settings and certificates, where the build was given some.
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi

install() {
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --root-user-action ignore --quiet \
        --no-cache-dir --no-compile --no-deps --no-build-isolation --no-warn-script-location "$@"
}

if [ "$part" = project ]; then
    # Editable: whatever is mounted over /redistill is what runs.
    install --root /project --no-index --editable /redistill
    # Who is not in these has no name, which some libraries do not bear.
    mkdir -p /project/etc /project/home/redistill
    { cat /etc/passwd && echo 'redistill:x:1000:1000::/home/redistill:/bin/sh'; } >/project/etc/passwd
    { cat /etc/group && echo 'redistill:x:1000:'; } >/project/etc/group
    chmod 1777 /project/home/redistill # for users of other numbers too
    exit
fi
awk -v part="$part" -f "$beside/parts.awk" "$beside"/*.lock >"$scratch/part.lock"
if [ "$part" = tools ]; then
    "$2" -m venv "$venv"
    install --require-hashes -r "$scratch/part.lock"
    find "$venv" -type d -name __pycache__ -prune -exec rm -rf {} +
elif [ -s "$scratch/part.lock" ]; then
    install --require-hashes -r "$scratch/part.lock"
fi
if [ "$part" = rest ]; then "$venv/bin/python" -m pip --disable-pip-version-check check; fi
