"""Own steps one behind the other, held against loops."""

import itertools

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.signals import (
    Batch,
    HeldLogits,
    Inputs,
    StudentSignal,
    TeacherSignal,
    TopEntries,
)

B, T, V = 3, 6, 4
LENGTHS = (6, 4, 2)
SEEDS = range(4)


def random_inputs(seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    mask_BT = (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).float()
    forced_BT = (torch.rand(B, T, generator=generator) < 0.4) & mask_BT.bool()
    forced_BT[:, 0] = False
    batch = Batch(
        ids=tuple("abc"),
        prompt_BS=torch.ones(B, 2).long(),
        prompt_mask_BS=torch.ones(B, 2).long(),
        tokens_BT=torch.randint(V, (B, T), generator=generator),
        mask_BT=mask_BT,
        source="student",
        behaviour_logp_BT=normal(B, T),
        forced_BT=forced_BT,
        reward_B=normal(B),
    )
    statistics = {name: normal(B, T) for name in ("taken_BT", "best_BT", "expected_BT")}
    teacher = TeacherSignal(
        **statistics,
        mean_BT=normal(B, T),
        lse_BT=normal(B, T),
        top=TopEntries(ids_BTM=normal(B, T, 2), gaps_BTM=normal(B, T, 2), tail_BT=normal(B, T)),
        dense=HeldLogits(normal(int(mask_BT.sum()), V)),
        hidden_LBTH=normal(2, B, T, 3),
        encoder_LBSH=normal(2, B, 2, 3),
    )
    student = StudentSignal(logits_BTV=normal(B, T, V), logp_taken_BT=normal(B, T))
    return Inputs(batch=batch, student=student, teacher=teacher)


def own_of(inputs):
    """Return the numbers of own steps, row by row."""
    real = zip(inputs.batch.mask_BT.tolist(), inputs.batch.forced_BT.tolist(), strict=True)
    return [[step for step in range(T) if mask[step] and not forced[step]] for mask, forced in real]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_number_of_a_step_moves_with_it(seed):
    inputs = random_inputs(seed)
    found = F.own_steps(inputs)

    for row, steps in enumerate(own_of(inputs)):
        assert found.batch.mask_BT[row].sum() == len(steps)
        for place, step in enumerate(steps):
            assert found.batch.tokens_BT[row, place] == inputs.batch.tokens_BT[row, step]
            assert torch.equal(
                found.student.logits_BTV[row, place], inputs.student.logits_BTV[row, step]
            )
            assert found.teacher.taken_BT[row, place] == inputs.teacher.taken_BT[row, step]
            assert torch.equal(
                found.teacher.top.ids_BTM[row, place], inputs.teacher.top.ids_BTM[row, step]
            )
            assert torch.equal(
                found.teacher.hidden_LBTH[:, row, place], inputs.teacher.hidden_LBTH[:, row, step]
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_of_the_teacher_s_logits_are_those_of_own_steps(seed):
    inputs = random_inputs(seed)
    steps = [(row, step) for row, size in enumerate(LENGTHS) for step in range(size)]
    kept = [n for n, (row, step) in enumerate(steps) if step in own_of(inputs)[row]]
    dense = F.own_steps(inputs).teacher.dense

    assert dense.count == len(kept) < len(steps)
    assert torch.equal(dense.logits(slice(0, len(kept))), inputs.teacher.dense.logits_NV[kept])


def test_some_rows_are_read_as_any_slice_of_them():
    logits_NV = torch.randn(7, 3)
    which = [0, 2, 3, 6]
    rows = F.SomeRows(HeldLogits(logits_NV), torch.tensor(which)).to("cpu")

    for start, stop in itertools.combinations(range(5), 2):
        assert torch.equal(rows.logits(slice(start, stop)), logits_NV[which[start:stop]])
    assert rows.logits(slice(2, 2)).shape == (0, 3)


def test_what_has_no_steps_stays():
    inputs = random_inputs(0)
    found = F.own_steps(inputs)

    assert found.batch.reward_B is inputs.batch.reward_B
    assert found.batch.prompt_BS is inputs.batch.prompt_BS
    assert found.teacher.encoder_LBSH is inputs.teacher.encoder_LBSH
    assert found.batch.forced_BT is None


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="forced_BT"):
        F.own_mask(torch.ones(2, 3), torch.ones(2, 4).bool())
