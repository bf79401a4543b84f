"""Whether a thing that is made once more can be compared with what was: by the same code, with the same packages."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from redistill import registry
from redistill.config import compose
from redistill.errors import ConfigError
from redistill.provenance import store
from redistill.provenance.keys import fingerprint

SHORT = 16  # digits of a digest in a key's parts


def differences(parts: dict[str, Any]) -> list[str]:
    """Modules and packages that are not those of a key's parts; none if a result can be compared."""
    found = [f"{name} has changed" for name, digest in parts["code"].items() if _digest(name) != digest]
    for name, version in parts["packages"].items():
        here = _version(name)
        if here != version:
            found.append(f"{name} is {here or 'not installed'} and was {version}")
    return found


def _digest(name: str) -> str | None:
    """The digest of a module, or of a plugin, as a key has it."""
    if ":" in name:
        outside = registry.plugin(*name.split(":")[1:])
        return outside.sha256[:SHORT] if outside else None
    try:
        return fingerprint([name])[name][:SHORT]
    except (ModuleNotFoundError, KeyError):
        return None


def _version(package: str) -> str | None:
    try:
        return installed(package)
    except PackageNotFoundError:
        return None


def plugins_of(root: Path, code: dict[str, str]) -> list[dict[str, str]]:
    """The plugins that a key was made with, as far as a study of today names a file with their digest."""
    wanted = {name: digest for name, digest in code.items() if name.startswith("plugin:")}
    found = {}
    for study in compose.known(root, "studies") if wanted else ():
        try:
            said = compose.read(root, "studies", study).data.get("plugins") or {}
            for plugin in said.values():
                file = root / plugin["file"]
                name = f"plugin:{plugin['kind']}:{file.stem}"
                digest = store.sha256_file(file) if name in wanted and file.is_file() else ""
                if digest[:SHORT] == wanted.get(name):
                    found[name] = {"kind": plugin["kind"], "name": file.stem, "file": str(file), "sha256": digest}
        except (ConfigError, OSError, LookupError, TypeError, AttributeError):
            continue  # a study with mistakes, which `redistill check` says
    return list(found.values())
