"""A teacher that learns: its trainable part on top of what it said before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, final

import torch

from ketchup_cli.models.adapters import Adapter
from ketchup_cli.models.teacher import Teacher
from ketchup_cli.signals import (
    Batch,
    Needs,
    Offers,
    StudentSignal,
    TeacherSignal,
    to_device,
)

if TYPE_CHECKING:
    from torch import Tensor


@final
class TrainedTeacher(Teacher):
    """A frozen teacher and the part of it that learns.

    Invariant: `own_BTV` of a signal is the teacher as it has learnt, with the gradient; all the
    rest is the teacher as it came, without one.
    Example: `TrainedTeacher(live, attach(live.policy, part, seed=0))`.
    """

    def __init__(self, frozen: Teacher, adapter: Adapter) -> None:
        self.frozen = frozen
        self.adapter = adapter

    @property
    def offers(self) -> Offers:
        """What the frozen teacher gives, and a gradient."""
        return replace(self.frozen.offers, gradient=True)

    def signal(
        self, batch: Batch, needs: Needs, student: StudentSignal | None = None
    ) -> TeacherSignal:
        """Return what `needs` asks for.

        Raises:
            MismatchError: the frozen teacher cannot give it.
            NonFiniteError: a logit of the frozen teacher is NaN or infinite.
        """
        asked = replace(needs, trainable_teacher=False)
        if asked.any_teacher:
            with self.adapter.plain():
                signal = self.frozen.signal(batch, asked, student)
        else:
            signal = _silent(batch, needs)
        if not needs.trainable_teacher:
            return signal
        device = next(self.adapter.module.parameters()).device
        own_BTV = self.adapter.logits(to_device(batch, device))
        return replace(signal, own_BTV=own_BTV.to(batch.tokens_BT.device))


def _silent(batch: Batch, needs: Needs) -> TeacherSignal:
    """Return a signal nobody asked statistics of: NaN, so that reading them cannot pass unseen."""
    nan_BT: Tensor = torch.full((), torch.nan, device=batch.tokens_BT.device).expand(
        batch.tokens_BT.shape
    )
    return TeacherSignal(
        taken_BT=nan_BT,
        best_BT=nan_BT,
        expected_BT=nan_BT,
        mean_BT=nan_BT,
        lse_BT=nan_BT,
        temperature=needs.temperature,
    )
