"""What the loss of every objective must do, whatever it is: held against all of them."""

import pytest
import torch
from objective_inputs import (
    built,
    inputs_of,
    random_logits,
    rebuilt,
    reordered,
    student_signal,
    tensors_of,
    variants,
)

from ketchup_cli import functional as F
from ketchup_cli.signals import DETAIL_ORDER, BatchLoss, Inputs, SequenceLoss, TokenLoss

EXTREMES = (-1e4, 1e4)


every_objective = pytest.mark.parametrize("table", variants().values(), ids=variants())


def numbers_of(loss, mask_BT=None):
    """Return the unreduced loss, whatever it is a loss of, padding zeroed where a mask is given."""
    if isinstance(loss, TokenLoss):
        return loss.loss_BT if mask_BT is None else F.zero_padding(loss.loss_BT, mask_BT)
    return loss.loss_B if isinstance(loss, SequenceLoss) else loss.loss


def loss_of(objective, inputs):
    return F.reduce(objective(inputs), inputs.batch.mask_BT)


def gradient_of(objective, inputs):
    (gradient_BTV,) = torch.autograd.grad(loss_of(objective, inputs), inputs.student.logits_BTV)
    return gradient_BTV


def differentiable(inputs):
    """Return the inputs with every number a leaf that would take a gradient."""
    leaves = rebuilt(inputs, lambda x: x.detach().clone())
    for x in tensors_of(leaves).values():
        x.requires_grad_(x.is_floating_point())
    return leaves


@every_objective
def test_loss_and_gradient_are_finite_and_not_all_zero(table):
    objective = built(table)
    inputs = inputs_of(objective)

    gradient_BTV = gradient_of(objective, inputs)

    assert loss_of(objective, inputs).isfinite()
    assert gradient_BTV.isfinite().all()
    assert gradient_BTV.abs().sum().item() > 0


@every_objective
@pytest.mark.parametrize("teacher_offset", EXTREMES)
@pytest.mark.parametrize("student_offset", EXTREMES)
def test_logits_with_extreme_offsets_give_finite_loss_and_gradient(
    table, teacher_offset, student_offset
):
    objective = built(table)
    inputs = inputs_of(
        objective,
        teacher_BTV=random_logits(1, dtype=torch.float32) + teacher_offset,
        student_BTV=random_logits(2, dtype=torch.float32) + student_offset,
        dtype=torch.float32,
    )

    assert loss_of(objective, inputs).isfinite()
    assert gradient_of(objective, inputs).isfinite().all()


@every_objective
def test_logits_that_are_all_but_certain_give_finite_loss_and_gradient(table):
    objective = built(table)
    inputs = inputs_of(
        objective,
        teacher_BTV=1e4 * random_logits(1, dtype=torch.float32).sign(),
        student_BTV=1e4 * random_logits(2, dtype=torch.float32).sign(),
        dtype=torch.float32,
    )

    assert loss_of(objective, inputs).isfinite()
    assert gradient_of(objective, inputs).isfinite().all()


@every_objective
def test_the_loss_has_the_shape_it_says_and_is_at_least_float32(table):
    objective = built(table)
    inputs = inputs_of(objective, dtype=torch.float32)

    loss = objective(inputs)

    shape = inputs.batch.mask_BT.shape
    wanted = {TokenLoss: shape, SequenceLoss: shape[:1], BatchLoss: ()}[type(loss)]
    assert numbers_of(loss).shape == wanted
    assert numbers_of(loss).dtype == torch.float32


@every_objective
def test_metrics_are_detached_and_shaped_like_tokens_sequences_or_a_number(table):
    objective = built(table)
    inputs = differentiable(inputs_of(objective))
    shape = tuple(inputs.batch.mask_BT.shape)

    metrics = objective(inputs).metrics

    assert {tuple(value.shape) for value in metrics.values()} <= {shape, shape[:1], ()}
    assert not [name for name, value in metrics.items() if value.requires_grad]


@every_objective
def test_gradients_reach_the_student_and_a_teacher_that_learns_only(table):
    objective = built(table)
    leaves = differentiable(inputs_of(objective))

    loss_of(objective, leaves).backward()

    reached = {name for name, x in tensors_of(leaves).items() if x.grad is not None}
    assert reached
    learning = {"teacher.own_BTV"} if objective.needs.trainable_teacher else set()
    assert reached <= learning | {
        "student.logits_BTV",
        "student.logp_taken_BT",
        "student.hidden_LBTH",
        "student.encoder_LBSH",
        "student.length_logp_B",
    }


@every_objective
def test_the_inputs_are_left_as_they_are(table):
    objective = built(table)
    inputs = inputs_of(objective)
    before = {name: x.detach().clone() for name, x in tensors_of(inputs).items()}

    loss_of(objective, inputs).backward()

    assert [
        name for name, x in tensors_of(inputs).items() if not torch.equal(x, before[name])
    ] == []


@every_objective
def test_padding_changes_neither_loss_nor_gradient(table):
    objective = built(table)
    inputs = inputs_of(objective)
    logits_BTV = inputs.student.logits_BTV
    count = logits_BTV.shape[1]
    wide_BTV = _junk_beyond(logits_BTV.detach(), 3).requires_grad_()
    batch = rebuilt(inputs.batch, lambda x: _zero_beyond(x, 3))
    wide = Inputs(
        batch=batch,
        student=student_signal(wide_BTV, batch),
        teacher=rebuilt(inputs.teacher, lambda x: _junk_beyond(x, 3)),
        parts=inputs.parts,
    )

    torch.testing.assert_close(loss_of(objective, wide), loss_of(objective, inputs))
    torch.testing.assert_close(
        gradient_of(objective, wide)[:, :count], gradient_of(objective, inputs)
    )


def _zero_beyond(x, more):
    if x.ndim != 2:
        return x
    return torch.nn.functional.pad(x, (0, more))


def _junk_beyond(x, more):
    junk = torch.ones_like(x[:, :1]).repeat_interleave(more, dim=1)
    return torch.cat([x, junk if not x.is_floating_point() else 777.0 * junk], dim=1)


@every_objective
def test_the_order_of_the_batch_only_reorders_the_loss(table):
    objective = built(table)
    inputs = inputs_of(objective)
    order_B = torch.tensor([2, 0, 3, 1])

    mask_BT = inputs.batch.mask_BT
    shuffled = numbers_of(objective(reordered(inputs, order_B)), mask_BT[order_B])
    wanted = numbers_of(objective(inputs), mask_BT)
    torch.testing.assert_close(shuffled, wanted[order_B] if wanted.ndim else wanted)


class Tripwire:
    """A signal that raises when something is read that was not asked for."""

    def __init__(self, signal, allowed):
        self._signal, self._allowed = signal, allowed

    def __getattr__(self, name):
        if name not in self._allowed:
            raise AssertionError(f"`{name}` was read and is not in `needs`")
        return getattr(self._signal, name)


OF_THE_BATCH = {"tokens_BT", "mask_BT", "source", "behaviour_logp_BT", "group_B", "chosen_B"}
REWARDS = {"reward_B", "correct_B"}
STATES = {"hidden_LBTH", "encoder_LBSH"}
STATISTICS = {"taken_BT", "best_BT", "expected_BT", "mean_BT", "lse_BT", "temperature"}


def allowed_of_teacher(needs):
    allowed = set()
    if DETAIL_ORDER.index(needs.teacher) >= DETAIL_ORDER.index("stats"):
        allowed |= STATISTICS
    if DETAIL_ORDER.index(needs.teacher) >= DETAIL_ORDER.index("top"):
        # a teacher asked for its top may bring all it has, so looking is allowed
        allowed |= {"top", "dense"}
    if needs.student_expected:
        allowed.add("student_expected_BT")
    if needs.trainable_teacher:
        allowed.add("own_BTV")
    return allowed | (STATES if needs.hidden else set())


@every_objective
def test_nothing_is_read_that_was_not_asked_for(table):
    objective = built(table)
    needs = objective.needs
    inputs = inputs_of(objective)
    student = {"logits_BTV", "logp_taken_BT"} | (STATES if needs.hidden else set())
    student |= {"length_logp_B"} if needs.lengths else set()
    teacher = Tripwire(inputs.teacher, allowed_of_teacher(needs))
    guarded = Inputs(
        batch=Tripwire(
            inputs.batch,
            OF_THE_BATCH
            | ({"prompt_mask_BS"} if needs.hidden else set())
            | (REWARDS if needs.reward else set()),
        ),
        student=Tripwire(inputs.student, student),
        teacher=teacher if needs.any_teacher else None,
        reference=Tripwire(inputs.student, student if needs.reference else set()),
        parts=inputs.parts,
    )

    assert numbers_of(objective(guarded)).isfinite().all()


@every_objective
def test_a_teacher_like_the_student_gives_a_finite_loss(table):
    objective = built(table)
    logits_BTV = random_logits(2)
    inputs = inputs_of(objective, teacher_BTV=logits_BTV, student_BTV=logits_BTV)

    assert loss_of(objective, inputs).isfinite()
    assert gradient_of(objective, inputs).isfinite().all()
