import pytest
import torch
from divergence_inputs import loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.models.teacher import check_offers
from ketchup_cli.objectives.reverse_kl import ReverseKl
from ketchup_cli.signals import Offers


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_the_divergence_times_the_square_of_the_temperature(temperature):
    objective = ReverseKl(temperature=temperature)
    inputs = seen_by(objective)

    expected_BT = temperature**2 * whole(F.reverse_kl, inputs, temperature=temperature)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_the_metric_is_without_the_square_of_the_temperature():
    objective = ReverseKl(temperature=2.0)

    loss = objective(seen_by(objective))

    torch.testing.assert_close(4 * loss.metrics["reverse_kl"], loss.loss_BT.detach())


def test_it_learns_from_the_student_s_own_completions():
    (term,) = objectives.build({"name": "reverse_kl"})

    assert term.prefixes == "student"


def test_the_teacher_s_largest_logits_are_not_enough():
    largest = Offers(detail="top", temperatures=(1.0,), any_prefix=False)

    with pytest.raises(MismatchError, match="the objective asks all logits"):
        check_offers(ReverseKl().needs, largest, "some", prefixes="data")


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(SpecError, match="`temperature` is 0"):
        ReverseKl(temperature=0.0)
