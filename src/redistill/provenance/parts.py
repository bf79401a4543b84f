"""What the keys of a study are made of, in one file of a size for git: what many keys share is written once."""

from typing import Any

from redistill.provenance.keys import key_of

Parts = dict[str, Any]
SHARED = ("config", "code", "packages")  # written once each, under their digests
SEED = "seed"  # of a run's config: what is left is shared by all seeds


def shared(parts: dict[str, Parts]) -> dict[str, Any]:
    """Parts by key, without `inputs` and `kind`, which manifests.json has: pieces by digest, and their places."""
    pieces: dict[str, Any] = {name: {} for name in SHARED}
    keys: dict[str, dict[str, Any]] = {}
    for key, said in parts.items():
        config = {name: value for name, value in said["config"].items() if name != SEED}
        places = {}
        for name, piece in (("config", config), ("code", said["code"]), ("packages", said["packages"])):
            places[name] = key_of({name: piece})
            pieces[name][places[name]] = piece
        keys[key] = places | ({SEED: said["config"][SEED]} if SEED in said["config"] else {})
    return pieces | {"keys": keys}
