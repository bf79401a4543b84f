"""Taps: the outputs of named modules, captured by forward hooks while a model runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from redistill.errors import RedistillError


@contextmanager
def tapped(model: nn.Module, paths: list[str], whose: str) -> Iterator[dict[str, Tensor]]:
    """Within the context, each forward pass of `model` leaves the output of every module in `paths` in the dictionary.

    Raises:
        RedistillError: the model has no module of that path; says which there are beside it.
    """
    captured: dict[str, Tensor] = {}
    handles = []
    modules = dict(model.named_modules())
    for path in paths:
        if path not in modules:
            raise RedistillError(f"the {whose} has no module `{path}`; there are {_beside(modules, path)}")

    for path in paths:

        def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...], path: str = path) -> None:
            captured[path] = output[0] if isinstance(output, tuple) else output

        handles.append(modules[path].register_forward_hook(keep))
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def _beside(modules: dict[str, nn.Module], path: str) -> str:
    """Names of the modules that do exist below the longest part of the path that exists."""
    parent = path
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 1 if parent else 0
    prefix = f"{parent}." if parent else ""
    return ", ".join(f"`{n}`" for n in modules if n.startswith(prefix) and n and n.count(".") == depth)
