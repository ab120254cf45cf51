import pytest
import torch
from objective_inputs import make_inputs

from ketchup_cli.objectives.nll import Nll


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_the_loss_is_smoothed_cross_entropy(smoothing):
    inputs = make_inputs()

    # torch's own loss is the oracle
    expected_BT = torch.nn.functional.cross_entropy(
        inputs.student.logits_BTV.transpose(1, 2),
        inputs.batch.tokens_BT,
        reduction="none",
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(Nll(label_smoothing=smoothing)(inputs).loss_BT, expected_BT)


def test_the_metric_is_not_smoothed():
    inputs = make_inputs()

    nll_BT = Nll(label_smoothing=0.3)(inputs).metrics["nll"]

    torch.testing.assert_close(nll_BT, -inputs.student.logp_taken_BT.detach())


def test_no_teacher_is_needed():
    assert Nll().needs.teacher == "none"
