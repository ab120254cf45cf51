"""Inputs of an objective, made from two sets of logits as the training loop would make them."""

import functools
import typing
from dataclasses import fields, replace

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.objectives import Objective
from ketchup_cli.signals import (
    Batch,
    HeldLogits,
    Inputs,
    Needs,
    Sizes,
    StudentSignal,
    TeacherSignal,
    TopEntries,
)

LENGTHS = (5, 3, 1, 4)
GROUPS = (7, 7, 9, 9)
CHOSEN = (1, 0, 0, 1)
REWARDS = (1.0, 0.25, 0.0, 0.5)
CORRECT = (1.0, 0.0, 0.0, 0.0)
VOCABULARY = 6
PROMPT = 2
TOP = 3
SIZES = Sizes(
    student_layers=2,
    student_width=VOCABULARY,
    teacher_layers=3,
    teacher_width=VOCABULARY,
    student_encoder_layers=1,
    teacher_encoder_layers=2,
)


def random_logits(seed: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return logits [B, T, V] for the usual four sequences."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(LENGTHS), max(LENGTHS), VOCABULARY)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def make_batch(seed: int = 0, *, dtype: torch.dtype = torch.float64) -> Batch:
    """Return four padded completions of two prompts, sampled by someone."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(LENGTHS), max(LENGTHS))
    mask_BT = (torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]).long()
    behaviour_BT = -3 * torch.rand(shape, generator=generator, dtype=torch.float64)
    return Batch(
        ids=tuple("abcd"),
        prompt_BS=torch.ones(shape[0], PROMPT, dtype=torch.long),
        prompt_mask_BS=torch.ones(shape[0], PROMPT, dtype=torch.long),
        tokens_BT=torch.randint(VOCABULARY, shape, generator=generator) * mask_BT,
        mask_BT=mask_BT,
        source="student",
        behaviour_logp_BT=behaviour_BT.to(dtype),
        group_B=torch.tensor(GROUPS),
        chosen_B=torch.tensor(CHOSEN),
        reward_B=torch.tensor(REWARDS, dtype=dtype),
        correct_B=torch.tensor(CORRECT, dtype=dtype),
    )


def student_signal(logits_BTV: Tensor, batch: Batch) -> StudentSignal:
    """Return what a student of these logits says about the batch."""
    return StudentSignal(
        logits_BTV=logits_BTV,
        logp_taken_BT=F.log_probs_of(logits_BTV, batch.tokens_BT),
        hidden_LBTH=states_of(logits_BTV, SIZES.student_layers),
        encoder_LBSH=prompt_states(logits_BTV, batch, SIZES.student_encoder_layers),
        length_logp_B=logits_BTV[:, 0].log_softmax(dim=-1)[:, 0],
    )


def states_of(logits_BTV: Tensor, layers: int) -> Tensor:
    """Return states of the embeddings and of every layer, made of the logits: [L, B, T, V]."""
    return torch.stack([logits_BTV.roll(n, dims=-1) / (n + 1) for n in range(layers + 1)])


def prompt_states(logits_BTV: Tensor, batch: Batch, layers: int) -> Tensor:
    """Return states of an encoder, made of the first logits, junk on padding: [L, B, S, V]."""
    more = batch.prompt_mask_BS.shape[1] - PROMPT
    states_LBSV = states_of(logits_BTV[:, :PROMPT], layers)
    return torch.nn.functional.pad(states_LBSV, (0, 0, 0, more), value=777.0)


def rows_of(logits_BTV: Tensor, batch: Batch) -> HeldLogits:
    """Return the logits of the real tokens, as a teacher hands them out."""
    return HeldLogits(logits_BTV[batch.mask_BT.bool()])


def teacher_signal(
    logits_BTV: Tensor,
    batch: Batch,
    *,
    student_BTV: Tensor,
    needs: Needs | None = None,
    top: int = TOP,
) -> TeacherSignal:
    """Return what a teacher of these logits says, at the temperature that is needed."""
    tau = 1.0 if needs is None else needs.temperature
    shape, flat_NV = batch.tokens_BT.shape, logits_BTV.flatten(0, 1)
    stats = F.teacher_statistics(flat_NV, batch.tokens_BT.flatten(), temperatures=(tau,))
    entries = F.top_entries(flat_NV, m=top, lse_NK=stats.lse_NK, temperatures=(tau,))
    ids, gaps, tail = (x.unflatten(0, shape) for x in entries)
    return TeacherSignal(
        taken_BT=stats.taken_N.view(shape),
        best_BT=stats.best_N.view(shape),
        expected_BT=stats.expected_NK[:, 0].view(shape),
        mean_BT=stats.mean_N.view(shape),
        lse_BT=stats.lse_NK[:, 0].view(shape),
        temperature=tau,
        student_expected_BT=F.expectation(flat_NV, student_BTV.detach().flatten(0, 1)).view(shape),
        top=TopEntries(ids_BTM=ids, gaps_BTM=gaps, tail_BT=tail[..., 0]),
        dense=rows_of(logits_BTV, batch) if needs and needs.teacher == "dense" else None,
        own_BTV=logits_BTV if needs and needs.trainable_teacher else None,
        hidden_LBTH=states_of(logits_BTV, SIZES.teacher_layers),
        encoder_LBSH=prompt_states(logits_BTV, batch, SIZES.teacher_encoder_layers),
    )


def make_inputs(
    *,
    teacher_BTV: Tensor | None = None,
    student_BTV: Tensor | None = None,
    needs: Needs | None = None,
    dtype: torch.dtype = torch.float64,
) -> Inputs:
    """Return inputs whose student logits, a leaf, ask for a gradient."""
    batch = make_batch(dtype=dtype)
    teacher_BTV = random_logits(1, dtype=dtype) if teacher_BTV is None else teacher_BTV
    student_BTV = random_logits(2, dtype=dtype) if student_BTV is None else student_BTV
    student_BTV = student_BTV.detach().requires_grad_()
    return Inputs(
        batch=batch,
        student=student_signal(student_BTV, batch),
        teacher=teacher_signal(teacher_BTV, batch, student_BTV=student_BTV, needs=needs),
    )


def parts_of(objective: Objective, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return the learnable tensors an objective asks for, with random content."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(part.shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, part in objective.parts(SIZES).items()
    }


def rebuilt(value, change):
    """Return a signal with every tensor in it changed by `change`, nested signals included.

    Whatever the tensor, `change` sees the axes of sequences and steps first.
    """
    changes = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Tensor):
            first = 2 if field.name in {"hidden_LBTH", "encoder_LBSH"} else 0
            changes[field.name] = change(item.movedim(0, first)).movedim(first, 0)
        elif isinstance(item, TopEntries | Batch | StudentSignal | TeacherSignal):
            changes[field.name] = rebuilt(item, change)
    return replace(value, **changes)


def reordered(inputs, order_B):
    """Return the inputs with their sequences in another order, the teacher's rows included."""
    moved = rebuilt(inputs, lambda x: x[order_B])
    if inputs.teacher is None or inputs.teacher.dense is None:
        return moved
    rows = inputs.teacher.dense.logits_NV.split(inputs.batch.mask_BT.sum(dim=1).tolist())
    dense = HeldLogits(torch.cat([rows[number] for number in order_B.tolist()]))
    return replace(moved, teacher=replace(moved.teacher, dense=dense))


def tensors_of(value, prefix=""):
    """Return every tensor in a signal by its dotted name."""
    found = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Tensor):
            found[prefix + field.name] = item
        elif isinstance(item, TopEntries | Batch | StudentSignal | TeacherSignal):
            found |= tensors_of(item, f"{prefix}{field.name}.")
    return found


@functools.cache
def variants():
    """Return every objective as it comes, under each preset, and with each choice of a field."""
    found, seen = {}, set()
    for name in objectives.names():
        kind = objectives.load(name)
        hints = typing.get_type_hints(kind)
        tables = {name: {}}
        for preset, table in kind.presets.items():
            tables[f"{name}-{preset}"] = table.get("objective", {})
        for field in fields(kind):
            hint = hints[field.name]
            words = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
            choices = (0.5,) if hint is float else words
            for choice in choices:
                tables[f"{name}-{field.name}={choice}"] = {field.name: choice}
        for title, table in tables.items():
            (term, *_) = objectives.build({"name": name, **table})
            if term not in seen:
                seen.add(term)
                found[title] = {"name": name, **table}
    return found


def built(table) -> Objective:
    """Return the objective of a table."""
    return objectives.build(table)[0].objective


def inputs_of(objective: Objective, *, dtype: torch.dtype = torch.float64, **logits) -> Inputs:
    """Return inputs with all that an objective asks for."""
    inputs = make_inputs(needs=objective.needs, dtype=dtype, **logits)
    return replace(inputs, parts=parts_of(objective, dtype=dtype))
