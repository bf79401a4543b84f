"""Attention of transformers' models: the plain formula in one step of autograd, with few passes over the scores.

transformers calls what is registered under `NAME` for every model whose config asks for it (`attn_implementation`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from redistill.models.dropout import kept, scale

NAME = "redistill"


def register() -> None:
    """Tell transformers of it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, added_mask)


def added_mask(*given: Any, dtype: torch.dtype = torch.float32, **named: Any) -> Tensor | None:
    """What is added to scores: 0 at what is attended to, the least number elsewhere; None if nothing is masked."""
    from transformers.masking_utils import sdpa_mask

    said = named.get("attention_mask")
    if said is not None and said.is_meta:  # there is nothing to look at, so whether all are attended to is not known
        named["allow_is_bidirectional_skip"] = False
    allowed = sdpa_mask(*given, **{**named, "allow_is_causal_skip": False})
    if allowed is None:
        return None
    nothing = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, nothing, torch.finfo(dtype).min)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **_: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """softmax(scaling x QK' + mask) V, its weights dropped with probability `dropout` while training.

    Args:
        query: (B, A, Q, D).
        key: (B, A, T, D); `value` likewise. Fewer heads than the query's are shared among them.
        attention_mask: added to the scores (B, A, Q, T), of a shape that is broadcast to theirs.

    Returns:
        The mixed values (B, Q, A, D), and the weights (B, A, Q, T) before dropout.
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # positions that were turned into them may be float32
    mixed: tuple[Tensor, Tensor] = _Attention.apply(
        query, key, value, attention_mask, scaling, dropout if module.training else 0.0
    )
    return mixed


def _product(left: Tensor, right: Tensor, factor: float) -> Tensor:
    """factor x left (N, I, K) times right (N, K, J)."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=factor)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, p: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        batch, heads = query.shape[:2]
        q, k, v = (t.flatten(0, 1) for t in (query, key, value))
        scores = _product(q, k.transpose(1, 2), scaling).unflatten(0, (batch, heads))
        if mask is not None:
            if mask.dtype != scores.dtype:  # else it is every layer's, and stays untouched
                mask = mask.to(scores.dtype).clamp_(min=torch.finfo(scores.dtype).min)
            scores.add_(mask)
        weights = scores.softmax(-1).to(q.dtype)  # in mixed precision torch computes it in float32
        keep = kept(weights, p) if p else None
        used = weights if keep is None else torch.mul(weights, keep, out=scores)
        factor = scale(p)
        mixed = _product(used.flatten(0, 1), v, factor).unflatten(0, (batch, heads))
        ctx.save_for_backward(q, k, v, weights, keep, used)
        ctx.scaling, ctx.factor = scaling, factor
        return mixed.transpose(1, 2).contiguous(), weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_weights: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, weights, keep, used = ctx.saved_tensors
        heads = weights.shape[:2]
        of_value = None
        of_weights = grad_weights
        if grad is not None:
            g = grad.transpose(1, 2).flatten(0, 1)
            of_value = _product(used.flatten(0, 1).transpose(1, 2), g, ctx.factor).unflatten(0, heads)
            through = _product(g, v.transpose(1, 2), ctx.factor).unflatten(0, heads)
            if keep is not None:
                through.mul_(keep)
            of_weights = through if grad_weights is None else through.add_(grad_weights)
        if of_weights is None:
            return (None,) * 6
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype).flatten(0, 1)
        of_query = _product(of_scores, k, ctx.scaling).unflatten(0, heads)
        of_key = _product(of_scores.transpose(1, 2), q, ctx.scaling).unflatten(0, heads)
        return of_query, of_key, of_value, None, None, None
