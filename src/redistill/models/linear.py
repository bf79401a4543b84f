"""Linear layers through oneDNN on CPUs: faster than torch's own way, and the same bytes on every processor if asked.

torch sends float32 matrix products to MKL, whose fast kernels differ between vendors and whose compatible ones take
twice the time. oneDNN's kernels for one instruction set are the same everywhere; torch reaches them by the operator
that its own compiler emits for linear layers on CPUs, which adds the bias while it multiplies.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Below this many outputs a product is a handful of dot products, summed by torch's own kernel.
FEW_OUTPUTS = 8


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K) times weight (N, K) transposed, plus bias (N,): (..., N). Either may be a transposed view."""
    half = x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if x.dtype != torch.float32 and not half:
        return F.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, portable: bool) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        ctx.save_for_backward(x, weight)
        ctx.portable = portable
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        grad_x = _product(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:  # MKL's own kernel is the faster one for this shape
            grad_weight = _product(rows.t(), inputs.t(), None) if ctx.portable else rows.t() @ inputs
        return grad_x, grad_weight, rows.sum(0) if ctx.needs_input_grad[2] else None, None


class OneDnnLinear(nn.Linear):
    """`nn.Linear` with the same parameters and names, computed as described above. CPU only; float32 if portable."""

    portable = True

    def forward(self, input: Tensor) -> Tensor:
        if self.portable and self.out_features < FEW_OUTPUTS:
            product = (input.unsqueeze(-2) * self.weight).sum(-1)
            return product if self.bias is None else product + self.bias
        result: Tensor = _Linear.apply(input, self.weight, self.bias, self.portable)
        return result


def use_onednn(model: nn.Module, portable: bool) -> None:
    """Put a `OneDnnLinear` with the same parameters in the place of each linear layer."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                layer = OneDnnLinear(child.in_features, child.out_features, child.bias is not None, device="meta")
                layer.weight, layer.bias, layer.portable = child.weight, child.bias, portable
                setattr(parent, name, layer)
