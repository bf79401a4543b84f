"""Taps: inputs and outputs of named modules, captured by forward hooks while a model runs.

A tap is written PATH, PATH:output, PATH:output.INDEX or PATH:input; `encoder.layer.3` is `encoder.layer.3:output`. Of a
tuple the first entry is taken if no index is given. What is handed over is what was there at that moment: where a later
module may write over it, as a ReLU in place does, a copy.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from redistill.errors import RedistillError
from redistill.models.first_token import whole_where_tapped


@contextmanager
def tapped(model: nn.Module, taps: list[str], whose: str) -> Iterator[dict[str, Tensor]]:
    """Within the context, each forward pass of `model` leaves every tap's tensor in the dictionary.

    Raises:
        RedistillError: the model has no such module, and which there are beside it is said; or it writes over what was
            captured, and no module of it says so.
    """
    captured = _Captured(any(getattr(module, "inplace", False) for module in model.modules()))
    handles: list[RemovableHandle] = []
    try:
        for tap in taps:
            handles.append(_hooked(model, tap, whose, captured))
        whole_where_tapped(model, [tap.partition(":")[0] for tap in taps])
        yield captured.tensors
        captured.refuse_written_over(whose)
    finally:
        whole_where_tapped(model, [])
        for handle in handles:
            handle.remove()


class _Captured:
    """Tensors by tap; copies of them where the model has modules that write in place."""

    def __init__(self, copies: bool):
        self.copies = copies
        self.tensors: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}  # torch counts how often a tensor is written to

    def take(self, tap: str, tensor: Tensor) -> None:
        self.tensors[tap] = tensor.clone() if self.copies else tensor
        self.versions[tap] = _version(self.tensors[tap])

    def refuse_written_over(self, whose: str) -> None:
        for tap, version in self.versions.items():
            if _version(self.tensors[tap]) != version:
                raise RedistillError(
                    f"what the {whose} gives at `{tap}` is written over in place by what comes next: tap that instead"
                )


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; torch does not count where nothing is differentiated."""
    return 0 if tensor.is_inference() else tensor._version


def _hooked(model: nn.Module, tap: str, whose: str, captured: _Captured) -> RemovableHandle:
    path, _, side = tap.partition(":")
    module = find(model, path, whose)
    if side == "input":

        def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            captured.take(tap, _tensor((*given, *named.values()), "", tap))

        return module.register_forward_pre_hook(before, with_kwargs=True)
    if side not in ("", "output") and not side.startswith("output."):
        raise RedistillError(f"the tap `{tap}` ends in neither `:input`, `:output` nor `:output.INDEX`")

    def after(_: nn.Module, __: object, output: Any) -> None:
        captured.take(tap, _tensor(output, side.partition(".")[2], tap))

    return module.register_forward_hook(after)


def find(model: nn.Module, path: str, whose: str) -> nn.Module:
    """The module at a path.

    Raises:
        RedistillError: there is none; says which there are beside it.
    """
    modules = dict(model.named_modules())
    if path not in modules or not path:
        raise RedistillError(f"the {whose} has no module `{path}`; there are {_beside(modules, path)}")
    return modules[path]


def _tensor(value: Any, index: str, tap: str) -> Tensor:
    if isinstance(value, Tensor):
        if index:
            raise RedistillError(
                f"the tap `{tap}` would take one example: the module gives one tensor, so leave the index"
            )
        return value
    chosen = None
    with suppress(KeyError, IndexError, TypeError, ValueError):
        chosen = value[index] if isinstance(value, dict) and index in value else value[int(index or 0)]
    if not isinstance(chosen, Tensor):
        raise RedistillError(f"the tap `{tap}` is no tensor: the module gives {_shown(value)}")
    return chosen


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"a mapping of {', '.join(map(str, value))}"
    return f"{len(value)} values" if isinstance(value, tuple | list) else type(value).__name__


def _beside(modules: dict[str, nn.Module], path: str) -> str:
    """Names of the modules that do exist below the longest part of the path that exists."""
    parent = path
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 1 if parent else 0
    prefix = f"{parent}." if parent else ""
    return ", ".join(f"`{n}`" for n in modules if n.startswith(prefix) and n and n.count(".") == depth)
