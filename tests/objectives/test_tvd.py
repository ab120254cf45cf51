import pytest
import torch
from divergence_inputs import bucketed, loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.objectives.tvd import Tvd


@pytest.mark.parametrize("source", ["teacher", "student", "data"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_the_distance_times_the_square_of_the_temperature(temperature, source):
    objective = Tvd(temperature=temperature)
    inputs = seen_by(objective, source=source)

    expected_BT = temperature**2 * whole(F.tvd, inputs, temperature=temperature)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_from_the_top_entries_the_tail_is_one_more_token(temperature):
    objective = Tvd(temperature=temperature)
    inputs = seen_by(objective, detail="top")

    expected_BT = temperature**2 * bucketed(F.tvd, inputs, temperature=temperature)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_half_is_learned_from_the_teacher_s_text_and_half_from_the_student_s():
    terms = objectives.build({"name": "tvd", "weight": 3.0})

    assert [(term.prefixes, term.weight) for term in terms] == [("teacher", 1.5), ("student", 1.5)]


def test_one_source_alone_has_the_whole_weight():
    (term,) = objectives.build({"name": "tvd", "prefixes": "data"})

    assert term.weight == 1.0
