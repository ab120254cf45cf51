"""What is held against the axioms: an objective as a map of numbers, at a random point."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.objectives import Objective
from ketchup_cli.signals import (
    Batch,
    HeldLogits,
    Inputs,
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
            )
        )
        if isinstance(loss, TokenLoss):
            return F.zero_padding(loss.loss_BT, self.batch.mask_BT).flatten()
        return loss.loss_B if isinstance(loss, SequenceLoss) else loss.loss[None]


def subjects(name: str | None = None, *, seed: int = 0) -> Iterator[Subject]:
    """Yield an objective, or all of them, with each preset and each choice of a word it offers.

    Where an objective takes the teacher's top entries or all its logits, both are tried.

    Raises:
        SpecError: there is no such objective.
    """
    for each in objectives.names() if name is None else (name,):
        for title, table in _variants(each):
            objective = objectives.build({"name": each, **table})[0].objective
            for detail in _details(objective):
                shown = f"{title}, all logits" if detail != objective.needs.teacher else title
                yield subject(objective, name=shown, detail=detail, seed=seed)


def _variants(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = objectives.load(name)
    hints = typing.get_type_hints(kind)
    tables: dict[str, dict[str, Any]] = {name: {}}
    for preset, table in kind.presets.items():
        tables[f"{name}, preset {preset}"] = dict(table.get("objective", {}))
    for field in fields(typing.cast(Any, kind)):
        hint = hints[field.name]
        words = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        tables |= {f"{name}, {field.name}={word}": {field.name: word} for word in words}
    seen = []
    for title, table in tables.items():
        (term, *_) = objectives.build({"name": name, **table})
        if term not in seen:
            seen.append(term)
            yield title, table


def _details(objective: Objective) -> tuple[TeacherDetail, ...]:
    needed = objective.needs.teacher
    return ("top", "dense") if needed == "top" else (needed,)


def subject(
    objective: Objective, *, name: str, detail: TeacherDetail | None = None, seed: int = 0
) -> Subject:
    """Return an objective at a random point, with a teacher who gives `detail`."""
    generator = torch.Generator().manual_seed(seed)
    needs = objective.needs
    batch = _batch(generator)
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
