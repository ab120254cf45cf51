import pytest
import torch
from divergence_inputs import loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.objectives.engine import Engine
from ketchup_cli.objectives.reverse_kl import ReverseKl


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_the_energy_times_the_square_of_the_temperature(temperature):
    objective = Engine(temperature=temperature)
    inputs = seen_by(objective)

    expected_BT = temperature**2 * whole(F.engine, inputs, temperature=temperature)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_it_is_reverse_kl_with_the_student_s_entropy_added():
    inputs = seen_by(Engine())
    entropy_BT = F.zero_padding(F.entropy(inputs.student.logits_BTV), inputs.batch.mask_BT)

    expected_BT = loss_of(ReverseKl(), inputs) + entropy_BT
    torch.testing.assert_close(loss_of(Engine(), inputs), expected_BT)


def test_the_entropy_it_does_not_reward_is_reported():
    inputs = seen_by(Engine())

    metrics = Engine()(inputs).metrics

    torch.testing.assert_close(metrics["entropy"], F.entropy(inputs.student.logits_BTV.detach()))


def test_it_learns_from_the_student_s_own_completions():
    (term,) = objectives.build({"name": "engine"})

    assert term.prefixes == "student"
