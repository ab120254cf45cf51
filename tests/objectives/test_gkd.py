from functools import partial

import pytest
import torch
from divergence_inputs import bucketed, loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.gkd import Gkd

every_mixture = pytest.mark.parametrize("mixture", ["published", "continuous"])


@every_mixture
@pytest.mark.parametrize("beta", [0.0, 0.2, 0.5, 1.0])
def test_the_loss_is_the_divergence_whatever_the_temperature(mixture, beta):
    objective = Gkd(beta=beta, mixture=mixture, temperature=2.0)
    inputs = seen_by(objective)

    measure = partial(F.generalised_js, beta=beta, weighting=mixture)
    expected_BT = whole(measure, inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


@every_mixture
def test_from_the_top_entries_the_tail_is_one_more_token(mixture):
    objective = Gkd(beta=0.2, mixture=mixture, temperature=2.0)
    inputs = seen_by(objective, detail="top")

    measure = partial(F.generalised_js, beta=0.2, weighting=mixture)
    expected_BT = bucketed(measure, inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, [("data", 0.75), ("student", 0.25)]),
        (0.0, [("data", 1.0)]),
        (1.0, [("student", 1.0)]),
    ],
)
def test_the_student_s_completions_have_their_share(share, expected):
    terms = objectives.build({"name": "gkd", "student_share": share})

    assert [(term.prefixes, term.weight) for term in terms] == expected


@pytest.mark.parametrize(("beta", "detail"), [(0.0, "top"), (0.9, "top"), (1.0, "dense")])
def test_only_reverse_kl_takes_all_of_the_teacher_s_logits(beta, detail):
    assert Gkd(beta=beta).needs.teacher == detail


def test_a_share_above_one_is_refused():
    with pytest.raises(SpecError, match=r"`student_share` is 1\.5"):
        Gkd(student_share=1.5)


def test_a_mean_per_completion_weighs_a_long_one_no_more_than_a_short_one():
    by_token, by_completion = Gkd(), Gkd(reduction="completion")
    inputs = seen_by(by_token)
    mask_BT = inputs.batch.mask_BT
    jsd_BT = by_token(inputs).loss_BT.detach()

    loss = by_completion(inputs)

    slow = [
        sum(jsd_BT[b, t].item() for t in range(mask_BT.shape[1]) if mask_BT[b, t])
        / float(mask_BT[b].sum())
        for b in range(len(mask_BT))
    ]
    assert len(set(mask_BT.sum(dim=1).tolist())) > 1
    assert loss.loss_B.tolist() == pytest.approx(slow)
    assert F.reduce(loss, mask_BT).item() == pytest.approx(sum(slow) / len(slow))
    assert F.reduce(by_token(inputs), mask_BT).item() != pytest.approx(sum(slow) / len(slow))
