from dataclasses import replace
from functools import partial

import pytest
import torch
from divergence_inputs import TEACHER_BTV, bucketed, loss_of, seen_by, whole

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.models.teacher import check_offers
from ketchup_cli.objectives.js import Js
from ketchup_cli.signals import Offers

SOURCES = ("teacher", "student", "data")
every_source = pytest.mark.parametrize("source", SOURCES)


def side_of(source):
    return "student" if source == "student" else "teacher"


def half(source, beta):
    """Return KL(p || m) on text that is not the student's, KL(q || m) on its own."""
    if source == "student":
        return partial(F.skew_reverse_kl, alpha=beta)
    return partial(F.skew_kl, alpha=1 - beta)


def odds(inputs, objective):
    """Return the odds of every prefix, from all logits of both."""
    tau, tokens_BT, mask_BT = objective.temperature, inputs.batch.tokens_BT, inputs.batch.mask_BT
    logp_BT = F.log_probs_of(TEACHER_BTV / tau, tokens_BT)
    logq_BT = F.log_probs_of(inputs.student.logits_BTV.detach() / tau, tokens_BT)
    return F.prefix_log_odds(logp_BT, logq_BT, mask_BT, student_share=objective.beta)


@every_source
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_source_says_which_half_the_loss_is(source, temperature):
    objective = Js(beta=0.3, temperature=temperature)
    inputs = seen_by(objective, source=source)

    expected_BT = whole(half(source, 0.3), inputs, temperature=temperature)
    torch.testing.assert_close(loss_of(objective, inputs), temperature**2 * expected_BT)


@every_source
def test_from_the_top_entries_the_tail_is_one_more_token(source):
    objective = Js(beta=0.3, temperature=2.0)
    inputs = seen_by(objective, source=source, detail="top")

    expected_BT = 4 * bucketed(half(source, 0.3), inputs, temperature=2.0)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


@every_source
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_exact_form_weighs_every_state_by_who_wrote_its_prefix(source, temperature):
    objective = Js(beta=0.3, mixture="exact", temperature=temperature)
    inputs = seen_by(objective, source=source)

    expected_BT = F.kl_to_mixture(
        TEACHER_BTV,
        inputs.student.logits_BTV,
        odds(inputs, objective),
        side=side_of(source),
        temperature=temperature,
    )
    expected_BT = temperature**2 * F.zero_padding(expected_BT, inputs.batch.mask_BT)
    torch.testing.assert_close(loss_of(objective, inputs), expected_BT)


def test_the_exact_form_weighs_a_truncated_teacher_alike():
    objective = Js(mixture="exact", temperature=2.0)
    inputs = seen_by(objective, detail="top")

    weight_BT = objective(inputs).metrics["teacher_weight"]

    torch.testing.assert_close(weight_BT, odds(inputs, objective).sigmoid())


@pytest.mark.parametrize("source", ["teacher", "student"])
def test_both_forms_agree_on_the_first_token(source):
    inputs = seen_by(Js(), source=source)

    exact_BT = loss_of(Js(beta=0.3, mixture="exact"), inputs)

    torch.testing.assert_close(exact_BT[:, 0], loss_of(Js(beta=0.3), inputs)[:, 0])


def test_no_gradient_flows_through_the_weight_of_a_prefix():
    inputs = seen_by(Js(mixture="exact"))
    leaf_BT = inputs.student.logp_taken_BT.detach().requires_grad_()
    own = replace(inputs.student, logp_taken_BT=leaf_BT)

    Js(mixture="exact")(replace(inputs, student=own)).loss_BT.sum().backward()

    assert leaf_BT.grad is None


def test_the_shares_are_those_of_the_mixture():
    terms = objectives.build({"name": "js", "beta": 0.25})

    assert [(term.prefixes, term.weight) for term in terms] == [
        ("teacher", 0.75),
        ("student", 0.25),
    ]


def test_halves_of_one_batch_add_up_to_the_divergence():
    teacher, student = (seen_by(Js(), source=source) for source in ("teacher", "student"))

    both_BT = (loss_of(Js(), teacher) + loss_of(Js(), student)) / 2

    torch.testing.assert_close(both_BT, whole(F.js, teacher))


def test_a_teacher_of_another_temperature_cannot_weigh_prefixes():
    inputs = seen_by(Js(mixture="exact"))

    with pytest.raises(MismatchError, match="for temperature 1; the objective asks for 2"):
        Js(mixture="exact", temperature=2.0)(inputs)


def test_the_exact_form_refuses_a_teacher_without_the_tokens_own_statistics():
    imported = Offers(detail="top", temperatures=(1.0,), any_prefix=False, statistics=False)

    check_offers(Js().needs, imported, "some", prefixes="teacher")
    with pytest.raises(MismatchError, match="the objective asks statistics"):
        check_offers(Js(mixture="exact").needs, imported, "some", prefixes="teacher")


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_mixture_of_one_side_alone_is_refused(beta):
    with pytest.raises(SpecError, match="`beta`"):
        Js(beta=beta)
