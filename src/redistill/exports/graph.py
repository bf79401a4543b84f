"""The entities of a crate (Workflow Run RO-Crate, profile Provenance Run Crate 0.5): who made what, of what, with what.

What a step takes and gives is a folder of the store. A setting is one entity wherever it has the same value, and so is
an environment; a number of a table is a `PropertyValue`, the result of the action that computed it.
"""

import json
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redistill import __version__
from redistill.exports import facts
from redistill.exports.contents import of_things
from redistill.exports.facts import Made, Study
from redistill.provenance.keys import canonical, sha256_text
from redistill.provenance.published import Thing

Entity = dict[str, Any]
VERSION = "0.5"
PROFILES = {
    f"https://w3id.org/ro/wfrun/process/{VERSION}": ("Process Run Crate", VERSION),
    f"https://w3id.org/ro/wfrun/workflow/{VERSION}": ("Workflow Run Crate", VERSION),
    f"https://w3id.org/ro/wfrun/provenance/{VERSION}": ("Provenance Run Crate", VERSION),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
COMPLETED = "http://schema.org/CompletedActionStatus"
# Quantities of a record, and the QUDT units that they are in.
USAGE = {
    "seconds": ("wall-clock time", "SEC"),
    "core_seconds": ("processor time, all cores together", "SEC"),
    "peak_memory_mib": ("memory at its peak", "MebiBYTE"),
    "energy_of_processors": ("energy of the processors, whatever else ran beside", "J"),
    "energy_of_devices": ("energy of the devices, whatever else ran beside", "J"),
}
ENCODINGS = {
    ".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv", ".md": "text/markdown",
    ".tsv": "text/tab-separated-values", ".tex": "application/x-tex", ".yaml": "application/yaml",
    ".parquet": "application/vnd.apache.parquet", ".safetensors": "application/octet-stream",
    ".npy": "application/octet-stream", ".py": "text/x-python", ".smk": "text/x-python", ".cff": "application/yaml",
}  # fmt: skip
# Tables are made of other settings than runs: their rows, which the table itself says.
WITHOUT_SETTINGS = ("table", "scores", "choice", "submission")


def ref(identifier: str) -> Entity:
    return {"@id": identifier}


def refs(identifiers: Iterable[str]) -> list[Entity]:
    return [ref(identifier) for identifier in dict.fromkeys(identifiers)]


def one_or_more(entity: Entity) -> Entity:
    """An entity as RO-Crate writes it: a list of one is that one, and an empty one is left out."""
    kept = {name: value for name, value in entity.items() if value != []}
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in kept.items()}


def _add(shared: dict[str, Entity], kind: str, told: Any, said: Entity) -> str:
    """Put an entity among those that are the same wherever they are told the same; returns its identifier."""
    identifier = f"#{kind}-{sha256_text(canonical(told))[:12]}"
    shared[identifier] = {"@id": identifier, **said}
    return identifier


def folder(thing: Thing) -> str:
    return f"store/{thing.area}/{thing.key}/"


def action(thing: Thing) -> str:
    return f"#make-{thing.key}"


def number(place: str) -> str:
    return f"#number/{quote(place)}"


def absent(path: str) -> str:
    """A file that a crate does not have."""
    return f"#{quote(path)}"


def licence(said: str) -> str:
    return f"#licence/{quote(said, safe='')}"


# --- what was planned -------------------------------------------------------------------------------------------------


def workflow(study: Study) -> Entity:
    """What the Snakefile is, beside a file."""
    kinds = _kinds(study)
    return {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "redistill: the workflow of a study",
        "description": "Makes every table of a study; each rule makes the things of one kind",
        "version": __version__,
        "hasPart": refs(f"#tool-{kind}" for kind in kinds),
        "step": refs(f"#step-{kind}" for kind in kinds),
        "input": refs(["#study-name"]),
        "output": refs(["#study-tables"]),
    }


def _kinds(study: Study) -> list[str]:
    there = {thing.kind for thing in study.things}
    return [kind for kind in facts.DOES if kind in there]


def prospective(study: Study) -> Iterator[Entity]:
    """Steps, the tools that do them, and what they take and give."""
    yield _parameter("#study-name", "study", "Text", "Name of the study: configs/studies/NAME.yaml")
    yield _parameter("#study-tables", "tables", "File", "Every table of the study, in each form")
    taken = sorted(
        {(thing.kind, study.published.things[key].kind) for thing in study.things for key in thing.inputs.values()}
    )
    for position, kind in enumerate(_kinds(study)):
        takes = [before for after, before in taken if after == kind]
        settings, configured = f"#{kind}-settings", kind not in WITHOUT_SETTINGS
        yield {
            "@id": f"#tool-{kind}", "@type": "SoftwareApplication", "name": f"redistill: {kind}",
            "description": facts.DOES[kind], "softwareVersion": __version__,
            "input": refs([*(f"#{kind}-takes-{before}" for before in takes), *([settings] if configured else [])]),
            "output": refs([f"#{kind}-gives"]),
        }  # fmt: skip
        yield {
            "@id": f"#step-{kind}", "@type": "HowToStep", "name": kind, "description": facts.DOES[kind],
            "position": str(position), "workExample": ref(f"#tool-{kind}"),
            "connection": refs(f"#{kind}-from-{before}" for before in takes),
        }  # fmt: skip
        if configured:
            yield _parameter(settings, "settings", "PropertyValue", f"The resolved config of a {kind}")
        yield _parameter(f"#{kind}-gives", kind, "Dataset", f"Folder of a {kind} in the store")
        for before in takes:
            yield _parameter(f"#{kind}-takes-{before}", before, "Dataset", f"Folder of a {before} in the store")
            yield {
                "@id": f"#{kind}-from-{before}", "@type": "ParameterConnection", "name": f"{before} to {kind}",
                "sourceParameter": ref(f"#{before}-gives"), "targetParameter": ref(f"#{kind}-takes-{before}"),
            }  # fmt: skip


def _parameter(identifier: str, name: str, kind: str, description: str) -> Entity:
    return {
        "@id": identifier, "@type": "FormalParameter", "name": name, "additionalType": kind,
        "description": description,
    }  # fmt: skip


# --- what happened ----------------------------------------------------------------------------------------------------


def runs(study: Study) -> Iterator[Entity]:
    """The run of the workflow, of its engine, and of each step."""
    dates = study.dates
    times = {"startTime": dates[0], "endTime": dates[1]} if dates else {}
    yield {
        "@id": "#study", "@type": "CreateAction", "name": f"Study {study.name}", "description": study.title,
        "instrument": ref("Snakefile"), "actionStatus": COMPLETED, **times,
        "object": refs([f"configs/studies/{study.name}.yaml", "#study-name-value",
                        *(folder(study.published.things[key]) for key in study.sources)]),
        "result": refs(quote(table) for table in tables(study)),
    }  # fmt: skip
    yield {"@id": "#study-name-value", "@type": "PropertyValue", "name": "study", "value": study.name,
           "exampleOfWork": ref("#study-name")}  # fmt: skip
    engine = {made.packages["snakemake"] for made in study.made.values() if "snakemake" in made.packages}
    yield {
        "@id": "#snakemake", "@type": "SoftwareApplication", "name": "Snakemake",
        "url": "https://snakemake.readthedocs.io", "softwareVersion": ", ".join(sorted(engine)) or "unknown",
    }  # fmt: skip
    yield {
        "@id": "#snakemake-run", "@type": "OrganizeAction", "name": "Run of Snakemake",
        "instrument": ref("#snakemake"), "result": ref("#study"), **times,
        "object": refs(f"#step-of-{thing.key}" for thing in study.things),
    }  # fmt: skip
    for thing in study.things:
        yield {"@id": f"#step-of-{thing.key}", "@type": "ControlAction", "name": f"Step of {thing.title}",
               "instrument": ref(f"#step-{thing.kind}"), "object": ref(action(thing))}  # fmt: skip


def things(study: Study, present: Container[str]) -> Iterator[Entity]:
    """Each thing that was made, as a folder, with the action that made it; an entity that others share comes once."""
    shared: dict[str, Entity] = {}
    users: dict[str, set[str]] = {}
    for thing in study.things:
        for key in thing.inputs.values():
            users.setdefault(key, set()).add(thing.kind)
    for thing in study.things:
        yield _folder(study, thing, users.get(thing.key, set()), present)
        yield _action(study, thing, shared)
        yield from _numbers(study, thing)
    for path, (thing, name) in of_things(study).items():
        if path not in present:
            said = thing.files[name]
            yield {"@id": absent(path), "@type": "CreativeWork", "name": name, "sha256": said["sha256"],
                   "contentSize": str(said["size"]), "description": f"Of {thing.title}; not in this crate"}  # fmt: skip
    yield from shared.values()


def _folder(study: Study, thing: Thing, users: set[str], present: Container[str]) -> Entity:
    place, source = folder(thing), study.sources.get(thing.key)
    files = [f"{place}{name}" for name in sorted(thing.files)]
    said: Entity = {
        "@id": place, "@type": "Dataset", "name": thing.title, "identifier": thing.key, "additionalType": thing.kind,
        "description": f"{facts.DOES[thing.kind]}: {thing.title}", "sha256": thing.digest,
        "hasPart": refs(quote(file) if file in present else absent(file) for file in files),
        "exampleOfWork": refs([f"#{thing.kind}-gives", *(f"#{user}-takes-{thing.kind}" for user in sorted(users))]),
    }  # fmt: skip
    if source is not None:
        said |= {"license": ref(licence(source.licence)), "citation": source.citation}
        said |= {"url": source.url} if source.url else {}
        said |= {"comment": source.note} if source.note else {}
    return said


def _action(study: Study, thing: Thing, shared: dict[str, Entity]) -> Entity:
    made, inputs = study.made.get(thing.key), [study.published.things[key] for key in thing.inputs.values()]
    said: Entity = {
        "@id": action(thing), "@type": "CreateAction", "name": thing.title, "actionStatus": COMPLETED,
        "description": f"{facts.DOES[thing.kind]}: redistill make {thing.key}",
        "instrument": refs([f"#tool-{thing.kind}", *_instruments(thing, made, shared)]),
        "object": refs([*map(folder, inputs), *_settings(thing, shared)]),
        "result": refs([folder(thing), *map(number, thing.cells), *map(quote, _tables(study, thing))]),
        "additionalProperty": refs(_properties(thing, made, shared)),
    }  # fmt: skip
    if made is not None:
        said |= {"startTime": made.start, "endTime": made.end}
        said["resourceUsage"] = refs(_usage(made, shared))
    return said


def _settings(thing: Thing, shared: dict[str, Entity]) -> Iterator[str]:
    """The values of a thing's config, each an entity that all have who have that value."""
    if thing.kind in WITHOUT_SETTINGS:
        return
    for path, value in facts.leaves(thing.parts["config"]):
        example = ref(f"#{thing.kind}-settings")
        said = {"@type": "PropertyValue", "name": path, "value": _plain(value), "exampleOfWork": example}
        yield _add(shared, "setting", [thing.kind, path, value], said)


def _plain(value: Any) -> Any:
    """A value as JSON-LD takes it; numbers that are not whole as they are written, to keep all their digits."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    return json.dumps(value)


def _properties(thing: Thing, made: Made | None, shared: dict[str, Entity]) -> Iterator[str]:
    """What an action's record says of the machine, and which input had which role."""
    said = [("input", role, key) for role, key in thing.inputs.items()]
    if made is not None:
        said += [("machine", name, value) for name, value in made.machine.items()]
        said.append(("resumed", "times that it was resumed", str(made.resumed)))
        said.append(("attempts", "attempts before that did not make it", str(made.attempts)))
        said += [("image", "digest of the container's image", made.image)] if made.image else []
    for kind, name, value in said:
        entity = {"@type": "PropertyValue", "propertyID": f"#{kind}", "name": name, "value": value}
        yield _add(shared, kind, [name, value], entity)


def _usage(made: Made, shared: dict[str, Entity]) -> Iterator[str]:
    for name, value in made.usage.items():
        words, unit = USAGE[name]
        said = {
            "@type": "PropertyValue", "propertyID": f"#usage-{name}", "name": words, "value": _plain(value),
            "unitCode": f"https://qudt.org/vocab/unit/{unit}",
        }  # fmt: skip
        yield _add(shared, "usage", [name, value], said)


def _instruments(thing: Thing, made: Made | None, shared: dict[str, Entity]) -> Iterator[str]:
    """The code and the environment that a thing was made with: what its key counts, where there is no record."""
    packages = made.packages if made else thing.parts["packages"]
    python = made.python if made else ""
    name = f"Python {python} with {len(packages)} packages" if python else f"{len(packages)} packages that count"
    installed = {facts.page_of_package(package, version): (package, version) for package, version in packages.items()}
    said = {
        "@type": "SoftwareApplication", "name": name, "softwareVersion": python or "unknown",
        "url": "https://www.python.org/", "softwareRequirements": refs(installed),
    }  # fmt: skip
    yield _add(shared, "environment", [python, packages], said)
    for url, (package, version) in installed.items():
        shared[url] = {
            "@id": url, "@type": "SoftwareApplication", "name": package, "softwareVersion": version, "url": url,
        }  # fmt: skip
    if made is not None and made.commit:
        code = f"#code-{made.commit}{'' if made.clean else '-changed'}"
        changed = "" if made.clean else ", with changes that no commit has"
        shared[code] = {
            "@id": code, "@type": "SoftwareSourceCode", "name": f"redistill, commit {made.commit[:12]}{changed}",
            "version": made.commit, "programmingLanguage": "Python",
        }  # fmt: skip
        yield code


def _numbers(study: Study, thing: Thing) -> Iterator[Entity]:
    """A cell's number, once for each place where it stands."""
    if not thing.cells:
        return
    value, count, metric = facts.number(study.root, thing)
    for place in thing.cells:
        yield {
            "@id": number(place), "@type": "PropertyValue", "propertyID": "#number", "name": place,
            "value": _plain(value), "measurementTechnique": metric,
            "description": f"Mean of {count} runs on the split dev",
        }  # fmt: skip


def licences(study: Study) -> Iterator[Entity]:
    for said in sorted({source.licence for source in study.sources.values()}):
        yield {"@id": licence(said), "@type": "CreativeWork", "name": said, "description": "As its authors state it"}


def described(study: Study, path: str, file: Path, digest: str) -> Entity:
    """A file of the crate."""
    said: Entity = {
        "name": Path(path).name, "sha256": digest, "contentSize": str(file.stat().st_size),
        "encodingFormat": ENCODINGS.get(Path(path).suffix, "text/plain"),
    }  # fmt: skip
    if path.startswith("store/records/"):
        said["about"] = ref(f"#make-{file.stem}")
    if path in tables(study):
        said["exampleOfWork"] = ref("#study-tables")
    return said


def tables(study: Study) -> list[str]:
    """The files of all tables, as they are published."""
    return [file for table in study.published.tables.values() for file in _tables(study, table)]


def _tables(study: Study, thing: Thing) -> list[str]:
    names = thing.files if thing.kind in ("table", "scores") else ()
    return [f"results/{study.name}/{name}" for name in sorted(names) if name != "counts.json"]
