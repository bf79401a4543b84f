"""A linear layer that gives the same bytes on every processor with AVX2, at the speed of its fast kernels.

torch sends float32 matrix products to MKL, whose fast kernels differ between vendors and whose compatible ones take
twice the time. oneDNN's kernels for one instruction set are the same everywhere; torch reaches them by the operator
that its own compiler emits for linear layers on CPUs.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Below this many outputs a product is a handful of dot products, summed by torch's own kernel.
FEW_OUTPUTS = 8


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K) times weight (N, K) transposed, plus bias (N,): (..., N). Either may be a transposed view."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = _product(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        grad_weight = _product(rows.t(), x.reshape(-1, x.shape[-1]).t(), None) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, rows.sum(0) if ctx.needs_input_grad[2] else None


class PortableLinear(nn.Linear):
    """`nn.Linear` with the same parameters and names, computed as described above. CPU and float32 only."""

    def forward(self, input: Tensor) -> Tensor:
        if self.out_features < FEW_OUTPUTS:
            return (input.unsqueeze(-2) * self.weight).sum(-1) + self.bias
        product: Tensor = _Linear.apply(input, self.weight, self.bias)
        return product


def make_portable(model: nn.Module) -> None:
    """Put a `PortableLinear` with the same parameters in the place of each linear layer."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.bias is not None:
                portable = PortableLinear(child.in_features, child.out_features, device="meta")
                portable.weight, portable.bias = child.weight, child.bias
                setattr(parent, name, portable)
