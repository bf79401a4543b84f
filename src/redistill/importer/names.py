"""Names of the language: made from names in the source, and components as far as redistill has them."""

import re
from typing import Any

from redistill import registry
from redistill.importer.inert import Tagged, printable
from redistill.importer.section import Section, Source


def name_of(text: object, otherwise: str = "unnamed") -> str:
    """A name of the language, `a-z0-9._-` with `/` between folders, made from any text."""
    parts = [re.sub(r"[^a-z0-9._-]+", "-", part).lstrip("._-") for part in str(text).lower()[:110].split("/")]
    return "/".join(part for part in parts if part) or otherwise


def word_of(text: object, otherwise: str = "term") -> str:
    """A word of the language: a name without dots and folders."""
    return re.sub(r"[^a-z0-9_-]+", "_", str(text).lower()).lstrip("_-")[:55] or otherwise


def snake(text: str) -> str:
    """`OnPolicyKD` as `on_policy_kd`."""
    return word_of(re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text))


def exists(source: Source, kind: str, method: str) -> bool:
    """Whether redistill has a component; where not, that is noted."""
    if method in registry.names(kind):
        return True
    source.needs(f"redistill has no {kind} `{method}` yet")
    return False


def component(
    kind: str, method: str, kwargs: Section, renamed: dict[str, str] | None = None, **given: Any
) -> dict[str, Any]:
    """A component with its settings: those `given`, and what `kwargs` still holds, under redistill's names for them.

    Where redistill has the component, a setting that it does not know, or of another type, is left out with the reason.
    """
    source = kwargs.source
    known = registry.signature(kind, method).settings if exists(source, kind, method) else None
    settings = {key: value for key, value in given.items() if known is None or key in known}
    for key in kwargs.rest():
        name = (renamed or {}).get(key, key)
        if known is not None and name not in known:
            kwargs.leave(f"{kind} `{method}` has no setting `{printable(name)}`", key)
            continue
        value = kwargs.plain(key)
        if value is None or name == "method" or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            continue
        wrong = registry.mistake(known[name], value) if known is not None else None
        if wrong:
            source.warn((*kwargs.path, key), f"setting `{name}` of {kind} `{method}` {wrong}")
        settings[name] = value
    return {"method": method, **settings}


def weights_of(value: Any) -> str | None:
    """What a `weights` argument names: `ResNet34_Weights.IMAGENET1K_V1` for `!getattr` of such a class, or its text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Tagged) and isinstance(value.value, list) and len(value.value) == 2:
        holder, attribute = value.value
        if isinstance(holder, Tagged) and isinstance(holder.value, dict) and isinstance(attribute, str):
            return f"{str(holder.value.get('key', '')).rpartition('.')[2]}.{attribute}"
    return None
