"""What `train` and `distill` have in common: rows, dev figures, the run, the student's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from accelerate import Accelerator

from ketchup_cli import corpora
from ketchup_cli import functional as F
from ketchup_cli.errors import DataError
from ketchup_cli.models.encode import Encoded, Limits, Row, by_length, collate, encode_prompts
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.objectives import Term
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring.bleu import bleu_details
from ketchup_cli.scoring.report import corpus_metric
from ketchup_cli.signals import Batch, Prefixes, to_device
from ketchup_cli.specs import DecodingSpec, TrainingSpec
from ketchup_cli.store.build import Build
from ketchup_cli.train.data import Source
from ketchup_cli.train.loop import train
from ketchup_cli.train.metrics import MetricsLog
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.run import Outcome, Run

LOG = "metrics.jsonl"

Probe = Callable[[Sequence[Row]], float]
"""Mean divergence of the student from its teacher on fixed rows."""


def limits(spec: TrainingSpec) -> Limits:
    """Return the length limits of a training spec."""
    return Limits(
        prompt=spec.max_prompt_tokens, completion=spec.max_completion_tokens, too_long=spec.too_long
    )


def note_encoded(encoded: Encoded, reporter: Reporter, *, what: str) -> None:
    """Say how many rows there are, and how many were cut or left out.

    Raises:
        DataError: none is left.
    """
    if not encoded.rows:
        raise DataError(
            f"no {what} left: {encoded.skipped} were too long",
            hint="raise max_prompt_tokens or max_completion_tokens",
        )
    tokens = sum(row.size for row in encoded.rows)
    reporter.note(
        what,
        f"{len(encoded.rows):,} rows, {tokens:,} tokens,"
        f" {encoded.truncated} truncated, {encoded.skipped} skipped",
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DevSet:
    """The examples a run is judged on, with the student that answers them."""

    policy: Policy
    examples: Sequence[Example]
    spec: TrainingSpec
    probe: Probe | None = None

    def figures(self) -> dict[str, float]:
        """Return the task metric and its companions, greedily decoded."""
        found: dict[str, float] = {}
        if self.spec.validation.metric != "loss":
            found |= self._text_figures()
        rows = reference_rows(self.policy, self.examples, limits(self.spec)).rows
        found["loss"] = mean_loss(self.policy, rows)
        count = self.spec.validation.probe
        if self.probe is not None and count:
            found["kl_probe"] = self.probe(rows[:count])
        return found

    def _text_figures(self) -> dict[str, float]:
        limit = Limits(prompt=self.spec.max_prompt_tokens, too_long=self.spec.too_long)
        prompts = encode_prompts(self.policy, self.examples, limit).rows
        decoding = DecodingSpec(max_new_tokens=self.spec.validation.max_new_tokens)
        texts = {
            text.id: text
            for text in generate(
                self.policy, prompts, decoding, seed=0, tokens_per_batch=2 * TOKENS_PER_BATCH
            )
        }
        kept = [example for example in self.examples if example.id in texts]
        hypotheses = [texts[example.id].text for example in kept]
        references = [list(example.references) for example in kept]
        details = bleu_details(hypotheses, references)
        ended = sum(text.stop == "eos" for text in texts.values()) / max(1, len(texts))
        found = {
            "bleu": details.value,
            "chrf": corpus_metric("chrf", hypotheses, references),
            "length_ratio": details.length_ratio,
            "brevity_penalty": details.brevity_penalty,
            "finished": ended,
        }
        metric = self.spec.validation.metric
        if metric not in found:
            found[metric] = corpus_metric(metric, hypotheses, references)
        return found


TOKENS_PER_BATCH = 4000
"""Padded tokens of a dev batch."""


def on_batches(
    policy: Policy, rows: Sequence[Row], visit: Callable[[Batch], tuple[float, float]]
) -> float:
    """Return sum / count of what `visit` gives for every batch of rows, student in eval mode."""
    training = policy.module.training
    policy.module.eval()
    total = count = 0.0
    try:
        with torch.no_grad():
            for numbers in by_length(rows, TOKENS_PER_BATCH):
                batch = collate([rows[i] for i in numbers], pad_id=policy.pad_id, source="data")
                value, weight = visit(to_device(batch, policy.device))
                total, count = total + value, count + weight
    finally:
        policy.module.train(training)
    return total / max(1.0, count)


def mean_loss(policy: Policy, rows: Sequence[Row]) -> float:
    """Return the negative log-likelihood per token of the rows' completions (nats)."""

    def visit(batch: Batch) -> tuple[float, float]:
        logp_BT = F.log_probs_of(policy.logits(batch), batch.tokens_BT)
        return -float(F.masked_sum(logp_BT, batch.mask_BT)), float(batch.mask_BT.sum())

    return on_batches(policy, rows, visit)


def run_training(
    *,
    policy: Policy,
    terms: tuple[Term, ...],
    spec: TrainingSpec,
    sources: Mapping[Prefixes, Source],
    build: Build,
    **parts: Any,
) -> dict[str, Any]:
    """Train, write the best student into the build, and return the summary.

    Args:
        policy: the student; its weights change.
        terms: the loss.
        spec: settings of the run.
        sources: batches by who wrote their completions.
        build: where checkpoints, log and student go.
        parts: `teachers`, `evaluate`, `accelerator`, `reporter` and `reuse` of the run.
    """
    run = Run(
        policy=policy,
        terms=terms,
        spec=spec,
        sources=sources,
        checkpoints=Checkpoints(build.state_path),
        log=MetricsLog(build.log_path(LOG)),
        **parts,
    )
    outcome = train(run)
    run.reporter.note("student", outcome.sentence)
    folder = build.scratch()
    save_policy(policy, folder, dtype=spec.save_dtype)
    build.adopt(folder)
    return summary(outcome, policy, spec)


def summary(outcome: Outcome, policy: Policy, spec: TrainingSpec) -> dict[str, Any]:
    """Return what a manifest says about a training run."""
    return {
        "parameters": policy.model.num_parameters(),
        "model_type": policy.model.config.model_type,
        "updates": outcome.updates,
        "best_update": outcome.best_update,
        "metric": spec.validation.metric,
        "best": round(outcome.best, 4),
        "ended": outcome.ended or "finished",
        "sentence": outcome.sentence,
        "first": dict(outcome.validations[0]),
        "last": dict(outcome.validations[-1]),
    }


def dev_examples(spec: TrainingSpec, folder: Any) -> list[Example]:
    """Return the examples of the dev split that a run is judged on."""
    return corpora.read_split(folder, spec.validation.split)[: spec.validation.examples]


def make_accelerator(spec: TrainingSpec) -> Accelerator:
    """Return the accelerator of this process; precision is the policy's own business."""
    return Accelerator(cpu=spec.device == "cpu", mixed_precision="no")
