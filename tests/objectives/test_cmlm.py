from dataclasses import replace

import pytest
import torch
from objective_inputs import make_inputs

from ketchup_cli.errors import MismatchError
from ketchup_cli.objectives.cmlm import Cmlm


@pytest.mark.parametrize(("smoothing", "weight"), [(0.0, 0.0), (0.1, 0.1), (0.4, 2.0)])
def test_the_loss_is_cross_entropy_of_tokens_and_of_lengths(
    smoothing: float, weight: float
) -> None:
    inputs = make_inputs()
    real_BT = inputs.batch.mask_BT.bool()

    # torch's own loss is the oracle
    expected = torch.nn.functional.cross_entropy(
        inputs.student.logits_BTV[real_BT],
        inputs.batch.tokens_BT[real_BT],
        label_smoothing=smoothing,
    )
    assert inputs.student.length_logp_B is not None
    expected = expected - weight * inputs.student.length_logp_B.mean()
    found = Cmlm(label_smoothing=smoothing, length_weight=weight)(inputs).loss
    torch.testing.assert_close(found, expected)


def test_a_student_that_predicts_no_length_is_refused() -> None:
    inputs = make_inputs()
    without = replace(inputs, student=replace(inputs.student, length_logp_B=None))

    with pytest.raises(MismatchError, match="length_logp_B"):
        Cmlm()(without)
