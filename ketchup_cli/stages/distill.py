"""Train the student with any objective or mix: the student's folder, and the log of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ketchup_cli import corpora, objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Reporter, how_often
from ketchup_cli.rewards.rewarder import is_named
from ketchup_cli.signals import Prefixes
from ketchup_cli.specs import DistillSpec
from ketchup_cli.stages.directions import of_direction, terms_of
from ketchup_cli.stages.gate import gate_of_run
from ketchup_cli.stages.learned_rows import encoded_rows
from ketchup_cli.stages.learning import Learner, give_part
from ketchup_cli.stages.rehearsing import Stored, check_stored, read_stored
from ketchup_cli.stages.rewarding import check_reward, judging_of, told
from ketchup_cli.stages.teaching import (
    Speaker,
    choose,
    kl_probe,
    load_live,
    open_cache,
    text_warning,
)
from ketchup_cli.stages.turns import replay_of
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import LiveTeacher, Teacher
    from ketchup_cli.records import Example
    from ketchup_cli.stages.training import Probe
    from ketchup_cli.train.data import Source
    from ketchup_cli.train.rollouts import Judge


def plan(spec: DistillSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: the loss, who the teacher is and why, the size of the work."""
    terms = terms_of(spec, inputs)
    _check_terms(spec, terms)
    validation = spec.validation
    size = f"batches of {spec.tokens_per_batch:,} tokens"
    if any(term.new_text for term in terms):
        size = f"{spec.rollout.prompts} prompts x {spec.rollout.samples} samples"
        size += ", with a calculator" if spec.rollout.calculator else ""
    warning = text_warning(terms, inputs)
    return (
        ("objective", " + ".join(_describe(term) for term in terms)),
        *(("teacher", line) for line in _teacher_lines(spec, terms, inputs)),
        *([("warning", warning)] if warning else []),
        *([("reward", told(spec.reward))] if is_named(spec.reward) else []),
        ("plan", f"{spec.updates:,} updates x {size}, {spec.precision}"),
        (
            "dev",
            f"{validation.metric} on {validation.examples} of {validation.split},"
            f" {how_often(validation.every)}",
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
    for speaker in choose(spec, terms, inputs).values():
        label = inputs["cache" if speaker.cached else "teacher"].label
        how = "cached" if speaker.cached else "live"
        why = f": {speaker.reason}" if speaker.reason else ""
        lines.append(f"{label}, {how}, for {speaker.names}{why}")
    return lines


def _check_terms(spec: DistillSpec, terms: Sequence[Term]) -> None:
    """Refuse rewards that are missing, and a teacher in rollouts that none of its kind listens to."""
    check_reward(spec, terms)
    share = spec.rollout.teacher_share
    if share and not any(term.prefixes == "student" and term.needs.any_teacher for term in terms):
        raise SpecError(
            f"`rollout.teacher_share` is {share:g}; no term has the student's own completions judged"
            " by a teacher",
            hint="--objective minillm, or --set rollout.teacher_share=0",
        )


def run(
    spec: DistillSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the student's folder; checkpoints live beside it until it is done.

    Raises:
        MismatchError, CheckFailed: a teacher, cache, tokenizer or template that does not fit.
        DataError: rows too long, or none left.
        RewardError: a reward that cannot be used, or that failed for a whole batch.
        NonFiniteError: the loss or a gradient is NaN or infinite.
    """
    from ketchup_cli.models.load import quiet

    quiet()
    with ExitStack() as open_:
        return _run(spec, inputs, build, reporter, open_=open_)


def _run(
    spec: DistillSpec,
    inputs: Mapping[str, Input],
    build: Build,
    reporter: Reporter,
    *,
    open_: ExitStack,
) -> dict[str, Any]:
    from ketchup_cli.stages import training
    from ketchup_cli.train.extras import extras_of, parts_of, sizes_of
    from ketchup_cli.train.metrics import MetricsLog
    from ketchup_cli.train.resume import Checkpoints
    from ketchup_cli.train.run import Run

    terms = terms_of(spec, inputs)
    _check_terms(spec, terms)
    speakers = choose(spec, terms, inputs)
    accelerator = training.make_accelerator(spec)
    student = _student(spec, inputs, device=str(accelerator.device), reporter=reporter)
    training.check_terms(student, terms)
    stored = read_stored(spec, terms, inputs, student=student, reporter=reporter)
    rows = _rows(spec, terms, inputs, student=student, stored=stored, reporter=reporter)
    teachers, live = _teachers(spec, speakers, inputs, student=student, rows=rows)
    failed = gate_of_run(spec, teachers, live, student, inputs=inputs, reporter=reporter)
    learner = give_part(
        terms, teachers, live, rows=rows.get("data", ()), seed=spec.seed, reporter=reporter
    )
    probe = _probe(live, learner, student, tokens_per_batch=spec.tokens_per_batch)
    asked = None if live is None else live.policy
    sizes = sizes_of(student, asked)
    parts = parts_of(terms, sizes, seed=spec.seed, device=student.device)
    dev = training.dev_set(student, spec, inputs["corpus"].path, reporter=reporter, probe=probe)
    judging = judging_of(spec, terms, inputs, student=student, open_=open_)
    summary = training.run_training(
        Run(
            policy=student,
            terms=terms,
            spec=spec,
            sources=_sources(
                spec, rows, student=student, teacher=asked, judge=judging, stored=stored
            ),
            teachers=teachers if learner is None else learner.teachers,
            evaluate=dev.figures,
            checkpoints=Checkpoints(build.state_path),
            log=MetricsLog(build.log_path(training.LOG), listener=reporter.figures),
            reporter=reporter,
            accelerator=accelerator,
            extras=extras_of(parts) if learner is None else (*extras_of(parts), learner.extra),
            parts=parts,
            replay=replay_of(spec, terms, student=student, processes=accelerator.num_processes),
            reuse=spec.rollout.reuse,
        ),
        build,
    )
    summary |= {"failed_checks": list(failed)} if failed else {}
    return summary if judging is None else summary | judging.summary()


def _student(
    spec: DistillSpec, inputs: Mapping[str, Input], *, device: str, reporter: Reporter
) -> Policy:
    from ketchup_cli.models.load import load_policy, precision_warnings

    student = load_policy(
        inputs["student"].path, device=device, precision=spec.precision, dropout=spec.dropout
    )
    for warning in precision_warnings(student):
        reporter.note("warning", warning)
    return student


def _teachers(
    spec: DistillSpec,
    speakers: Mapping[Prefixes, Speaker],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    rows: Mapping[Prefixes, Sequence[Row]],
) -> tuple[dict[Prefixes, Teacher], LiveTeacher | None]:
    """Return who answers, caches held against their rows first, and the live one if any."""
    teachers: dict[Prefixes, Teacher] = {
        prefixes: open_cache(inputs["cache"], rows[prefixes], student)
        for prefixes, speaker in speakers.items()
        if speaker.cached
    }
    if len(teachers) == len(speakers):
        return teachers, None
    live = load_live(inputs["teacher"], student, chunk_tokens=spec.chunk_tokens)
    return {**dict.fromkeys(speakers, live), **teachers}, live


def _probe(
    live: LiveTeacher | None, learner: Learner | None, student: Policy, *, tokens_per_batch: int
) -> Probe | None:
    """Return what is measured on a few dev rows, beside the student's text and loss."""
    if learner is not None:
        return learner.probe(live, student, tokens_per_batch=tokens_per_batch)
    if live is not None:
        return kl_probe(live, student, tokens_per_batch=tokens_per_batch)
    return None


def _rows(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    stored: Stored | None,
    reporter: Reporter,
) -> dict[Prefixes, Sequence[Row]]:
    """Return the rows of each kind, and say how many there are."""
    from ketchup_cli.stages import training

    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    found: dict[Prefixes, Sequence[Row]] = {}
    apart = any(term.prefixes == "reversed" for term in terms)
    for prefixes in dict.fromkeys(term.prefixes for term in terms):
        if stored is not None and prefixes == "rehearsal":
            encoded = stored.encoded(student, examples, training.limits(spec))
        else:
            asked = stored.explored(examples) if stored and prefixes == "student" else examples
            own = [term for term in terms if term.prefixes == prefixes]
            encoded = encoded_rows(spec, own, inputs, student=student, examples=asked)
        if apart and prefixes in {"data", "reversed"}:
            encoded = of_direction(encoded, examples, prefixes)
        training.note_encoded(encoded, reporter, what=f"{prefixes} rows")
        if prefixes == "pairs":
            _note_unpaired(encoded.rows, examples, reporter)
        found[prefixes] = encoded.rows
    if stored is not None:
        check_stored(stored, found["rehearsal"], student, started_from=inputs["student"])
    return found


def _note_unpaired(rows: Sequence[Row], examples: Sequence[Example], reporter: Reporter) -> None:
    """Say how many prompts have no teacher text to be compared with."""
    missing = len(examples) - len({row.id for row in rows})
    if missing:
        reporter.note("pairs", f"{missing:,} of {len(examples):,} prompts have no teacher text")


def _sources(
    spec: DistillSpec,
    rows: Mapping[Prefixes, Sequence[Row]],
    *,
    student: Policy,
    teacher: Policy | None,
    judge: Judge | None,
    stored: Stored | None,
) -> dict[Prefixes, Source]:
    """Return where the completions of each kind come from."""
    from ketchup_cli.stages.training import row_source
    from ketchup_cli.train.data import PromptSource
    from ketchup_cli.train.pairs import PairSource
    from ketchup_cli.train.rollouts import RolloutSource

    sources: dict[Prefixes, Source] = {}
    for prefixes, own in rows.items():
        if prefixes == "student":
            prompts = PromptSource(own, prompts=spec.rollout.prompts, seed=spec.seed)
            sources[prefixes] = RolloutSource(
                student,
                prompts,
                rollout=spec.rollout,
                seed=spec.seed,
                teacher=teacher,
                judge=judge,
            )
        elif prefixes == "pairs":
            sources[prefixes] = PairSource(student, own, rollout=spec.rollout, seed=spec.seed)
        elif prefixes == "rehearsal" and stored is not None:
            sources[prefixes] = stored.source(own, spec, student)
        else:
            sources[prefixes] = row_source(student, spec, own, source=prefixes)
    return sources
