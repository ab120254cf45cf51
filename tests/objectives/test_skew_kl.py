from functools import partial

import pytest
import torch
from divergence_inputs import bucketed, loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.skew_kl import SkewKl


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9])
def test_the_loss_is_the_divergence_whatever_the_temperature(alpha):
    objective = SkewKl(alpha=alpha, temperature=2.0)
    inputs = seen_by(objective)

    expected_BT = whole(partial(F.skew_kl, alpha=alpha), inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_from_the_top_entries_the_tail_is_one_more_token():
    objective = SkewKl(temperature=2.0)
    inputs = seen_by(objective, detail="top")

    expected_BT = bucketed(partial(F.skew_kl, alpha=0.1), inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_it_learns_from_data_unless_told_otherwise():
    (data,) = objectives.build({"name": "skew_kl"})
    (own,) = objectives.build({"name": "skew_kl", "prefixes": "student"})

    assert (data.prefixes, own.prefixes) == ("data", "student")


def test_a_mixture_with_itself_alone_is_refused():
    with pytest.raises(SpecError, match="`alpha` is 1"):
        SkewKl(alpha=1.0)
