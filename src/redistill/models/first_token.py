"""The last layer of an encoder, computed for the first token alone where nothing looks at the others.

A classifier of the BERT family reads the first token of the last layer. Of the other tokens that layer needs keys and
values; their queries and their feed-forward part, and the gradients of these, are computed for nothing: a quarter of
the work of a student of three layers. Weights and names stay as they are.
"""

from typing import Any

from torch import Tensor, nn

from redistill.models.attention import attend

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")  # of transformers; all have layers of this shape


class FirstToken(nn.Module):
    """A layer in the place of another, whose parts it holds under the same names. `whole` computes every token."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        for name, part in layer.named_children():
            self.add_module(name, part)
        self.layer: tuple[Any] = (layer,)  # in a tuple it is no part: each part is held once
        self.whole = False

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *given: Any, **named: Any) -> Any:
        """Hidden states (B, T, H) in, (B, 1, H) out; (B, T, H) out if `whole`."""
        if self.whole:
            return self.layer[0](hidden_states, attention_mask, *given, **named)
        attention: Any = self.attention
        own = attention.self
        first = hidden_states[:, :1]

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, own.attention_head_size)).transpose(1, 2)

        mixed, _ = attend(
            own, heads(own.query(first)), heads(own.key(hidden_states)), heads(own.value(hidden_states)),
            None if attention_mask is None else attention_mask[:, :, :1], own.scaling, own.dropout.p,
        )  # fmt: skip
        attended = attention.output(mixed.flatten(2), first)
        return self.layer[0].feed_forward_chunk(attended)


def read_first_token(model: Any) -> None:
    """Let the last layer of a sequence classifier of these families compute the first token alone."""
    if model.config.model_type in FAMILIES and not model.config.is_decoder:
        layers = getattr(model, model.base_model_prefix).encoder.layer
        layers[-1] = FirstToken(layers[-1])


def whole_where_tapped(model: nn.Module, paths: list[str]) -> None:
    """Compute every token of the last layer if one of these modules is it, or within it, or holds it."""
    for name, module in model.named_modules():
        if isinstance(module, FirstToken):
            module.whole = any(f"{a}.".startswith(f"{b}.") for path in paths for a, b in ((name, path), (path, name)))
