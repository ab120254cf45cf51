"""The student's own completions as a source of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch

from ketchup_cli.errors import ModelError, RewardError
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.hf import Samples, sample
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch, Prefixes
from ketchup_cli.specs import RolloutSpec
from ketchup_cli.train.data import PromptSource

SOURCE: Prefixes = "student"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What completions earned, which are right, and of which nobody could tell."""

    reward_B: torch.Tensor
    correct_B: torch.Tensor
    failed_B: torch.Tensor
    """Boolean; where it is true the other two mean nothing."""


Judge = Callable[[Samples], Verdict]
"""From samples to their rewards."""


@final
class RolloutSource:
    """Prompts answered by the student as it is when the batch is asked for.

    Invariant: a completion depends on the weights and on (seed, example id, sample index); a
    prompt met again in a later epoch has later sample indices, so its samples are new. Where
    `rollout.teacher_share` is above 0 the teacher's weights have their part in it too.
    """

    def __init__(
        self,
        policy: Policy,
        prompts: PromptSource,
        *,
        rollout: RolloutSpec,
        seed: int,
        teacher: Policy | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._policy = policy
        self._prompts = prompts
        self._rollout = rollout
        self._seed = seed
        self._teacher = teacher
        self._judge = judge

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly, each drawn when asked for.

        Raises:
            ModelError: not one completion of a batch ended by itself, and unfinished ones drop.
            RewardError: the reward of every completion of a batch failed.
        """
        for _epoch, samples in self.samples(first, stride):
            if self._judge is not None:
                samples = judged(samples, self._judge(samples))
            yield without_unfinished(samples, keep=self._rollout.unfinished == "terminal")

    def samples(self, first: int, stride: int) -> Iterator[tuple[int, Samples]]:
        """Return (epoch, samples) of the same batches, with those that were cut."""
        for epoch, rows in self._prompts.prompts(first, stride):
            yield (
                epoch,
                sample(
                    self._policy,
                    rows,
                    Sampling(
                        samples=self._rollout.samples,
                        temperature=self._rollout.temperature,
                        top_k=self._rollout.top_k,
                        top_p=self._rollout.top_p,
                        max_new_tokens=self._rollout.max_new_tokens,
                        first=epoch * self._rollout.samples,
                        teacher_share=self._rollout.teacher_share,
                        calculator=self._rollout.calculator,
                    ),
                    seed=self._seed,
                    teacher=self._teacher,
                ),
            )


def judged(samples: Samples, verdict: Verdict) -> Samples:
    """Return samples with their rewards, without those whose reward failed; their share is noted.

    Raises:
        RewardError: nothing is left.
    """
    failed_B = verdict.failed_B
    if bool(failed_B.all()):
        raise RewardError(
            f"the reward of all {len(failed_B)} completions of a batch failed",
            hint="ketchup rollout with the same reward tells why, in its report.json",
        )
    batch = replace(
        samples.batch,
        reward_B=verdict.reward_B,
        correct_B=verdict.correct_B,
        unrewarded=float(failed_B.float().mean()),
    )
    if not bool(failed_B.any()):
        return Samples(batch=batch, finished_B=samples.finished_B)
    kept = (~failed_B).nonzero().flatten()
    return Samples(batch=_rows(batch, kept), finished_B=samples.finished_B[kept])


def without_unfinished(samples: Samples, *, keep: bool) -> Batch:
    """Return the batch without rows that were cut, or with them if `keep`; the share is noted.

    Raises:
        ModelError: nothing is left.
    """
    finished_B = samples.finished_B
    share = float(finished_B.float().mean())
    if keep or bool(finished_B.all()):
        return replace(samples.batch, finished=share)
    if not bool(finished_B.any()):
        raise ModelError(
            f"none of {len(samples.batch.ids)} sampled completions ended by itself",
            hint="raise rollout.max_new_tokens, start from a trained student, or"
            " --set rollout.unfinished=terminal",
        )
    kept = finished_B.nonzero().flatten()
    return replace(_rows(samples.batch, kept), finished=share)


def _rows(batch: Batch, kept: torch.Tensor) -> Batch:
    """Return the batch with these rows only, and no columns of padding alone."""
    numbers = kept.tolist()
    width = int(batch.mask_BT[kept].sum(dim=1).max())
    return replace(
        batch,
        ids=tuple(batch.ids[number] for number in numbers),
        prompt_BS=batch.prompt_BS[kept],
        prompt_mask_BS=batch.prompt_mask_BS[kept],
        tokens_BT=batch.tokens_BT[kept, :width],
        mask_BT=batch.mask_BT[kept, :width],
        behaviour_logp_BT=_columns(batch.behaviour_logp_BT, kept, width),
        forced_BT=_columns(batch.forced_BT, kept, width),
        reward_B=_of(batch.reward_B, kept),
        correct_B=_of(batch.correct_B, kept),
        group_B=_of(batch.group_B, kept),
        rows=tuple(batch.rows[number] for number in numbers),
    )


def _of(x_B: torch.Tensor | None, kept: torch.Tensor) -> torch.Tensor | None:
    return None if x_B is None else x_B[kept]


def _columns(x_BT: torch.Tensor | None, kept: torch.Tensor, width: int) -> torch.Tensor | None:
    return None if x_BT is None else x_BT[kept, :width]
