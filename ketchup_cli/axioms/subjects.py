"""What is held against the axioms: an objective as a map of numbers, at a random point."""

from __future__ import annotations

import contextlib
import itertools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import Objective
from ketchup_cli.signals import (
    Batch,
    HeldLogits,
    Inputs,
    Prefixes,
    SequenceLoss,
    Sizes,
    StudentSignal,
    TeacherDetail,
    TeacherSignal,
    TokenLoss,
    TopEntries,
)

Point = Mapping[str, Tensor]
"""The numbers a loss is differentiated by, by name."""

_LENGTHS = (4, 3, 1, 2)
_GROUPS = (7, 7, 9, 9)
_CHOSEN = (1, 0, 0, 1)
_CORRECT = (1, 0, 0, 0)
_VOCABULARY, _TOP, _PROMPT = 6, 3, 2
_SIZES = Sizes(
    student_layers=2,
    student_width=4,
    teacher_layers=3,
    teacher_width=5,
    student_encoder_layers=1,
    teacher_encoder_layers=2,
)
_LATE = 1_000_000
"""Updates after which every schedule has come to its end."""
_LOGITS, _TAKEN = "student.logits", "student.logp_taken"
_OWN, _PART = "teacher.own", "parts."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A loss as a map from numbers to numbers: the student's signals in, the unreduced loss out.

    Four padded completions of a vocabulary of six, everything random and float64. What an objective
    is given as constant, the teacher's statistics among it, is constant here.
    """

    name: str
    """The objective, and what of it differs from its defaults."""
    objective: Objective
    detail: TeacherDetail
    batch: Batch
    teacher: TeacherSignal
    reference: StudentSignal
    point: Point
    update: int = 0
    """Optimiser steps taken before, for an objective with a schedule."""

    def at(self, point: Point) -> Tensor:
        """Return the unreduced loss [N], 0 on padding."""
        return self.at_signals({**point, _TAKEN: self.taken(point)})

    def taken(self, point: Point) -> Tensor:
        """Return the student's log-probabilities of the tokens [B, T], as the loop makes them."""
        return F.log_probs_of(point[_LOGITS], self.batch.tokens_BT)

    def at_signals(self, signals: Point) -> Tensor:
        """Return the same from log-probabilities that are numbers of their own."""
        own_BTV = signals.get(_OWN)
        loss = self.objective(
            Inputs(
                batch=self.batch,
                student=_student(signals),
                teacher=self.teacher if own_BTV is None else replace(self.teacher, own_BTV=own_BTV),
                reference=self.reference,
                parts={
                    name.removeprefix(_PART): value
                    for name, value in signals.items()
                    if name.startswith(_PART)
                },
                update=self.update,
            )
        )
        if isinstance(loss, TokenLoss):
            return F.zero_padding(loss.loss_BT, self.batch.mask_BT).flatten()
        return loss.loss_B if isinstance(loss, SequenceLoss) else loss.loss[None]


def subjects(
    name: str | None = None, *, seed: int = 0, combined: bool = False
) -> Iterator[Subject]:
    """Yield an objective, or all of them, with each preset and each choice of a word it offers.

    A number is tried as 0 too, where that is allowed: it mostly turns something off. Where an
    objective takes the teacher's top entries or all its logits, both are tried; where its loss is
    another on other completions, or late in a run, those are tried as well.

    Args:
        name: one objective, or None for all.
        seed: which random point.
        combined: every combination of words in place of each word alone.

    Raises:
        SpecError: there is no such objective.
    """
    for each in objectives.names() if name is None else (name,):
        for title, table in _variants(each, combined=combined):
            objective = objectives.build({"name": each, **table})[0].objective
            for detail in _details(objective):
                shown = f"{title}, all logits" if detail != objective.needs.teacher else title
                yield from _situations(objective, name=shown, detail=detail, seed=seed)


def _situations(
    objective: Objective, *, name: str, detail: TeacherDetail, seed: int
) -> Iterator[Subject]:
    """Yield the objective on all completions it learns from, early and late, as far as it matters."""
    seen: list[Tensor] = []
    for prefixes in objective.shares:
        own = subject(objective, name=name, detail=detail, seed=seed, prefixes=prefixes)
        for made in (own, replace(own, name=f"{name}, late", update=_LATE)):
            loss = made.at(made.point)
            if not any(torch.equal(loss, other) for other in seen):
                where = f", on {prefixes}" if seen and made is own else ""
                yield replace(made, name=made.name + where)
                seen.append(loss)


def _variants(name: str, *, combined: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every setting of an objective that is tried once, by what is said of it."""
    kind = objectives.load(name)
    tables: dict[str, dict[str, Any]] = {name: {}}
    for preset, table in kind.presets.items():
        tables[f"{name}, preset {preset}"] = dict(table.get("objective", {}))
    choices = _choices(kind)
    words = {field: own for field, own in choices.items() if own != (0,)}
    chosen = itertools.product(*words.values()) if combined else ()
    several = [dict(zip(words, each, strict=True)) for each in chosen]
    alone = [{field: choice} for field, own in choices.items() for choice in own]
    for table in several or alone:
        tables[", ".join([name, *(f"{field}={word}" for field, word in table.items())])] = table
    seen = []
    for title, table in tables.items():
        with contextlib.suppress(SpecError):  # a number that may not be 0, words that do not agree
            (term, *_) = objectives.build({"name": name, **table})
            if term not in seen:
                seen.append(term)
                yield title, table


def _choices(kind: type[Objective]) -> dict[str, tuple[Any, ...]]:
    """Return the words a field may hold, or 0 for a number."""
    hints = typing.get_type_hints(kind)
    found: dict[str, tuple[Any, ...]] = {}
    for field in fields(typing.cast(Any, kind)):
        hint = hints[field.name]
        if typing.get_origin(hint) is typing.Literal:
            found[field.name] = typing.get_args(hint)
        elif hint in {int, float}:
            found[field.name] = (0,)
    return found


def _details(objective: Objective) -> tuple[TeacherDetail, ...]:
    needed = objective.needs.teacher
    return ("top", "dense") if needed == "top" else (needed,)


def subject(
    objective: Objective,
    *,
    name: str,
    detail: TeacherDetail | None = None,
    seed: int = 0,
    prefixes: Prefixes = "student",
) -> Subject:
    """Return an objective at a random point, with a teacher who gives `detail`."""
    generator = torch.Generator().manual_seed(seed)
    needs = objective.needs
    batch = replace(_batch(generator), source=prefixes)
    shape = (*batch.tokens_BT.shape, _VOCABULARY)
    teacher_BTV, student_BTV, own_BTV, reference_BTV = (_normal(generator, *shape) for _ in "psor")
    point = {_LOGITS: student_BTV}
    if needs.trainable_teacher:
        point[_OWN] = own_BTV
    if needs.hidden:
        point |= _states(generator, "student", batch)
    if needs.lengths:
        point["student.length_logp"] = -_normal(generator, len(_LENGTHS)).abs()
    for part, described in objective.parts(_SIZES).items():
        point[_PART + part] = _normal(generator, *described.shape)
    detail = detail or needs.teacher
    teacher = _teacher(teacher_BTV, student_BTV, batch, tau=needs.temperature, detail=detail)
    if needs.hidden:
        states = _states(generator, "teacher", batch)
        teacher = replace(
            teacher,
            hidden_LBTH=states["teacher.hidden"],
            encoder_LBSH=states["teacher.encoder"],
        )
    taken_BT = F.log_probs_of(reference_BTV, batch.tokens_BT)
    return Subject(
        name=name,
        objective=objective,
        detail=detail,
        batch=batch,
        teacher=teacher,
        reference=StudentSignal(logits_BTV=reference_BTV, logp_taken_BT=taken_BT),
        point=point,
    )


def _student(signals: Point) -> StudentSignal:
    return StudentSignal(
        logits_BTV=signals[_LOGITS],
        logp_taken_BT=signals[_TAKEN],
        hidden_LBTH=signals.get("student.hidden"),
        encoder_LBSH=signals.get("student.encoder"),
        length_logp_B=signals.get("student.length_logp"),
    )


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _batch(generator: torch.Generator) -> Batch:
    shape = (len(_LENGTHS), max(_LENGTHS))
    mask_BT = (torch.arange(shape[1]) < torch.tensor(_LENGTHS)[:, None]).long()
    prompt_BS = torch.ones(shape[0], _PROMPT, dtype=torch.long)
    return Batch(
        ids=tuple("abcd"),
        prompt_BS=prompt_BS,
        prompt_mask_BS=prompt_BS,
        tokens_BT=torch.randint(_VOCABULARY, shape, generator=generator) * mask_BT,
        mask_BT=mask_BT,
        source="student",
        behaviour_logp_BT=-3 * torch.rand(shape, generator=generator, dtype=torch.float64),
        reward_B=_normal(generator, shape[0]),
        correct_B=torch.tensor(_CORRECT, dtype=torch.float64),
        group_B=torch.tensor(_GROUPS),
        chosen_B=torch.tensor(_CHOSEN),
    )


def _states(generator: torch.Generator, owner: str, batch: Batch) -> dict[str, Tensor]:
    """Return states of all layers of the student or the teacher, and of its encoder."""
    sizes = [getattr(_SIZES, f"{owner}_{what}") for what in ("layers", "encoder_layers", "width")]
    layers, encoder_layers, width = sizes
    return {
        f"{owner}.hidden": _normal(generator, layers + 1, *batch.tokens_BT.shape, width),
        f"{owner}.encoder": _normal(generator, encoder_layers + 1, *batch.prompt_BS.shape, width),
    }


def _teacher(
    logits_BTV: Tensor, student_BTV: Tensor, batch: Batch, *, tau: float, detail: TeacherDetail
) -> TeacherSignal:
    shape, flat_NV = batch.tokens_BT.shape, logits_BTV.flatten(0, 1)
    stats = F.teacher_statistics(flat_NV, batch.tokens_BT.flatten(), temperatures=(tau,))
    entries = F.top_entries(flat_NV, m=_TOP, lse_NK=stats.lse_NK, temperatures=(tau,))
    ids, gaps, tail = (x.view(*shape, x.shape[-1]) for x in entries)
    dense = HeldLogits(logits_BTV[batch.mask_BT.bool()])
    return TeacherSignal(
        taken_BT=stats.taken_N.view(shape),
        best_BT=stats.best_N.view(shape),
        expected_BT=stats.expected_NK[:, 0].view(shape),
        mean_BT=stats.mean_N.view(shape),
        lse_BT=stats.lse_NK[:, 0].view(shape),
        temperature=tau,
        student_expected_BT=F.expectation(flat_NV, student_BTV.flatten(0, 1)).view(shape),
        top=TopEntries(ids_BTM=ids, gaps_BTM=gaps, tail_BT=tail[..., 0]),
        dense=dense if detail == "dense" else None,
    )
