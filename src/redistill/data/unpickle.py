"""Take the weights out of a pickle: `python -m redistill.data.unpickle PICKLE TARGET` writes them as safetensors.

It is a process of its own: a pickle that crashes its reader, or fills memory, takes nothing else along.
"""

import re
import sys
from pathlib import Path
from pickle import UnpicklingError

from redistill.errors import RedistillError

SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def convert(file: Path, target: Path) -> None:
    """Write the tensors of a pickle to `target`. Those that share memory are written in full, each under its own name.

    Raises:
        RedistillError: the file cannot be read, or holds or wants anything but named tensors.
    """
    import torch
    from safetensors.torch import save_file

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise _refused(str(error)) from None
    except (OSError, EOFError, RuntimeError, ValueError, LookupError) as error:
        raise RedistillError(f"cannot be read ({type(error).__name__}): it is cut short, or none of torch's") from None
    if not isinstance(found, dict) or not found:
        raise RedistillError(f"holds a {type(found).__name__} in the place of named tensors: take another model")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            raise RedistillError(f"`{name}` in it is no dense tensor with a name: take another model")
    own = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    try:
        save_file(own, target, metadata={"format": "pt"})  # transformers wants to be told
    except KeyError as error:
        raise RedistillError(f"holds tensors of {error}, which safetensors does not have: take another model") from None


def _refused(said: str) -> RedistillError:
    """What torch said, in a line: it names the first class or function that a pickle wants beside tensors."""
    wanted = re.search(r"GLOBAL ([\w.]+)", said)
    if wanted:
        return RedistillError(f"wants `{wanted[1]}` beside weights, so nothing of it was used: take another model")
    return RedistillError("is no pickle of weights alone, so nothing of it was used: take another model")


def main(file: str, target: str) -> None:
    try:
        convert(Path(file), Path(target))
    except RedistillError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
