"""What `train` and `distill` have in common: rows, dev figures, the run, the student's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator
from torch import Tensor

from ketchup_cli import corpora
from ketchup_cli import functional as F
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.encode import Encoded, Limits, Row, by_length, collate, encode_prompts
from ketchup_cli.models.filling import hide_all
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import pick_device, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.objectives import Term
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import languages
from ketchup_cli.scoring.bleu import bleu_details
from ketchup_cli.scoring.languages import SPACED
from ketchup_cli.scoring.report import corpus_metric
from ketchup_cli.signals import Batch, Prefixes, to_device
from ketchup_cli.specs import DecodingSpec, TrainingSpec
from ketchup_cli.stages.learning import PARTS
from ketchup_cli.store.build import Build
from ketchup_cli.train.data import RowSource, Source
from ketchup_cli.train.loop import train
from ketchup_cli.train.masked import MaskedSource
from ketchup_cli.train.run import Outcome, Run

LOG = "metrics.jsonl"

DECODED_TOKENS = 8000
"""Padded prompt tokens of a batch that is decoded for the dev figures."""

SCORED_TOKENS = 512
"""Tokens whose logits over the vocabulary exist at once when dev rows are scored."""

Probe = Callable[[Sequence[Row]], Mapping[str, float]]
"""Figures on fixed rows, the mean divergence of the student from its teacher among them."""


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
    spec: TrainingSpec
    examples: Sequence[Example]
    rows: Sequence[Row]
    """The examples with their first reference."""
    prompts: Sequence[Row]
    probe: Probe | None = None
    tokenize: str = SPACED
    """What finds the words of BLEU."""

    def figures(self) -> dict[str, float]:
        """Return the task metric and its companions, greedily decoded."""
        found: dict[str, float] = {}
        if self.spec.validation.metric != "loss":
            found |= self._text_figures()
        found["loss"] = mean_loss(self.policy, self.rows, self.spec.tokens_per_batch)
        count = self.spec.validation.probe
        if self.probe is not None and count:
            found |= self.probe(self.rows[:count])
        return found

    def _text_figures(self) -> dict[str, float]:
        decoding = DecodingSpec(
            method="mask-predict" if self.policy.fills_in else "greedy",
            max_new_tokens=self.spec.validation.max_new_tokens,
            calculator=self.spec.validation.calculator,
        )
        answers = generate(
            self.policy, self.prompts, decoding, seed=0, tokens_per_batch=DECODED_TOKENS
        )
        texts = {answer.id: answer for answer in answers}
        kept = [example for example in self.examples if example.id in texts]
        hypotheses = [texts[example.id].text for example in kept]
        references = [list(example.references) for example in kept]
        details = bleu_details(hypotheses, references, tokenize=self.tokenize)
        found = {
            "bleu": details.value,
            "chrf": corpus_metric("chrf", hypotheses, references),
            "length": sum(len(answer.tokens) for answer in answers) / len(answers),
            "length_ratio": details.length_ratio,
            "brevity_penalty": details.brevity_penalty,
            "finished": sum(answer.stop == "eos" for answer in answers) / len(answers),
        }
        metric = self.spec.validation.metric
        if metric not in found:
            found[metric] = corpus_metric(metric, hypotheses, references)
        return found


def dev_set(
    policy: Policy,
    spec: TrainingSpec,
    folder: Path,
    *,
    reporter: Reporter,
    probe: Probe | None = None,
) -> DevSet:
    """Return the first examples of the dev split of a corpus, ready to judge a run on.

    Raises:
        SpecError: there is no such split.
        DataError: rows without a reference, too long, or none left.
    """
    examples = corpora.read_split(folder, spec.validation.split)[: spec.validation.examples]
    encoded = reference_rows(policy, examples, limits(spec))
    note_encoded(encoded, reporter, what=f"{spec.validation.split} rows")
    limit = Limits(prompt=spec.max_prompt_tokens, too_long=spec.too_long)
    return DevSet(
        policy=policy,
        spec=spec,
        examples=examples,
        rows=encoded.rows,
        prompts=encode_prompts(policy, examples, limit).rows,
        probe=probe,
        tokenize=SPACED
        if spec.validation.metric == "loss"
        else _tokenizer(corpora.languages(folder), reporter),
    )


def _tokenizer(declared: Sequence[str], reporter: Reporter) -> str:
    """Return the tokenizer of dev BLEU, that of `score` for the corpus' language where it is here.

    Characters take its place where it is not: a run is not refused for what only picks weights.
    """
    tokenize = languages.pick_tokenizer(languages.AUTO, declared)
    if tokenize == languages.SPACED:
        return tokenize
    try:
        languages.bleu_metric(tokenize)
    except SpecError as error:
        reporter.note("warning", f"dev BLEU counts characters: {error.message}")
        return "char"
    reporter.note("dev BLEU", f"tokenizer {tokenize}, for `{languages.base_language(declared)}`")
    return tokenize


def on_tokens(
    policy: Policy,
    rows: Sequence[Row],
    visit: Callable[[Batch, Tensor], float],
    *,
    tokens_per_batch: int,
) -> float:
    """Return the mean over all completion tokens of what `visit` sums, in eval mode.

    From a student that fills in all of them are hidden; its end tokens are none of them.

    Args:
        policy: whose mode is changed, and restored.
        rows: with completions.
        visit: sums over the tokens of a batch that stand at the places it is given.
        tokens_per_batch: padded tokens in one forward pass.
    """
    training = policy.module.training
    policy.module.eval()
    total, count = 0.0, 0
    try:
        with torch.no_grad():
            for numbers in by_length(rows, tokens_per_batch):
                batch = collate([rows[i] for i in numbers], pad_id=policy.pad_id, source="data")
                if policy.fills_in:
                    batch = hide_all(batch, end_id=policy.eos_id)
                batch = to_device(batch, policy.device)
                places_N = batch.mask_BT.flatten().nonzero()[:, 0]
                total, count = total + visit(batch, places_N), count + len(places_N)
    finally:
        policy.module.train(training)
    return total / max(1, count)


def mean_loss(policy: Policy, rows: Sequence[Row], tokens_per_batch: int) -> float:
    """Return the negative log-likelihood per token of the rows' completions (nats)."""

    def visit(batch: Batch, places_N: Tensor) -> float:
        hidden_NH = policy.hidden(batch).flatten(0, 1)[places_N]
        tokens_N = batch.tokens_BT.flatten()[places_N]
        total = 0.0
        for part in chunks(len(places_N)):
            logits_1NV = policy.head(hidden_NH[part])[None]
            total -= float(F.log_probs_of(logits_1NV, tokens_N[part][None]).sum())
        return total

    return on_tokens(policy, rows, visit, tokens_per_batch=tokens_per_batch)


def chunks(count: int) -> list[slice]:
    """Return slices that cover `count` tokens, `SCORED_TOKENS` at most in each."""
    return [slice(start, start + SCORED_TOKENS) for start in range(0, count, SCORED_TOKENS)]


def row_source(
    policy: Policy, spec: TrainingSpec, rows: Sequence[Row], *, source: Prefixes
) -> Source:
    """Return batches of these rows, with tokens hidden where the student fills in."""
    whole = RowSource(
        rows,
        tokens_per_batch=spec.tokens_per_batch,
        pad_id=policy.pad_id,
        seed=spec.seed,
        source=source,
    )
    if not policy.fills_in:
        return whole
    return MaskedSource(whole, seed=spec.seed, end_id=policy.eos_id)


def check_terms(policy: Policy, terms: Sequence[Term]) -> None:
    """Refuse a loss that the student cannot learn from.

    Raises:
        SpecError: hidden tokens and lengths of a student that has none, or anything else of one
            that has.
    """
    kind = policy.model.config.model_type
    for term in terms:
        if policy.fills_in and not term.needs.lengths:
            raise SpecError(
                f"`{term.name}` is about the next token; a `{kind}` student fills in hidden ones",
                hint="--objective cmlm",
            )
        if term.needs.lengths and not policy.fills_in:
            raise SpecError(
                f"`{term.name}` is about hidden tokens; a `{kind}` student writes the next one",
                hint="ketchup shrink --set architecture=cmlm, or --objective nll",
            )


def run_training(run: Run, build: Build) -> dict[str, Any]:
    """Train, write the best student into the build, and return the summary.

    Raises:
        NonFiniteError: a loss, a gradient or a weight is not finite.
    """
    from safetensors.torch import save_file

    outcome = train(run)
    run.reporter.note("student", outcome.sentence)
    folder = build.scratch()
    save_policy(run.policy, folder, dtype=run.spec.save_dtype)
    if run.extras:
        tensors = {name: value for extra in run.extras for name, value in extra.tensors().items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / PARTS)
    build.adopt(folder)
    return summary(outcome, run.policy, run.spec)


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
        "kept": next(
            dict(figures)
            for figures in outcome.validations
            if figures["update"] == outcome.best_update
        ),
    }


def make_accelerator(spec: TrainingSpec) -> Accelerator:
    """Return the accelerator of this process; precision is the policy's own business.

    Raises:
        SpecError: this machine does not have the device the spec names.
    """
    pick_device(spec.device)
    return Accelerator(cpu=spec.device == "cpu", mixed_precision="no")
