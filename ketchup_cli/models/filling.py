"""A model that fills in, aligned to completions: which tokens it is shown, and how long they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, final

from torch import Tensor, nn

if TYPE_CHECKING:
    from ketchup_cli.models.cmlm import CmlmModel
    from ketchup_cli.signals import Batch


@final
class FillingModel(nn.Module):
    """A `CmlmModel` that answers with states of completions and how likely their lengths are.

    Invariant: row b, step t of the result belongs to `tokens_BT[b, t]`; nothing is shifted. The end
    token is always shown and counts for no length.
    """

    def __init__(self, model: CmlmModel, *, end_id: int) -> None:
        super().__init__()
        self.model = model
        self.end_id = end_id

    def forward(
        self,
        prompt_BS: Tensor,
        prompt_mask_BS: Tensor,
        tokens_BT: Tensor,
        mask_BT: Tensor,
        shown_BT: Tensor,
        *,
        logits: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[B, T, rows]` or the states the head reads, and `[B]` log-probabilities."""
        real_BT = ((mask_BT != 0) | (shown_BT != 0)).long()
        states_BSH = self.model.read(prompt_BS, prompt_mask_BS)
        hidden = self.model.fill(states_BSH, prompt_mask_BS, tokens_BT, real_BT, shown_BT)
        size_B = (real_BT * (tokens_BT != self.end_id)).sum(dim=1)
        logp_BC = self.model.length_logits(states_BSH, prompt_mask_BS).float().log_softmax(dim=-1)
        class_B = length_class(size_B, prompt_mask_BS.sum(dim=1), classes=logp_BC.shape[1])
        length_logp_B = logp_BC.gather(1, class_B[:, None])[:, 0]
        return self.head(hidden) if logits else hidden, length_logp_B

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits of states `[..., H]`, padded vocabulary rows included."""
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits


def length_class(size_B: Tensor, prompt_size_B: Tensor, *, classes: int) -> Tensor:
    """Return the class of completions of these sizes, end tokens not counted.

    c = size - prompt size + classes // 2,   from 0 to classes - 1
    """
    return (size_B - prompt_size_B + classes // 2).clamp(0, classes - 1).long()


def length_of_class(class_BC: Tensor, prompt_size_B: Tensor, *, classes: int) -> Tensor:
    """Return how many tokens a class stands for; below 1 where no completion can be of it."""
    return class_BC + prompt_size_B[:, None] - classes // 2


def hide(batch: Batch, hidden_BT: Tensor) -> Batch:
    """Return a batch in which these tokens are hidden and all other real ones are shown."""
    real_BT = batch.mask_BT.bool()
    hidden_BT = hidden_BT & real_BT
    return replace(batch, mask_BT=hidden_BT.float(), shown_BT=(real_BT & ~hidden_BT).float())


def hide_all(batch: Batch, *, end_id: int) -> Batch:
    """Return a batch in which nothing but the end token is shown."""
    return hide(batch, batch.tokens_BT != end_id)
