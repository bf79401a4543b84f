"""JSON schemas of the config files, for editors: from the models of the schema and the signatures of the components.
And that of records, for whoever reads them.

A file that `extends` another, or says `set`, may leave out what the other one says, and remove keys with `null`: for
these each section has a second form, `<section>Part`, in which nothing is required.
"""

import ast
import copy
from typing import Any

from pydantic import BaseModel

from redistill import registry
from redistill.config import schema
from redistill.evaluation.metrics import METRICS
from redistill.provenance.record_schema import Record

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
FILES: dict[str, type[BaseModel]] = {
    "study": schema.Study, "experiment": schema.Experiment, "task": schema.Task, "references": schema.References
}  # fmt: skip
COMPONENTS = {
    value.__name__: value for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, schema.Component) and value is not schema.Component
}  # fmt: skip
TYPES: dict[str, Schema] = {
    "float": {"type": "number"}, "int": {"type": "integer"}, "bool": {"type": "boolean"}, "str": {"type": "string"},
    "dict": {"type": "object"}, "list[int]": {"type": "array", "items": {"type": "integer"}},
    "list[float]": {"type": "array", "items": {"type": "number"}},
    "list[str]": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip
BOUNDS = {"Gt": "exclusiveMinimum", "Ge": "minimum", "Lt": "exclusiveMaximum", "Le": "maximum"}
OVERRIDES: Schema = {
    "extends": {"type": "string", "description": "A file beside this one, without .yaml, that this one is laid over"},
    "set": {
        "type": "object",
        "description": "Values by their path, such as `stages.0.epochs: 5`, laid over what is extended",
    },
}


def schemas() -> dict[str, Schema]:
    """The schema of each kind of file, by its name."""
    made = {name: _file(model) for name, model in FILES.items()}
    sources, definitions = _sections(schema.Source)
    described = "Every data set and pretrained model, by name"
    entries = {"type": "object", "additionalProperties": sources}
    return {
        **made,
        "sources": {"$schema": DRAFT, "description": described, **entries, "$defs": definitions},
        "record": {"$schema": DRAFT, **_tidied(Record.model_json_schema())},
    }


def _file(model: type[BaseModel]) -> Schema:
    whole, sections = _sections(model)
    sections[model.__name__] = whole
    parts = {f"{name}Part": _part(name, section) for name, section in sections.items()}
    parts[f"{model.__name__}Part"]["properties"] |= OVERRIDES
    return {
        "$schema": DRAFT,
        "description": whole["description"],
        "type": "object",
        "properties": OVERRIDES,
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["set"]}]},
        "then": {"$ref": f"#/$defs/{model.__name__}Part"},
        "else": {"$ref": f"#/$defs/{model.__name__}"},
        "$defs": {**sections, **parts},
    }


def _sections(model: type[BaseModel]) -> tuple[Schema, dict[str, Schema]]:
    """The model's own schema and those of the sections in it, by name."""
    whole = _tidied(model.model_json_schema())
    sections: dict[str, Schema] = whole.pop("$defs", {})
    for name in sections.keys() & COMPONENTS.keys():
        sections[name] = _component(COMPONENTS[name], sections[name])
    for section in (whole, *sections.values()):
        _name_metrics(section.get("properties", {}))
    return whole, sections


def _tidied(value: Any) -> Any:
    """Without the titles that pydantic makes of the names, and on one line."""
    if isinstance(value, list):
        return [_tidied(entry) for entry in value]
    if not isinstance(value, dict):
        return " ".join(value.split()) if isinstance(value, str) else value
    return {key: _tidied(inner) for key, inner in value.items() if not (key == "title" and isinstance(inner, str))}


def _name_metrics(properties: Schema) -> None:
    """Offer the metrics by name."""
    for key in ("metric", "metrics"):
        for choice in properties.get(key, {}).get("anyOf", []):
            target = choice.get("items", choice)
            if target.get("type") == "string":
                target["enum"] = list(METRICS)


def _component(model: type[schema.Component], section: Schema) -> Schema:
    """A component mapping: the methods that there are, and for each the settings that it takes."""
    names = [name for name in registry.names(model.kind) if registry.plugin(model.kind, name) is None]
    properties = {**section["properties"], "method": _method(model, names)}
    cases = [_case(model, name, list(properties)) for name in names]
    kept = {key: value for key, value in section.items() if key != "additionalProperties"}
    return {**kept, "properties": properties, "allOf": cases}


def _method(model: type[schema.Component], names: list[str]) -> Schema:
    default = model.model_fields["method"].default
    offered = [{"const": name, "description": _described(model.kind, name)} for name in names]
    said: Schema = {"description": model.model_fields["method"].description, "oneOf": offered}
    return {**said, "default": default} if default in names else said


def _described(kind: str, name: str) -> str:
    module = ast.parse(registry.source_file(kind, name).read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())


def _case(model: type[schema.Component], name: str, own: list[str]) -> Schema:
    """What holds where `method` is this one; also where none is given, if this is the default."""
    settings = registry.signature(model.kind, name).settings
    is_it: Schema = {"properties": {"method": {"const": name}}}
    if model.model_fields["method"].default != name:
        is_it["required"] = ["method"]
    known = {key: {} for key in own} | {key: setting_schema(setting) for key, setting in settings.items()}
    then: Schema = {"properties": known, "additionalProperties": False}
    required = [key for key, setting in settings.items() if setting.required]
    return {"if": is_it, "then": {**then, "required": required} if required else then}


def setting_schema(setting: registry.Setting) -> Schema:
    """The schema of a component's setting: type, bounds, choices and default."""
    if setting.choices:
        said: Schema = {"enum": list(setting.choices)}
    else:
        said = copy.deepcopy(TYPES.get(setting.annotation, {}))
        bounded = said.get("items", said)
        bounded.update({BOUNDS[bound]: limit for bound, limit in setting.bounds})
    if setting.required:
        return said
    if setting.default is None and said:
        said = {"anyOf": [said, {"type": "null"}]}
    return {**said, "default": setting.default}


def _part(name: str, section: Schema) -> Schema:
    """The section in a file that is laid over another one."""
    part = {key: value for key, value in section.items() if key not in ("required", "allOf")}
    part["properties"] = {key: _nullable(_in_part(value)) for key, value in section.get("properties", {}).items()}
    if name not in COMPONENTS:
        return part
    cases = copy.deepcopy(section["allOf"])
    for case in cases:
        case["if"]["required"] = ["method"]
        case["then"].pop("required", None)
    keys = {key: {} for case in cases for key in case["then"]["properties"]}
    nameless = {"if": {"not": {"required": ["method"]}}, "then": {"properties": keys, "additionalProperties": False}}
    return {**part, "allOf": [*cases, nameless]}


def _in_part(value: Any) -> Any:
    """With references to parts, except within lists, which are replaced as a whole."""
    if isinstance(value, list):
        return [_in_part(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    result = {key: inner if key == "items" else _in_part(inner) for key, inner in value.items()}
    if "$ref" in result:
        result["$ref"] = f"{result['$ref']}Part"
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _nullable(result["additionalProperties"])
    if isinstance(result.get("patternProperties"), dict):  # of a mapping whose keys are words of the language
        result["patternProperties"] = {key: _nullable(inner) for key, inner in result["patternProperties"].items()}
    return result


def _nullable(value: Schema) -> Schema:
    described = {key: value[key] for key in ("description", "default") if key in value}
    return {**described, "anyOf": [{k: v for k, v in value.items() if k not in described}, {"type": "null"}]}
