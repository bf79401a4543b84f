"""Names of a model's weights, as the model that is built here has them."""

from pathlib import Path

from redistill.errors import RedistillError


def renamed(name: str, names: dict[str, str]) -> str:
    """A weight's name with parts of it replaced: from left to right, by the longest of `names` that stands there.

    >>> renamed("_blocks.3._bn0.weight", {"_blocks.3": "blocks.2.0", "_bn0": "bn1"})
    'blocks.2.0.bn1.weight'
    """
    parts, given = list[str](), name.split(".")
    while given:
        lengths = range(len(given), 0, -1)
        taken = next((length for length in lengths if ".".join(given[:length]) in names), 0)
        parts.append(names[".".join(given[:taken])] if taken else given[0])
        given = given[taken or 1 :]
    return ".".join(parts)


def rename(file: Path, names: dict[str, str], leave_out: list[str]) -> None:
    """Give the weights of a safetensors file other names, and leave out those of some modules, by their old names.

    Raises:
        RedistillError: two weights would have one name, or what is to be renamed or left out is not there.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    for module in leave_out:
        if not any(f"{name}.".startswith(f"{module}.") for name in weights):
            raise RedistillError(f"{file.name}: `leave_out` names `{module}`, and no weights are called so")
    kept = {n: w for n, w in weights.items() if not any(f"{n}.".startswith(f"{module}.") for module in leave_out)}
    for old in names:
        if not any(f".{old}." in f".{name}." for name in kept):
            raise RedistillError(f"{file.name}: `names` has `{old}`, and no weight has that in its name")
    told_apart: dict[str, str] = {}
    for name in kept:
        new = renamed(name, names)
        if new in told_apart:
            raise RedistillError(f"{file.name}: `names` gives `{told_apart[new]}` and `{name}` one name, `{new}`")
        told_apart[new] = name
    save_file({new: kept[old] for new, old in told_apart.items()}, file, metadata={"format": "pt"})
