"""Write a study as a Workflow Run RO-Crate (profile Provenance Run Crate 0.5), which can be audited alone.

Entities are in `graph`, files in `contents`. SHA256SUMS has the digest of every file, the metadata's among them, so its
own digest stands for the crate. The same study gives the same bytes: the crate's date is that of the last record.
"""

import os
import shutil
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redistill.errors import RedistillError, writing
from redistill.exports import contents, graph, licences
from redistill.exports.facts import Study, read
from redistill.provenance import store, verify
from redistill.provenance.keys import sha256_text

SPECIFICATION = "1.1"  # of RO-Crate, which version 0.5 of the profile extends
METADATA = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
# What that context says of the terms used here; those of RO-Crate come with the package `rocrate`.
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
TERMS = {
    name: _TERMS + name
    for name in ("ParameterConnection", "connection", "resourceUsage", "sha256", "sourceParameter", "targetParameter")
}
README = """# {title}

The study `{study}` of redistill as a Workflow Run RO-Crate (profile Provenance Run Crate {version}): {metadata} says
for machines what is here, and how it came to be.

| here | what |
|---|---|
| results/{study}/ | tables, metrics, and the manifests of all that is behind them |
| store/ | each thing that was made, by its key: {runs} |
| store/records/ | when, on what and with what each thing was made |
| configs/, Snakefile, workflow/, envs/ | what made them |
| LICENCES.md | what everything that was used asks for |
| verify.py | the check below |

## Check it, here, alone

    python verify.py . --root {root}

needs Python 3.11 and nothing else. It compares every file with SHA256SUMS, the files of each thing with its manifest,
each manifest with its digest and its key, each record with what it is about, all manifests with the Merkle root, and
every number of every table with the root and with the metrics behind it. Take the root from a place that you trust,
such as the paper: it is printed under every table. `sha256sum SHA256SUMS` gives the digest that stands for the whole
crate, this text and the records included; `--sums HEX` checks it. What is not in the crate is counted, not checked.
Whether metrics follow from predictions, and who signed a seal, needs redistill:

    redistill audit {study}

in this folder, which is laid out as the project was.
"""
IN_STORE = {
    "none": "its manifest, and the metrics of cells and tables",
    "predictions": "its manifest, metrics, and of runs what they said, their logs and configs; no weights, no data",
    "all": "all of it",
}


def write(
    root: Path, name: str, to: Path, runs: str = "predictions", licence: str | None = None, author: str | None = None,
    force: bool = False,
) -> tuple[Path, str]:  # fmt: skip
    """Write a study's crate, check it, and put it in place; returns its folder and the digest that stands for it.

    Args:
        runs: what of each run is in it; see `contents.chosen`.
        licence: of the crate; that in CITATION.cff if not given.
        author: a person or an organisation that the crate names; nobody if not given.
        force: replace a crate that is there.

    Raises:
        RedistillError: the study is not published whole, the place is taken, or the crate does not pass its own check.
        IntegrityError: a file is not what results/ knows.
    """
    target = Path(os.path.abspath(to))
    _refuse(root, target, force)
    study = read(root, name)
    files = contents.chosen(study, runs)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with writing(target):
            _crate(study, files, runs, licence, author).write(beside)
            _sum_up(beside)
            _check(beside, study)
            if target.exists():
                shutil.rmtree(target)
            beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target, store.sha256_file(target / verify.SUMS)


def _refuse(root: Path, target: Path, force: bool) -> None:
    """Refuse a place that holds anything but a crate, before any work is done."""
    for taken in ("store", "results", "configs"):
        if target.is_relative_to(root / taken):
            raise RedistillError(f"{target} is in {taken}/, which holds other things: name another folder with --to")
    if root.resolve().is_relative_to(target.resolve()):  # which may be a crate itself
        raise RedistillError(f"{target} is the project, or holds it: name another folder with --to")
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise RedistillError(f"{target} is no folder: name another with --to")
    if any(target.iterdir()):
        if not ((target / METADATA).is_file() and (target / verify.SUMS).is_file()):
            raise RedistillError(f"{target} holds something else than a crate: name another folder with --to")
        if not force:
            raise RedistillError(f"{target} holds a crate: replace it with --force, or name another folder with --to")


def _crate(study: Study, files: dict[str, Path], runs: str, licence: str | None, author: str | None) -> Any:
    """The crate as the package `rocrate` writes it."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=SPECIFICATION)
    crate.metadata.extra_contexts.append(CONTEXT)
    digests = contents.digests(study, files)
    main = graph.described(study, "Snakefile", files["Snakefile"], digests["Snakefile"]) | graph.workflow(study)
    crate.add_workflow(files["Snakefile"], "Snakefile", main=True, lang="snakemake", properties=graph.one_or_more(main))
    for path, file in files.items():
        if path != "Snakefile":
            crate.add_file(file, path, properties=graph.described(study, path, file, digests[path]))
    for path, text in _texts(study, runs).items():
        said = {"name": path, "about": graph.ref("./"), "encodingFormat": "text/markdown", "sha256": sha256_text(text)}
        crate.add_file(StringIO(text), path, properties={**said, "contentSize": str(len(text.encode()))})
    agent = _head(crate, study, licence, author)
    for entity in (*graph.prospective(study), *graph.runs(study), *graph.things(study, files), *graph.licences(study)):
        identifier, properties = entity["@id"], {k: v for k, v in graph.one_or_more(entity).items() if k != "@id"}
        if entity["@type"] == "Dataset":
            crate.add_dataset(dest_path=identifier, properties=properties)
        else:
            acted = agent if str(entity["@type"]).endswith("Action") else {}
            crate.add(ContextEntity(crate, identifier, properties | acted))
    return crate


def _head(crate: Any, study: Study, licence: str | None, author: str | None) -> dict[str, Any]:
    """Write what the crate says of itself; returns what its actions say of who acted."""
    from rocrate.model.contextentity import ContextEntity

    said = licence or licences.of_project(study.root)
    if said is None:
        raise RedistillError("a crate must have a licence, and CITATION.cff names none: say it with --licence")
    for profile, (name, version) in graph.PROFILES.items():
        crate.add(ContextEntity(crate, profile, {"@type": "CreativeWork", "name": name, "version": version}))
    crate.add(ContextEntity(crate, graph.licence(said), {"@type": "CreativeWork", "name": said}))
    head = crate.root_dataset
    head["name"] = f"{study.title}: what was made, and how"
    head["description"] = (
        f"The knowledge-distillation study `{study.name}`: {len(study.published.tables)} tables, "
        f"{len(study.things)} things behind them, and how each was made"
    )
    head["datePublished"] = study.dates[1] if study.dates else "1970-01-01"
    head["license"] = graph.ref(graph.licence(said))
    head["identifier"] = study.published.digest
    head["conformsTo"] = graph.refs(graph.PROFILES)
    actions = ["#study", "#snakemake-run", *map(graph.action, study.things)]
    head["mentions"] = graph.refs(actions)
    if author is not None:
        place = f"#author/{quote(author, safe='')}"
        crate.add(ContextEntity(crate, place, {"@type": "Organization", "name": author}))
        head["author"] = head["publisher"] = graph.ref(place)
        return {"agent": graph.ref(place)}
    return {}


def _texts(study: Study, runs: str) -> dict[str, str]:
    readme = README.format(
        title=study.title, study=study.name, metadata=METADATA, version=graph.VERSION, root=study.published.digest,
        runs=IN_STORE[runs],
    )  # fmt: skip
    return {"README.md": readme, "LICENCES.md": licences.markdown(licences.report(study))}


def _sum_up(folder: Path) -> None:
    """Write SHA256SUMS, as `sha256sum -c` reads it."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    lines = [f"{store.sha256_file(folder / file)}  {file}\n" for file in files]
    (folder / verify.SUMS).write_text("".join(lines), encoding="utf-8")


def _check(folder: Path, study: Study) -> None:
    """Make sure that whoever gets the crate will find it right."""
    wrong = [said for right, said in verify.folder(folder, study.published.digest) if right is False]
    if wrong:
        raise RedistillError(
            f"the crate was not put in place, as it does not pass its own check: {wrong[0]}. `redistill audit "
            f"{study.name}` says more"
        )
