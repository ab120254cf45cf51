"""The checks of `ketchup doctor` that take a second, before a stage that loads two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from ketchup_cli import corpora
from ketchup_cli.errors import CheckFailed
from ketchup_cli.reporting import Reporter
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.doctor.result import Check
    from ketchup_cli.doctor.template import Templates
    from ketchup_cli.models.cached_teacher import CachedTeacher
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import LiveTeacher, Teacher
    from ketchup_cli.records import Example
    from ketchup_cli.signals import Batch, Prefixes
    from ketchup_cli.specs import DistillSpec


Gate = Literal["refuse", "warn"]
"""What becomes of a run where a check fails."""


def gate(
    teacher: Policy,
    student: Policy,
    inputs: Mapping[str, Input],
    *,
    split: str,
    reporter: Reporter,
    action: Gate = "refuse",
) -> tuple[str, ...]:
    """Say in one line that both models speak alike, or refuse the work.

    Nothing is drawn from any stream of random numbers, and neither model is changed.

    Args:
        teacher: loaded, in eval mode.
        student: likewise.
        inputs: of the stage; the corpus among them.
        split: of whose first examples a few are looked at.
        reporter: told the line, and every warning with its remedy.
        action: whether a check that fails ends the work, or is a warning.

    Returns:
        The names of checks that failed where that is a warning.

    Raises:
        CheckFailed: with the evidence of the first check that fails, and its remedy.
        NonFiniteError: the teacher's logits are not finite.
    """
    from ketchup_cli.doctor.scoring import FEW

    examples = corpora.read_split(inputs["corpus"].path, split)[:FEW]
    checks = list(_checks(teacher, student, examples, known=templates(inputs)))
    return _judged(checks, reporter, action)


def gate_of_cache(
    teachers: Sequence[CachedTeacher],
    inputs: Mapping[str, Input],
    *,
    reporter: Reporter,
    action: Gate = "refuse",
) -> tuple[str, ...]:
    """Say in one line that a cache, open and held against its rows, is what the student can learn from.

    It is taken from what the cache and the manifests recorded: there is no teacher to ask.

    Args:
        teachers: what `open_cache` returned, which refuses another tokenizer and other rows.
        inputs: of the stage; corpus and cache among them.
        reporter: told the line, and every warning with its remedy.
        action: whether a check that fails ends the work, or is a warning.

    Returns:
        The names of checks that failed where that is a warning.

    Raises:
        CheckFailed: with the evidence of the first check that fails, and its remedy.
    """
    from ketchup_cli.doctor import caches
    from ketchup_cli.doctor.template import trained_with

    checks = [
        *(caches.agreed(inputs["cache"], teacher.cache.meta) for teacher in teachers),
        caches.cache_teacher(inputs["cache"], inputs.get("teacher")),
        trained_with(templates(inputs)),
    ]
    return _judged(checks, reporter, action)


def gate_of_run(
    spec: DistillSpec,
    teachers: Mapping[Prefixes, Teacher],
    live: LiveTeacher | None,
    student: Policy,
    *,
    inputs: Mapping[str, Input],
    reporter: Reporter,
) -> tuple[str, ...]:
    """Hold who answers in a run against the student; return the checks that failed and were passed over.

    Raises:
        CheckFailed: a check fails, and the spec does not let it pass.
        NonFiniteError: the teacher's logits are not finite.
    """
    from ketchup_cli.models.cached_teacher import CachedTeacher

    if live is not None:
        return gate(
            live.policy, student, inputs, split=spec.split, reporter=reporter, action=spec.gate
        )
    cached = [teacher for teacher in teachers.values() if isinstance(teacher, CachedTeacher)]
    return gate_of_cache(cached, inputs, reporter=reporter, action=spec.gate) if cached else ()


def _judged(checks: Sequence[Check], reporter: Reporter, action: Gate) -> tuple[str, ...]:
    """Refuse where a check fails, unless that is a warning; say the rest."""
    failures = [check for check in checks if check.status == "fail"]
    if failures and action == "refuse":
        check = failures[0]
        raise CheckFailed(
            f"the check `{check.name}` fails: {'; '.join(check.evidence)}", hint=check.remedy
        )
    warnings = [check for check in checks if check.status == "warn"]
    told = ", ".join(check.brief for check in checks if check.brief and check.status == "pass")
    count = len(failures) + len(warnings)
    reporter.note("check", f"{told}    {f'{count} to look at' if count else 'all pass'}")
    for check in (*failures, *warnings):
        fails = " fails, and gate=warn goes on" if check.status == "fail" else ""
        said = f"{check.name}{fails}: {'; '.join(check.evidence)}; {check.remedy}"
        reporter.note("warning", said)
    return tuple(check.name for check in failures)


def _checks(
    teacher: Policy, student: Policy, examples: Sequence[Example], *, known: Templates
) -> Iterator[Check]:
    from ketchup_cli.doctor import agreement, tokens, vocabulary
    from ketchup_cli.doctor.template import template
    from ketchup_cli.models.speech import speech_of

    spoken = speech_of(teacher), speech_of(student)
    batch = _batch(teacher, examples)
    yield tokens.tokenizers(*spoken)
    yield tokens.end_token(*spoken)
    yield tokens.decoder_start(*spoken)
    yield vocabulary.rows(teacher, student, batch)
    yield template(teacher, student, examples, known=known)
    if batch is not None:
        precision = teacher.precision
        if precision != "float32":
            yield agreement.precision(teacher, batch, precision, role="teacher")
        yield agreement.self_distillation(teacher, batch)


def _batch(policy: Policy, examples: Sequence[Example]) -> Batch | None:
    """Return the examples with their references, cut short; None where there are no references."""
    from ketchup_cli.doctor.scoring import SHORT, batch_of
    from ketchup_cli.models.sources import reference_rows

    answered = [example for example in examples if example.references]
    return batch_of(policy, reference_rows(policy, answered, SHORT).rows) if answered else None


def templates(inputs: Mapping[str, Input]) -> Templates:
    """Return what the manifests of corpus and models say of templates."""
    from ketchup_cli.doctor import origins
    from ketchup_cli.doctor.template import Templates

    corpus = inputs["corpus"].path
    roles: tuple[Literal["teacher", "student"], ...] = ("teacher", "student")
    return Templates(
        shown=origins.template_of(corpus) or "",
        plain=origins.plain_template(corpus) or "",
        trained={
            role: (label, plain)
            for role in roles
            if role in inputs
            for label, folder in origins.training_corpora(inputs[role].path)
            if (plain := origins.plain_template(folder)) is not None
        },
    )
