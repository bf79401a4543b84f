#!/usr/bin/env bash
# Builds, compares and runs the container's image; docs/containers.md shows each of these.
#
#   envs/image.sh build              the image, from the files of the last commit
#   envs/image.sh twice              build it twice without a cache, and say what differs between the two
#   envs/image.sh run COMMAND...     run a command in a fresh container, and remove that
#   envs/image.sh study [STUDY]      make a study in a fresh container, and compare its tables with those in results/
#   envs/image.sh list               the image's files: mode, owner, size, SHA-256
#   envs/image.sh sif [FILE]         the same for Apptainer (redistill.sif)
#   envs/image.sh base               a base image from Debian's packages (mmdebstrap), where no image registry is reached
#
#   IMAGE     the image's name (localhost/redistill)
#   BASE      of which image it is made; another one than envs/Containerfile names
#   REDISTILL_LOCK  another lock file than envs/requirements.lock
#   PIP_CONF  a pip.conf for the build: index, mirrors, proxies. A secret: the image does not have it
#   CA        a file of certificates that pip is to trust, for the build and for runs; not in the image either
#   BUILDAH   buildah with options, such as "buildah --root DIR --runroot DIR --storage-driver overlay"
#   CORES     how many cores a study is made on (all)
#   MIRROR    of Debian's packages, for a base
set -euo pipefail
unset CDPATH
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

IMAGE=${IMAGE:-localhost/redistill}
BASE=${BASE:-$(sed -n 's/^ARG BASE=//p' envs/Containerfile)}
LOCK=${REDISTILL_LOCK:-envs/requirements.lock}
BASE_OF_DEBIAN=localhost/redistill-base
read -ra buildah <<<"${BUILDAH:-buildah}"
scratch=$(mktemp -d)
container=""

say() { printf 'image: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}
clean_up() {
    [[ -z $container ]] || "${buildah[@]}" rm "$container" >/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT

needs() { command -v "$1" >/dev/null || fail "$1 is not installed. On Debian: apt install $1"; }
digest_of() { sha256sum "$1" | cut -c-64; }
id_of() { "${buildah[@]}" inspect --type image --format '{{.FromImageID}}' "$1"; }
layers_of() { "${buildah[@]}" inspect --type image --format '{{range .OCIv1.RootFS.DiffIDs}}{{println .}}{{end}}' "$1"; }

base_digest() {
    if [[ $BASE == *@sha256:* ]]; then
        printf '%s\n' "${BASE##*@}"
        return
    fi
    case $BASE in localhost/*) ;; *) "${buildah[@]}" pull --quiet "$BASE" >/dev/null ;; esac
    "${buildah[@]}" inspect --type image --format '{{.FromImageDigest}}' "$BASE"
}

build() {
    local name=$1 base digest arguments
    shift
    [[ -e $LOCK ]] || fail "there is no lock file $LOCK"
    git diff --quiet HEAD -- || say "what is not committed is not in the image"
    # Only what git has, so that the commit on the label says it all, and two builds are of the same files.
    rm -rf "$scratch/context"
    mkdir "$scratch/context"
    git archive HEAD | tar -x -C "$scratch/context"
    mkdir "$scratch/context/store"
    cp "$LOCK" "$scratch/context/$LOCK"
    base=$(base_digest) || fail "there is no base image $BASE: envs/image.sh base makes $BASE_OF_DEBIAN, then set BASE to it"
    arguments=(
        --build-arg "BASE=$BASE" --build-arg "BASE_DIGEST=$base" --build-arg "LOCK=$LOCK"
        --build-arg "LOCK_DIGEST=sha256:$(digest_of "$LOCK")" --build-arg "COMMIT=$(git rev-parse HEAD)"
    )
    [[ -z ${PIP_CONF:-} ]] || arguments+=(--secret "id=pip,src=$PIP_CONF")
    [[ -z ${CA:-} ]] || arguments+=(--secret "id=ca,src=$CA")
    "${buildah[@]}" bud --layers --force-rm --timestamp 0 --file "$scratch/context/envs/Containerfile" --tag "$name" \
        "${arguments[@]}" "$@" "$scratch/context" >&2
    say "$name is sha256:$(id_of "$name")"
}

start() { container=$("${buildah[@]}" from --pull-never "$1") || fail "there is no image $1: make image builds it"; }
stop() {
    "${buildah[@]}" rm "$container" >/dev/null
    container=""
}

list() {
    start "$1"
    python3 envs/files.py list "$("${buildah[@]}" mount "$container")"
    stop
}

twice() {
    local round
    for round in 1 2; do
        say "build $round of 2"
        build "$IMAGE-$round" --no-cache
        layers_of "$IMAGE-$round" >"$scratch/layers-$round"
        list "$IMAGE-$round" >"$scratch/files-$round"
        [[ $round == 2 ]] || "${buildah[@]}" rmi "$IMAGE-1" >/dev/null # there is rarely room for both
    done
    "${buildah[@]}" tag "$IMAGE-2" "$IMAGE" && "${buildah[@]}" rmi "$IMAGE-2" >/dev/null # the name alone: buildah 1.28 has no untag
    python3 envs/files.py compare "$scratch/files-1" "$scratch/files-2"
    cmp -s "$scratch/layers-1" "$scratch/layers-2" || fail "the files are the same, and the layers are not"
    say "both have the same files and the same layers"
}

run() {
    local options=(--env "REDISTILL_IMAGE=sha256:$(id_of "$IMAGE")")
    [[ -z ${CA:-} ]] || options+=(--volume "$CA:/run/ca.pem:ro" --env PIP_CERT=/run/ca.pem)
    "${buildah[@]}" run "${options[@]}" "$container" -- "$@"
}

study() {
    local name=${1:-embedded} made
    [[ -d results/$name ]] || fail "results/$name is not there to compare with"
    start "$IMAGE"
    run redistill environment "$name"
    run sh -c 'rm -rf "results/$1" && mkdir "results/$1"' sh "$name"
    run snakemake --cores "${CORES:-all}" --config "study=$name"
    made=$("${buildah[@]}" mount "$container")/redistill/results/$name
    rm -f "$made/report.html"
    git archive HEAD "results/$name" | tar -x -C "$scratch"
    diff -r "$scratch/results/$name" "$made" >&2 || fail "what was made in the image is not what git has: see above"
    say "results/$name was made in the image, byte for byte as git has it ($(ls "$made" | wc -l) files)"
    stop
}

sif() {
    needs apptainer
    local from=(--build-arg bootstrap=oci-archive --build-arg "from=$scratch/image.tar")
    if [[ $(id -u) == 0 ]]; then # then its files can be read where they lie
        start "$IMAGE"
        from=(--build-arg bootstrap=localimage --build-arg "from=$("${buildah[@]}" mount "$container")")
    else
        "${buildah[@]}" push --quiet "$IMAGE" "oci-archive:$scratch/image.tar" >&2
    fi
    apptainer build "${from[@]}" "$1" envs/redistill.def >&2
    [[ -z $container ]] || stop
    say "$1 is sha256:$(digest_of "$1")"
}

base() {
    needs mmdebstrap
    # No bytecode, as in the image itself; and none of what nobody reads in a container.
    SOURCE_DATE_EPOCH=0 mmdebstrap --variant=minbase --include=python3,python3-venv,git,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --customize-hook='find "$1/usr" -type d -name __pycache__ -prune -exec rm -rf {} +' \
        bookworm "$scratch/base.tar" ${MIRROR:+"$MIRROR"} >&2
    printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' >"$scratch/Containerfile"
    "${buildah[@]}" bud --timestamp 0 --file "$scratch/Containerfile" --tag "$BASE_OF_DEBIAN" "$scratch" >&2
    say "$BASE_OF_DEBIAN is sha256:$(id_of "$BASE_OF_DEBIAN"); build on it with BASE=$BASE_OF_DEBIAN"
}

main() {
    local what=${1:-}
    shift || true
    needs "${buildah[0]}"
    case $what in
        build) build "$IMAGE" ;;
        twice) twice ;;
        list) list "$IMAGE" ;;
        study) study "$@" ;;
        sif) sif "${1:-redistill.sif}" ;;
        base) base ;;
        run)
            start "$IMAGE"
            run "$@"
            stop
            ;;
        *) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
    esac
}

main "$@"
