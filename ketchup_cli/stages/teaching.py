"""Who speaks for the teacher while a student learns: a cache where one can, else the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.doctor.origins import other_author
from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives import Term
from ketchup_cli.signals import NEW_TEXT, Prefixes
from ketchup_cli.specs import DistillSpec
from ketchup_cli.stages.learning import part_of
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from torch import Tensor

    from ketchup_cli.models.cached_teacher import CachedTeacher
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import LiveTeacher
    from ketchup_cli.signals import Batch
    from ketchup_cli.stages.training import Probe


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who answers for one kind of completions, and to which terms."""

    terms: tuple[Term, ...]
    cached: bool
    reason: str = ""
    """Why not the cache, where one is at hand."""

    @property
    def names(self) -> str:
        """The names of the terms."""
        return _names(self.terms)


def _names(terms: Sequence[Term]) -> str:
    return ", ".join(term.name for term in terms)


def choose(
    spec: DistillSpec, terms: Sequence[Term], inputs: Mapping[str, Input]
) -> dict[Prefixes, Speaker]:
    """Return who answers, by who writes the completions; reads a few numbers of the cache at most.

    Raises:
        MismatchError: nobody can, or the cache that is asked for cannot.
        ModelError: a part of the teacher is to be trained, and a package is missing for that.
        TooNew, Damaged: the cache cannot be read.
    """
    from ketchup_cli.models.adapters import check_part

    part = part_of(terms)
    if part is not None:
        check_part(part)
    needing: dict[Prefixes, list[Term]] = {}
    for term in terms:
        if term.needs.any_teacher:
            needing.setdefault(term.prefixes, []).append(term)
    return {
        prefixes: _speaker(spec, prefixes, tuple(listening), inputs)
        for prefixes, listening in needing.items()
    }


def _speaker(
    spec: DistillSpec, prefixes: Prefixes, terms: tuple[Term, ...], inputs: Mapping[str, Input]
) -> Speaker:
    chosen = Speaker(terms=terms, cached=True)
    objection = None
    if spec.teacher != "live":
        objection = _objection(spec, prefixes, terms, inputs)
        if objection is None:
            return chosen
    asked = spec.teacher == "cache"
    if "teacher" in inputs and not asked:
        reason = ""
        if objection is not None and ("cache" in inputs or prefixes in NEW_TEXT):
            reason = objection.message
        return Speaker(terms=terms, cached=False, reason=reason)
    if objection is not None and (asked or "cache" in inputs):
        raise objection
    raise MismatchError(
        f"{chosen.names} needs a teacher; there is neither a model nor a cache that serves it",
        hint="--teacher NAME, or ketchup cache-teacher",
    )


def _objection(
    spec: DistillSpec, prefixes: Prefixes, terms: Sequence[Term], inputs: Mapping[str, Input]
) -> MismatchError | None:
    """Return why no cache, or not this one, can answer these terms; None if it can."""
    from ketchup_cli.models.cache import read_meta
    from ketchup_cli.models.cached_teacher import SOURCES, cache_offers
    from ketchup_cli.models.teacher import check_offers

    if prefixes in NEW_TEXT:
        return MismatchError(
            f"a teacher cache knows only completions scored before; {_names(terms)} learns from the"
            " student's own",
            hint="--set teacher=live",
        )
    if "cache" not in inputs:
        return MismatchError(
            "a teacher cache is asked for (`teacher=cache`), and there is none",
            hint="--cache NAME, or ketchup cache-teacher",
        )
    label = inputs["cache"].label
    meta = read_meta(inputs["cache"].path)
    other = another_author(inputs, "cache")
    if other is not None:
        return MismatchError(
            f"teacher cache `{label}` was made from another teacher, `{other}`; the teacher here is"
            f" `{inputs['teacher'].label}`",
            hint="ketchup cache-teacher, or --teacher with the one it was made from",
        )
    part = part_of(terms)
    try:
        for term in terms:
            check_offers(term.needs, cache_offers(meta), label, prefixes=prefixes)
    except MismatchError as error:
        return error
    if part is not None and part.kind != "head":
        return MismatchError(
            f"teacher cache `{label}` holds last states, behind which `module = head` can be trained;"
            f" {_names(terms)} trains `{part.kind}`",
            hint="--set objective.module=head, or --set teacher=live",
        )
    if SOURCES[meta.completions] != prefixes or meta.split != spec.split:
        wanted = {source: name for name, source in SOURCES.items()}[prefixes]
        return MismatchError(
            f"teacher cache `{label}` is about {meta.completions} of split `{meta.split}`; the"
            f" objective learns from {wanted} of `{spec.split}`",
            hint=f"ketchup cache-teacher --set completions={wanted} --set split={spec.split}",
        )
    return None


def another_author(inputs: Mapping[str, Input], role: str) -> str | None:
    """Return the teacher an input was made from, where it is not the one of this run."""
    return other_author(inputs[role], inputs["teacher"]) if "teacher" in inputs else None


def text_warning(terms: Sequence[Term], inputs: Mapping[str, Input]) -> str | None:
    """Return a sentence where text that should be the teacher's own is another model's."""
    listening = [t for t in terms if t.teacher_text and t.needs.any_teacher]
    if not listening or "pseudo-targets" not in inputs:
        return None
    other = another_author(inputs, "pseudo-targets")
    if other is None:
        return None
    return (
        f"`{inputs['pseudo-targets'].label}` was written by `{other}`, and {_names(listening)} takes"
        f" it for text of `{inputs['teacher'].label}`"
    )


def open_cache(cache: Input, rows: Sequence[Row], student: Policy) -> CachedTeacher:
    """Return the cache, once it is sure that it was made of these very rows.

    Raises:
        MismatchError: another tokenizer, another corpus, or other limits.
        Damaged: the cache cannot be read.
    """
    from ketchup_cli.models.cached_teacher import CachedTeacher

    teacher = CachedTeacher(cache.path, name=cache.label)
    held = teacher.cache.meta.layout.tokenizer
    if held != student.fingerprint:
        raise MismatchError(
            f"teacher cache `{cache.label}` was made with tokenizer `{held[7:15]}`; the student's is"
            f" `{student.fingerprint[7:15]}`",
            hint="use a student of the teacher's family, or `ketchup seqkd`, which needs only text",
        )
    teacher.check_rows(rows)
    return teacher


def load_live(teacher: Input, student: Policy, *, chunk_tokens: int) -> LiveTeacher:
    """Return the model itself, frozen, on the student's device.

    Raises:
        MismatchError: its tokenizer is not the student's.
        ModelError: it cannot be loaded.
    """
    from ketchup_cli.models.load import check_same_tokenizer, load_policy
    from ketchup_cli.models.teacher import LiveTeacher

    policy = load_policy(teacher.path, device=str(student.device), precision=student.precision)
    check_same_tokenizer(policy, student)
    policy.module.requires_grad_(False)
    return LiveTeacher(policy, chunk_tokens=chunk_tokens)


def kl_probe(teacher: LiveTeacher, student: Policy, *, tokens_per_batch: int) -> Probe:
    """Return a measure of KL(teacher || student) per token on given rows (nats)."""
    from ketchup_cli import functional as F
    from ketchup_cli.stages.training import chunks, on_tokens

    def visit(batch: Batch, places_N: Tensor) -> float:
        theirs_NH, ours_NH = (
            policy.hidden(batch).flatten(0, 1)[places_N] for policy in (teacher.policy, student)
        )
        total = 0.0
        for part in chunks(len(places_N)):
            p_1NV = teacher.policy.head(theirs_NH[part])[None]
            total += float(F.kl(p_1NV, student.head(ours_NH[part])[None]).sum())
        return total

    def measure(rows: Sequence[Row]) -> dict[str, float]:
        return {"kl_probe": on_tokens(student, rows, visit, tokens_per_batch=tokens_per_batch)}

    return measure
