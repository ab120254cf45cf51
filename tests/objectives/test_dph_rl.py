"""DPH-RL: two sides, what is left without one, and that rehearsal keeps both modes of a bandit."""

from dataclasses import replace

import pytest
import torch
from objective_inputs import make_inputs

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.signals import Batch, Inputs, StudentSignal


def made(**fields):
    return objectives.build({"name": "dph_rl", **fields})[0].objective


def seen(source, **fields):
    objective = made(**fields)
    inputs = make_inputs(needs=objective.needs)
    inputs = replace(inputs, batch=replace(inputs.batch, source=source))
    return objective, inputs


def loss_of(objective, inputs):
    return F.zero_padding(objective(inputs).loss_BT, inputs.batch.mask_BT)


def test_it_learns_from_the_student_and_from_what_is_stored():
    terms = objectives.build({"name": "dph_rl"})

    assert [(term.prefixes, term.weight) for term in terms] == [("student", 1), ("rehearsal", 1)]


def test_without_a_coefficient_there_is_one_side():
    (term,) = objectives.build({"name": "dph_rl", "coefficient": 0.0})

    assert term.prefixes == "student"


def test_exploring_is_grpo_whatever_is_rehearsed():
    objective, inputs = seen("student", coefficient=7.0, epsilon_high=0.2)
    grpo = objectives.build({"name": "kdrl", "mixer": "grpo"})[0].objective

    assert torch.equal(loss_of(objective, inputs), loss_of(grpo, inputs))


def test_rehearsal_is_the_divergence_from_the_stored_log_probabilities():
    objective, inputs = seen("rehearsal", coefficient=0.5, divergence="js")
    batch = inputs.batch
    found_BT = F.rehearsal_divergence(
        inputs.student.logp_taken_BT, batch.behaviour_logp_BT, kind="js"
    )

    assert torch.equal(loss_of(objective, inputs), 0.5 * F.zero_padding(found_BT, batch.mask_BT))


@pytest.mark.parametrize("divergence", ["forward", "js", "alpha", "reverse"])
def test_a_student_like_the_reference_has_nothing_to_rehearse(divergence):
    objective, inputs = seen("rehearsal", divergence=divergence)
    own_BT = inputs.student.logp_taken_BT.detach()
    inputs = replace(inputs, batch=replace(inputs.batch, behaviour_logp_BT=own_BT))
    (slope_BTV,) = torch.autograd.grad(loss_of(objective, inputs).sum(), inputs.student.logits_BTV)

    assert loss_of(objective, inputs).abs().max().item() < 1e-12
    assert slope_BTV.abs().max().item() < 1e-12


@pytest.mark.parametrize("field", ["coefficient", "alpha", "epsilon", "epsilon_high"])
def test_a_field_out_of_range_is_refused(field):
    with pytest.raises(SpecError, match=f"`{field}` is -1"):
        made(**{field: -1})


# a bandit: two arms are right, one is wrong; the reference likes them all alike


REFERENCE_V = torch.zeros(3)


def inputs_of(logits_V, tokens_B, source, **batch):
    logits_BTV = logits_V.expand(len(tokens_B), 1, 3)
    tokens_B1 = tokens_B[:, None]
    return Inputs(
        batch=Batch(
            ids=tuple(map(str, range(len(tokens_B)))),
            prompt_BS=tokens_B1,
            prompt_mask_BS=torch.ones_like(tokens_B1),
            tokens_BT=tokens_B1,
            mask_BT=torch.ones_like(tokens_B1),
            source=source,
            **batch,
        ),
        student=StudentSignal(
            logits_BTV=logits_BTV, logp_taken_BT=F.log_probs_of(logits_BTV, tokens_B1)
        ),
    )


def least_mass(seed, **fields):
    """Return the smaller of the two right arms' shares after many sampled updates."""
    objective = made(**fields)
    generator = torch.Generator().manual_seed(seed)
    logits_V = REFERENCE_V.clone().requires_grad_()
    optimizer = torch.optim.SGD([logits_V], lr=3.0)
    stored_B = torch.tensor([0, 1, 0, 1])
    stored_B1 = REFERENCE_V.log_softmax(-1)[stored_B][:, None]
    for _ in range(120):
        tokens_B = torch.multinomial(
            logits_V.detach().softmax(-1), 4, replacement=True, generator=generator
        )
        right_B = (tokens_B < 2).float()
        explored = inputs_of(
            logits_V,
            tokens_B,
            "student",
            reward_B=right_B,
            correct_B=right_B,
            group_B=torch.zeros(4),
            behaviour_logp_BT=logits_V.detach().log_softmax(-1)[tokens_B][:, None],
        )
        loss = objective(explored).loss_BT.mean()
        if objective.coefficient > 0:
            stored = inputs_of(logits_V, stored_B, "rehearsal", behaviour_logp_BT=stored_B1)
            loss = loss + objective(stored).loss_BT.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits_V.detach().softmax(-1)[:2].min().item()


def test_sampling_noise_alone_loses_one_of_two_right_arms():
    assert min(least_mass(seed, coefficient=0.0) for seed in range(2)) < 0.15


@pytest.mark.parametrize("divergence", ["forward", "js"])
def test_rehearsal_keeps_both(divergence):
    kept = [least_mass(seed, coefficient=0.3, divergence=divergence) for seed in range(2)]

    assert min(kept) > 0.3
