"""Train the student with any objective or mix: the student's folder, and the log of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ketchup_cli import corpora, objectives
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Reporter
from ketchup_cli.signals import Prefixes
from ketchup_cli.specs import DistillSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Encoded, Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import LiveTeacher, Teacher
    from ketchup_cli.records import Example
    from ketchup_cli.stages.training import Probe
    from ketchup_cli.train.data import Source

PSEUDO_TARGETS = "pseudo-targets.jsonl"


def plan(spec: DistillSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: the loss, who the teacher is and why, the size of the work."""
    terms = objectives.terms(spec.objective)
    validation = spec.validation
    size = f"batches of {spec.tokens_per_batch:,} tokens"
    if any(term.prefixes == "student" for term in terms):
        size = f"{spec.rollout.prompts} prompts x {spec.rollout.samples} samples"
    return (
        ("objective", " + ".join(_describe(term) for term in terms)),
        *(("teacher", line) for line in _teacher_lines(spec, terms, inputs)),
        ("plan", f"{spec.updates:,} updates x {size}, {spec.precision}"),
        (
            "dev",
            f"{validation.metric} on {validation.examples} of {validation.split},"
            f" every {validation.every} updates",
        ),
    )


def _describe(term: Term) -> str:
    (table,) = objectives.to_tables([term])
    fields = [
        f"{name}={value}"
        for name, value in table.items()
        if name not in {"name", "weight", "prefixes"}
    ]
    weight = "" if term.weight == 1 else f"{term.weight:g} x "
    return f"{weight}{term.name}({', '.join(fields)}) on {term.prefixes} completions"


def _teacher_lines(
    spec: DistillSpec, terms: Sequence[Term], inputs: Mapping[str, Input]
) -> list[str]:
    lines = []
    for prefixes, needing in _needing_teacher(terms).items():
        names = ", ".join(term.name for term in needing)
        if _serves(spec, prefixes, inputs):
            lines.append(f"{inputs['cache'].label}, cached, for {names}")
        else:
            why = "" if prefixes != "student" else ": a cache cannot serve the student's prefixes"
            lines.append(f"{_teacher(inputs, names).label}, live, for {names}{why}")
    return lines


def _needing_teacher(terms: Sequence[Term]) -> dict[Prefixes, list[Term]]:
    """Return the terms that read a teacher, by who writes their completions."""
    found: dict[Prefixes, list[Term]] = {}
    for term in terms:
        if term.needs.teacher != "none":
            found.setdefault(term.prefixes, []).append(term)
    return found


def _serves(spec: DistillSpec, prefixes: Prefixes, inputs: Mapping[str, Input]) -> bool:
    """Return whether a cache answers for these completions."""
    return prefixes != "student" and spec.teacher != "live" and "cache" in inputs


def _teacher(inputs: Mapping[str, Input], names: str) -> Input:
    if "teacher" not in inputs:
        raise MismatchError(
            f"{names} needs a teacher; there is neither a model nor a cache that serves it",
            hint="--teacher NAME, or ketchup cache-teacher",
        )
    return inputs["teacher"]


def run(
    spec: DistillSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the student's folder; checkpoints live beside it until it is done.

    Raises:
        MismatchError: a teacher, cache or tokenizer that does not fit.
        DataError: rows too long, or none left.
        NonFiniteError: the loss or a gradient is NaN or infinite.
    """
    from ketchup_cli.models.load import load_policy, quiet
    from ketchup_cli.stages import training

    quiet()
    terms = objectives.terms(spec.objective)
    _check_caches(spec, terms, inputs)
    accelerator = training.make_accelerator(spec)
    student = load_policy(
        inputs["student"].path,
        device=accelerator.device.type,
        precision=spec.precision,
        dropout=spec.dropout,
    )
    live = _live_teacher(spec, terms, inputs, student)
    dev = training.DevSet(
        policy=student,
        examples=training.dev_examples(spec, inputs["corpus"].path),
        spec=spec,
        probe=None if live is None else _probe(student, live),
    )
    return training.run_training(
        policy=student,
        terms=terms,
        spec=spec,
        sources=_sources(spec, terms, inputs, student=student, reporter=reporter),
        build=build,
        teachers=_teachers(spec, terms, inputs, live=live),
        evaluate=dev.figures,
        accelerator=accelerator,
        reporter=reporter,
        reuse=spec.rollout.reuse,
    )


def _check_caches(spec: DistillSpec, terms: Sequence[Term], inputs: Mapping[str, Input]) -> None:
    """Hold the cache against every term it is to serve, before any model is loaded."""
    from ketchup_cli.models.cache import read_meta
    from ketchup_cli.models.teacher import cache_offers, check_offers

    for prefixes, needing in _needing_teacher(terms).items():
        if not _serves(spec, prefixes, inputs):
            _teacher(inputs, ", ".join(term.name for term in needing))
            continue
        offers = cache_offers(read_meta(inputs["cache"].path))
        for term in needing:
            check_offers(term.needs, offers, inputs["cache"].label, prefixes=prefixes)


def _live_teacher(
    spec: DistillSpec, terms: Sequence[Term], inputs: Mapping[str, Input], student: Policy
) -> LiveTeacher | None:
    """Return the teacher beside the student, if any term cannot do without it."""
    from ketchup_cli.models.cache import read_meta
    from ketchup_cli.models.load import check_same_tokenizer, load_policy
    from ketchup_cli.models.teacher import LiveTeacher

    needing = _needing_teacher(terms)
    if any(_serves(spec, prefixes, inputs) for prefixes in needing):
        cached = read_meta(inputs["cache"].path).layout.tokenizer
        if cached != student.fingerprint:
            raise MismatchError(
                f"teacher cache `{inputs['cache'].label}` was made with tokenizer"
                f" `{cached[7:15]}`, the student's is `{student.fingerprint[7:15]}`",
                hint="use a student of the teacher's family, or `ketchup seqkd`, which needs only"
                " text",
            )
    if all(_serves(spec, prefixes, inputs) for prefixes in needing):
        return None
    teacher = load_policy(
        inputs["teacher"].path, device=student.device.type, precision=spec.precision
    )
    check_same_tokenizer(teacher, student)
    return LiveTeacher(teacher, chunk_tokens=spec.chunk_tokens)


def _teachers(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    live: LiveTeacher | None,
) -> dict[Prefixes, Teacher]:
    from ketchup_cli.models.teacher import CachedTeacher

    teachers: dict[Prefixes, Teacher] = {}
    for prefixes in _needing_teacher(terms):
        if _serves(spec, prefixes, inputs):
            cache = inputs["cache"]
            teachers[prefixes] = CachedTeacher(cache.path, name=cache.label)
        else:
            assert live is not None
            teachers[prefixes] = live
    return teachers


def _sources(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    reporter: Reporter,
) -> dict[Prefixes, Source]:
    """Return where the completions of each kind come from."""
    from ketchup_cli.stages import training
    from ketchup_cli.train.data import PromptSource, RowSource
    from ketchup_cli.train.rollouts import RolloutSource

    examples = corpora.read_split(inputs["corpus"].path, spec.split)
    examples = examples[: spec.examples or None]
    sources: dict[Prefixes, Source] = {}
    for prefixes in dict.fromkeys(term.prefixes for term in terms):
        encoded = _rows(spec, prefixes, inputs, student=student, examples=examples)
        training.note_encoded(encoded, reporter, what=f"{prefixes} rows")
        if prefixes == "student":
            prompts = PromptSource(encoded.rows, prompts=spec.rollout.prompts, seed=spec.seed)
            sources[prefixes] = RolloutSource(
                student, prompts, rollout=spec.rollout, seed=spec.seed
            )
        else:
            sources[prefixes] = RowSource(
                encoded.rows,
                tokens_per_batch=spec.tokens_per_batch,
                pad_id=student.pad_id,
                seed=spec.seed,
                source=prefixes,
            )
    return sources


def _rows(
    spec: DistillSpec,
    prefixes: Prefixes,
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    examples: Sequence[Example],
) -> Encoded:
    """Return the rows of one kind: references, pseudo-targets, or prompts alone."""
    from ketchup_cli.models.encode import Limits, encode_prompts
    from ketchup_cli.models.sources import of_examples, pseudo_target_rows, reference_rows
    from ketchup_cli.stages import training

    if prefixes == "student":
        limit = Limits(prompt=spec.max_prompt_tokens, too_long=spec.too_long)
        return encode_prompts(student, examples, limit)
    limits = training.limits(spec)
    if prefixes == "data":
        return reference_rows(student, examples, limits)
    generations = corpora.read_generations(inputs["pseudo-targets"].path / PSEUDO_TARGETS)
    if spec.examples:
        generations = of_examples(generations, examples)
    return pseudo_target_rows(student, examples, generations, limits)


def _probe(student: Policy, live: LiveTeacher) -> Probe:
    """Return a measure of KL(teacher || student) per token on given rows (nats)."""
    from ketchup_cli import functional as F
    from ketchup_cli.stages.training import on_batches

    def measure(rows: Sequence[Row]) -> float:
        def visit(batch: Any) -> tuple[float, float]:
            divergence_BT = F.kl(live.policy.logits(batch), student.logits(batch))
            total = F.masked_sum(divergence_BT, batch.mask_BT)
            return float(total), float(batch.mask_BT.sum())

        return on_batches(student, rows, visit)

    return measure
