"""A table of embeddings of which only the rows that a stage's texts use are trained.

Of thirty thousand rows a data set of a few thousand texts uses a third. The others have no gradient, so all that AdamW
does to them is to let them decay, by the same factor at each step. Here that factor is kept, and applied when they are
read; gradients, moments and steps are those of the used rows alone. The result is that of the whole table, up to the
rounding of the decay.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer


class UsedRows(nn.Module):
    """In the place of an `nn.Embedding` while a stage is trained: `weight` (U, H) are the used rows, in their order;
    `rest` (V - U, H) the others, as they were when the stage began, and `left` what decay has left of them.
    """

    rest: Tensor
    left: Tensor
    place: Tensor

    def __init__(self, table: nn.Embedding, used: Tensor):
        super().__init__()
        rows = table.weight.detach()
        self.weight = nn.Parameter(rows[used])
        self.register_buffer("rest", rows[~used])
        self.register_buffer("left", torch.ones((), dtype=torch.float64, device=rows.device))
        # of each id: its row in `weight`; or, below 0, its row in `rest`, counted from -1 downwards
        place = torch.where(used, used.cumsum(0) - 1, -(~used).cumsum(0))
        self.register_buffer("place", place, persistent=False)
        self.padding = None if table.padding_idx is None else int(place[table.padding_idx])
        self.table = (table,)  # in a tuple it is no part: it is not trained or saved, and holds nothing meanwhile
        table.weight.data = rows.new_empty(0)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids of any shape in, their rows (..., H) out. While training, all must be used ones."""
        place = self.place[ids]
        if self.training:
            return F.embedding(place, self.weight, self.padding)
        others = self.rest[(-1 - place).clamp(min=0)] * self.left.to(self.rest.dtype)
        return torch.where((place >= 0).unsqueeze(-1), self.weight[place.clamp(min=0)], others)

    def after_step(self, optimiser: Optimizer) -> None:
        """Let the other rows decay, as the optimiser did with these."""
        group = next(group for group in optimiser.param_groups if any(p is self.weight for p in group["params"]))
        self.left.mul_(1 - group["lr"] * group["weight_decay"])

    def whole(self) -> nn.Embedding:
        """The table, with what its rows are now."""
        table = self.table[0]
        weight = self.rest.new_empty(table.num_embeddings, table.embedding_dim)
        weight[self.place >= 0] = self.weight.detach()
        weight[self.place < 0] = self.rest * self.left.to(self.rest.dtype)
        table.weight.data = weight
        return table


def use_rows(model: Any, texts: list[np.ndarray]) -> UsedRows | None:
    """Train the rows of these token ids and of padding, 0, alone; None if the table is not trained, or is shared."""
    table = model.get_input_embeddings()
    holders = [module for module in model.modules() if getattr(module, "weight", None) is getattr(table, "weight", 0)]
    if type(table) is not nn.Embedding or not table.weight.requires_grad or table.max_norm or len(holders) > 1:
        return None
    used = torch.zeros(table.num_embeddings, dtype=torch.bool)
    used[0] = True
    for text in texts:
        used.numpy()[text] = True
    rows = UsedRows(table, used.to(table.weight.device))
    model.set_input_embeddings(rows)
    return rows


def use_whole_table(model: Any, rows: UsedRows) -> None:
    """Put the table back, as it is now."""
    model.set_input_embeddings(rows.whole())
