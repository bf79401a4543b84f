#!/bin/sh
# For the image's build alone: installs one part of the lock below /parts, as it will lie below the image's root.
#
#   install.sh PART PYTHON LOCK     PART is tools, cuda, torch, rest (envs/parts.awk) or project
set -eu

part=$1 python=$2 lock=/locked/${3##*/}
venv=/opt/redistill
root=/parts/$part

# The user's own pip settings and certificates, where the build was given some.
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi

install() {
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --root-user-action ignore --quiet \
        --no-cache-dir --no-compile --no-deps --no-build-isolation "$@"
}

mkdir -p "$root$venv"
case $part in
    project)
        # Editable: whatever is mounted over /redistill is what runs.
        install --root "$root" --no-index --editable /redistill
        # Who is not in these has no name, which some libraries do not bear.
        mkdir -p "$root/etc"
        { cat /etc/passwd && echo 'redistill:x:1000:1000::/home/redistill:/bin/sh'; } >"$root/etc/passwd"
        { cat /etc/group && echo 'redistill:x:1000:'; } >"$root/etc/group"
        mkdir -p "$root/home/redistill"
        chmod 1777 "$root/home/redistill" # for users of other numbers too
        ;;
    *)
        awk -v part="$part" -f /locked/parts.awk "$lock" >"/locked/$part.lock"
        if [ "$part" = tools ]; then
            "$python" -m venv "$venv"
            install --require-hashes -r "/locked/$part.lock"
        elif [ -s "/locked/$part.lock" ]; then
            install --require-hashes --root "$root" -r "/locked/$part.lock"
        fi
        ;;
esac
find "$root" "$venv" -type d -name __pycache__ -prune -exec rm -rf {} +
