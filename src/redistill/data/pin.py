"""Pin a source of the hub: ask for its newest commit once, and write it into configs/sources.yaml."""

from pathlib import Path

from redistill.config import compose
from redistill.data.from_url import UNPINNED
from redistill.errors import RedistillError, nearest
from redistill.provenance.store import write_atomically


def pin(root: Path, names: list[str]) -> dict[str, str]:
    """Pin these sources, or all that are `unpinned`; returns their commits by name. Sources that are pinned stay so.

    Raises:
        RedistillError: there is no such source, it is not of the hub, or the hub does not answer.
    """
    file = root / "configs" / "sources.yaml"
    sources = compose.load(file, "configs/sources.yaml")
    unpinned = [name for name, said in sources.data.items() if said["origin"].get("revision") == UNPINNED]
    for name in names:
        if name not in sources.data:
            raise RedistillError(f"there is no source `{name}`; {nearest(name, sources.data)}")
        if sources.data[name]["origin"]["type"] != "hub":
            raise RedistillError(f"the source `{name}` is not of the hub: it has no revision to pin")
    found: dict[str, str] = {}
    lines = file.read_text(encoding="utf-8").split("\n")
    for name in [name for name in names or unpinned if name in unpinned]:
        origin = sources.data[name]["origin"]
        found[name] = _newest(origin["repository"], origin.get("form", "model"))
        at = sources.place((name, "origin", "revision")).line - 1
        lines[at] = lines[at].replace(UNPINNED, found[name])
        write_atomically(file, "\n".join(lines))  # what was found stays found, if a later one fails
    return found


def _newest(repository: str, form: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    try:
        commit = HfApi().repo_info(repository, repo_type=form).sha
    except hub.RepositoryNotFoundError:
        raise RedistillError(f"{repository}: the hub has no such {form}, or asks for a log-in") from None
    except (hub.HTTPError, hub.OfflineModeIsEnabled, OSError) as error:
        raise RedistillError(f"{repository}: the hub did not answer ({type(error).__name__}): try again") from None
    if not commit:
        raise RedistillError(f"{repository}: the hub names no commit: try again")
    return str(commit)
