"""What a method counts over all processes that train a run together."""

from torch import Tensor, distributed


def added_up(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each tensor as the sum over the processes, each of which has its part of a batch; as it is where one trains
    alone. Every process must call it.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensors
    sums = tuple(tensor.clone() for tensor in tensors)
    for tensor in sums:
        distributed.all_reduce(tensor)
    return sums
