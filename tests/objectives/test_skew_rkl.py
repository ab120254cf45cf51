from functools import partial

import pytest
import torch
from divergence_inputs import bucketed, loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.skew_rkl import SkewRkl


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9])
def test_the_loss_is_the_divergence_whatever_the_temperature(alpha):
    objective = SkewRkl(alpha=alpha, temperature=2.0)
    inputs = seen_by(objective)

    expected_BT = whole(partial(F.skew_reverse_kl, alpha=alpha), inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_from_the_top_entries_the_tail_is_one_more_token():
    objective = SkewRkl(temperature=2.0)
    inputs = seen_by(objective, detail="top")

    expected_BT = bucketed(partial(F.skew_reverse_kl, alpha=0.1), inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_it_learns_from_data_unless_told_otherwise():
    (data,) = objectives.build({"name": "skew_rkl"})
    (own,) = objectives.build({"name": "skew_rkl", "prefixes": "student"})

    assert (data.prefixes, own.prefixes) == ("data", "student")


def test_a_mixture_with_itself_alone_is_refused():
    with pytest.raises(SpecError, match="`alpha` is 1"):
        SkewRkl(alpha=1.0)


@pytest.mark.parametrize(("alpha", "detail"), [(0.0, "dense"), (0.1, "top")])
def test_only_reverse_kl_takes_all_of_the_teacher_s_logits(alpha, detail):
    assert SkewRkl(alpha=alpha).needs.teacher == detail
