"""The linear layer that ends a model: what some methods use on features of their own."""

from torch import nn

from redistill.errors import RedistillError


def head_of(model: nn.Module, outputs: int) -> nn.Linear:
    """The last linear layer with as many outputs as the model has logits.

    Raises:
        RedistillError: there is none; the model ends in something else.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == outputs]
    if not linear:
        raise RedistillError(f"the model ends in no linear layer of {outputs} outputs")
    return linear[-1]
