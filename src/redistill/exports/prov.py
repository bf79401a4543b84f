"""A study as W3C PROV: things, numbers and files are entities, what made them are activities, the code is an agent."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import writing
from redistill.exports import facts
from redistill.exports.facts import Made, Study, read
from redistill.provenance import store
from redistill.provenance.keys import canonical, sha256_text
from redistill.provenance.published import Thing

if TYPE_CHECKING:
    from prov.model import ProvDocument

# A thing and what made it are named by its key, a file by its SHA-256, a number by where it stands.
NAMESPACES = {
    "redistill": "urn:redistill:", "thing": "urn:redistill:thing:", "make": "urn:redistill:make:",
    "file": "urn:redistill:sha256:", "number": "urn:redistill:number:", "code": "urn:redistill:code:",
    "environment": "urn:redistill:environment:",
}  # fmt: skip
NOBODY = "code:not-on-record"


def write(root: Path, name: str, to: Path) -> int:
    """Write a study as PROV-JSON; the same study gives the same bytes. Returns how many PROV records it holds.

    Raises:
        RedistillError: it is not published, or the file cannot be written.
    """
    made = document(read(root, name))
    with writing(to):
        store.write_atomically(to, store.pretty(_in_order(json.loads(str(made.serialize(format="json"))))))
    return len(list(made.get_records()))


def _in_order(value: Any) -> Any:
    """JSON of which `prov` takes some lists from sets."""
    if isinstance(value, dict):
        return {name: _in_order(inner) for name, inner in value.items()}
    return sorted(map(_in_order, value), key=canonical) if isinstance(value, list) else value


def document(study: Study) -> "ProvDocument":
    """The study as PROV."""
    from prov.model import ProvDocument

    found = ProvDocument()
    for prefix, place in NAMESPACES.items():
        found.add_namespace(prefix, place)
    seen = set[str]()
    for thing in study.things:
        made = study.made.get(thing.key)
        _add(found, study, thing, made)
        agent = _agent(made)
        if agent not in seen:
            seen.add(agent)
            found.agent(agent, _of_agent(made))
        found.wasAssociatedWith(f"make:{thing.key}", agent)
        if made is not None:
            _environment(found, made, seen)
            found.used(f"make:{thing.key}", _place(made), made.start)
        _members(found, thing, seen)
    return found


def _add(found: "ProvDocument", study: Study, thing: Thing, made: Made | None) -> None:
    """A thing, what made it, and what it was made from."""
    entity, activity = f"thing:{thing.key}", f"make:{thing.key}"
    start, end = (made.start, made.end) if made else (None, None)
    found.collection(entity, _of_thing(study, thing))
    found.activity(activity, start, end, _of_activity(thing, made))
    found.wasGeneratedBy(entity, activity, end)
    for role, key in thing.inputs.items():
        found.used(activity, f"thing:{key}", start, None, {"prov:role": role})
        found.wasDerivedFrom(entity, f"thing:{key}", activity)
    value = facts.number(study.root, thing)[0] if thing.cells else None
    for place in thing.cells:
        number = f"number:{sha256_text(place)[:16]}"
        found.entity(number, {"prov:label": place, "prov:value": value, "redistill:kind": "number"})
        found.wasGeneratedBy(number, activity, end)
        for key in thing.inputs.values():
            found.wasDerivedFrom(number, f"thing:{key}", activity)


def _of_thing(study: Study, thing: Thing) -> dict[str, Any]:
    said = {"prov:label": thing.title, "redistill:kind": thing.kind, "redistill:manifest": thing.digest}
    source = study.sources.get(thing.key)
    if source is not None:
        said |= {"redistill:licence": source.licence, "redistill:citation": source.citation}
        said |= {"redistill:url": source.url} if source.url else {}
    return said


def _of_activity(thing: Thing, made: Made | None) -> dict[str, Any]:
    said: dict[str, Any] = {"prov:label": thing.title, "redistill:does": facts.DOES[thing.kind],
                            "redistill:config": canonical(thing.parts["config"])}  # fmt: skip
    if made is not None:
        said |= {f"redistill:{name}": value for name, value in (made.usage | made.machine).items()}
        said |= {"redistill:resumed": made.resumed, "redistill:attempts": made.attempts}
    return said


def _agent(made: Made | None) -> str:
    return f"code:{made.commit}{'' if made.clean else '-changed'}" if made and made.commit else NOBODY


def _of_agent(made: Made | None) -> dict[str, Any]:
    from prov.constants import PROV

    commit = made.commit if made and made.commit else "not on record"
    return {"prov:type": PROV["SoftwareAgent"], "prov:label": "redistill", "redistill:commit": commit}


def _place(made: Made) -> str:
    return f"environment:{sha256_text(canonical([made.python, made.packages]))[:16]}"


def _environment(found: "ProvDocument", made: Made, seen: set[str]) -> None:
    """What was installed, as an entity; once where many things were made in it."""
    if _place(made) not in seen:
        seen.add(_place(made))
        packages = [f"{name}=={version}" for name, version in sorted(made.packages.items())]
        said = [("prov:label", f"Python {made.python}"), *(("redistill:package", package) for package in packages)]
        found.entity(_place(made), said)


def _members(found: "ProvDocument", thing: Thing, seen: set[str]) -> None:
    """A thing's files. One that several have, as a tokenizer's, is one entity by the first name that it has."""
    for name, entry in sorted(thing.files.items()):
        digest = entry["sha256"]
        if digest not in seen:
            seen.add(digest)
            found.entity(f"file:{digest}", {"prov:label": name, "redistill:bytes": entry["size"]})
        found.hadMember(f"thing:{thing.key}", f"file:{digest}")
