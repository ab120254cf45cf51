from contextlib import suppress

import pytest
import tiny
import torch
from objective_inputs import make_inputs
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import NonFiniteError, SpecError
from ketchup_cli.lab.estimators import Estimator, estimators
from ketchup_cli.lab.gradients import choose_parameters, gradients
from ketchup_cli.signals import BatchLoss, Inputs, Needs, SequenceLoss
from ketchup_cli.specs import LabSpec

SPEC = LabSpec(k=(1, 2), values=("max",), immediate=("sampled",))


# whose gradient


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_decoder_is_its_layers_and_the_last_block_one_of_them(architecture: str):
    policy = tiny.make_policy(architecture)
    decoder = choose_parameters(policy, "decoder")
    block = choose_parameters(policy, "last-block")

    assert set(block) < set(decoder)
    assert all("encoder" not in name.split(".") for name in decoder)
    # both layers of a tiny model are alike, T5's table of positions apart
    assert 2 * count(block) == pytest.approx(count(decoder), rel=0.02)


def count(parameters: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in parameters.values())


def test_all_weights_are_all_a_gradient_can_reach():
    policy = tiny.make_policy("t5")

    assert set(choose_parameters(policy, "all")) == {
        name for name, _ in policy.model.named_parameters()
    }


def test_only_the_chosen_weights_take_gradients():
    policy = tiny.make_policy("gpt2")
    chosen = choose_parameters(policy, "last-block")

    assert {name for name, value in policy.model.named_parameters() if value.requires_grad} == set(
        chosen
    )


# the gradients


def inputs_and_leaf() -> tuple[Inputs, Tensor]:
    needs = estimators(SPEC)[0].objective.needs
    inputs = make_inputs(needs=needs)
    return inputs, inputs.student.logits_BTV


def test_each_gradient_is_that_of_the_reduced_loss():
    inputs, leaf_BTV = inputs_and_leaf()
    found = list(gradients(inputs, estimators(SPEC), {"logits": leaf_BTV}, counts=(7.0, 3.0)))

    for estimator, flat_P in found:
        total = F.reduce(estimator.objective(inputs), inputs.batch.mask_BT, count=7.0)
        expected = torch.autograd.grad(total, leaf_BTV, retain_graph=True)[0]
        torch.testing.assert_close(flat_P, expected.flatten())
    assert [estimator.label for estimator, _ in found] == ["K=1 max sampled", "K=2 max sampled"]


def test_a_weight_a_loss_does_not_reach_has_gradient_0():
    inputs, leaf_BTV = inputs_and_leaf()
    other = torch.ones(3, dtype=torch.float64, requires_grad=True)
    ((_, flat_P), *_) = gradients(
        inputs, estimators(SPEC), {"logits": leaf_BTV, "other": other}, counts=(1.0, 1.0)
    )

    assert flat_P[-3:].tolist() == [0, 0, 0]


class OfSequences:
    """A loss of every completion: the sum of its log-probabilities."""

    needs = Needs(prefixes=("student",))

    def __call__(self, inputs: Inputs) -> SequenceLoss:
        return SequenceLoss(loss_B=inputs.student.logp_taken_BT.sum(dim=1), metrics={})


class Constant:
    """A loss no weight reaches, as policy gradients are where all weights are 0."""

    needs = Needs(prefixes=("student",))

    def __call__(self, inputs: Inputs) -> BatchLoss:
        return BatchLoss(loss=inputs.student.logits_BTV.detach().sum(), metrics={})


def named(objective) -> Estimator:
    return Estimator(label="it", objective=objective, table={}, reference="it")


def test_the_loss_of_sequences_is_divided_by_their_count():
    inputs, leaf_BTV = inputs_and_leaf()
    per_token, per_sequence = (
        next(gradients(inputs, [named(OfSequences())], {"x": leaf_BTV}, counts=counts))[1]
        for counts in ((5.0, 1.0), (5.0, 4.0))
    )

    torch.testing.assert_close(per_token, 4 * per_sequence)


def test_a_loss_without_gradient_counts_as_0():
    inputs, leaf_BTV = inputs_and_leaf()
    _, flat_P = next(gradients(inputs, [named(Constant())], {"x": leaf_BTV}, counts=(1.0, 1.0)))

    assert not flat_P.any()


class Broken:
    """A loss whose gradient is NaN."""

    needs = Needs(prefixes=("student",))

    def __call__(self, inputs: Inputs) -> BatchLoss:
        return BatchLoss(loss=(inputs.student.logits_BTV * torch.nan).sum(), metrics={})


def test_a_gradient_that_is_not_finite_names_its_estimator():
    inputs, leaf_BTV = inputs_and_leaf()

    with pytest.raises(NonFiniteError, match="gradient of `it` is not finite"):
        next(gradients(inputs, [named(Broken())], {"x": leaf_BTV}, counts=(1.0, 1.0)))


# any objective


def measurable() -> list[Estimator]:
    """Every objective that learns from the student's completions and a frozen teacher's logits."""
    found = []
    for name in objectives.names():
        spec = LabSpec(k=(), objectives=({"name": name},), reference=({"name": name},))
        with suppress(SpecError):
            found += estimators(spec)
    return found


def test_policy_gradients_and_divergences_can_be_measured():
    assert {"ketchup", "llmr", "vopd", "minillm", "reverse_kl"} <= {
        item.label for item in measurable()
    }


@pytest.mark.parametrize("estimator", measurable(), ids=lambda item: item.label)
def test_an_objective_of_any_name_has_its_gradient(estimator: Estimator):
    inputs = make_inputs(needs=estimator.objective.needs)
    leaf_BTV = inputs.student.logits_BTV
    _, flat_P = next(gradients(inputs, [estimator], {"logits": leaf_BTV}, counts=(13.0, 4.0)))

    assert flat_P.any()
