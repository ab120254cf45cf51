"""The samples all estimators share: batches of the same prompts, each answered anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli import functional as F
from ketchup_cli.errors import DataError
from ketchup_cli.models.encode import Limits, Row, encode_prompts
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.hf import Samples, sample
from ketchup_cli.records import Example, Generation
from ketchup_cli.train.rollouts import without_unfinished

if TYPE_CHECKING:
    from ketchup_cli.lab.resume import Kept
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.reporting import Reporter
    from ketchup_cli.signals import Batch
    from ketchup_cli.specs import LabSpec

ENCODED_AT_ONCE = 1000
"""Examples whose prompts are looked at together until there are enough."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Independent batches of one set of prompts."""

    batches: tuple[Batch, ...]
    texts: tuple[Generation, ...]
    """Every completion, also those left out of the batches; `sample` counts through the batches."""
    finished: float
    """Share of the completions that ended by themselves."""

    @property
    def counts(self) -> tuple[float, float]:
        """Mean own tokens and mean completions of a batch."""
        masks = (F.own_mask(batch.mask_BT, batch.forced_BT) for batch in self.batches)
        tokens = sum(float(mask_BT.sum()) for mask_BT in masks)
        sequences = sum(len(batch.ids) for batch in self.batches)
        return tokens / len(self.batches), sequences / len(self.batches)


def choose_prompts(policy: Policy, examples: Sequence[Example], spec: LabSpec) -> list[Row]:
    """Return the first prompts whose length is in the range.

    Raises:
        DataError: there are fewer than asked for.
    """
    shortest, longest = spec.prompt_tokens
    limits = Limits(prompt=longest, too_long="skip")
    rows: list[Row] = []
    for start in range(0, len(examples), ENCODED_AT_ONCE):
        part = examples[start : start + ENCODED_AT_ONCE]
        encoded = encode_prompts(policy, part, limits)
        rows += [row for row in encoded.rows if len(row.prompt) >= shortest]
        if len(rows) >= spec.prompts:
            return rows[: spec.prompts]
    raise DataError(
        f"split `{spec.split}` has {len(rows)} prompts of {shortest} to {longest} tokens;"
        f" {spec.prompts} are asked for",
        hint=f"--set prompts={max(1, len(rows))}, or a wider range of prompt_tokens",
    )


def draw(
    policy: Policy, rows: Sequence[Row], *, spec: LabSpec, reporter: Reporter, kept: Kept
) -> Rollouts:
    """Let the student answer all prompts once for every batch whose samples are not kept yet.

    A sample's random numbers come from (seed, example id, sample index), so fewer batches are the
    first of more.

    Raises:
        ModelError: all completions of a batch were cut, and cut ones drop.
        NonFiniteError: the model's logits are not finite.
    """
    batches: list[Batch] = []
    texts: list[Generation] = []
    total = spec.batches * len(rows) * spec.samples
    with reporter.progress("sampling", total=total, unit="completions") as progress:
        for index in range(spec.batches):
            first = index * spec.samples
            samples = kept.samples(index, device=policy.device)
            if samples is None:
                samples = sample(policy, rows, _sampling(spec, first), seed=spec.seed)
                kept.put_samples(index, samples)
            batches.append(without_unfinished(samples, keep=spec.unfinished == "terminal"))
            texts += _texts(policy, samples, spec.samples, first=first)
            progress.advance(len(samples.batch.ids), tokens=int(samples.batch.mask_BT.sum()))
    finished = sum(text.stop == "eos" for text in texts) / len(texts)
    return Rollouts(batches=tuple(batches), texts=tuple(texts), finished=finished)


def _sampling(spec: LabSpec, first: int) -> Sampling:
    return Sampling(
        samples=spec.samples,
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        max_new_tokens=spec.max_new_tokens,
        first=first,
        calculator=spec.calculator,
    )


def _texts(policy: Policy, samples: Samples, copies: int, *, first: int) -> Iterator[Generation]:
    batch = samples.batch
    assert batch.behaviour_logp_BT is not None
    lengths = batch.mask_BT.sum(dim=1).int().tolist()
    tokens = [row[:size] for row, size in zip(batch.tokens_BT.tolist(), lengths, strict=True)]
    written = zip(
        batch.ids,
        policy.decode(tokens),
        tokens,
        samples.finished_B.tolist(),
        batch.behaviour_logp_BT.double().sum(dim=1).tolist(),
        strict=True,
    )
    for number, (name, text, ids, ended, logp) in enumerate(written):
        yield Generation(
            id=name,
            sample=first + number % copies,
            text=text,
            tokens=tuple(ids),
            stop="eos" if ended else "length",
            logp=logp,
        )
