"""The checker itself: what holds passes, and each planted fault is found by its axiom."""

from dataclasses import dataclass

import pytest
import torch

from ketchup_cli import objectives
from ketchup_cli.axioms.checks import AXIOMS, examine
from ketchup_cli.axioms.subjects import subject, subjects
from ketchup_cli.objectives import Objective
from ketchup_cli.signals import Needs, TokenLoss


@dataclass(frozen=True)
class Planted(Objective):
    """An objective whose loss of every token is any function of its log-probability."""

    f: object

    @property
    def needs(self):
        return Needs(prefixes=("student",))

    def __call__(self, inputs):
        return TokenLoss(loss_BT=self.f(inputs.student.logp_taken_BT), metrics={})


def function(forward, backward):
    """Return a custom function of a value and a hand-written gradient of it."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx, b):
            return backward(ctx.saved_tensors[0], b)

    return Function.apply


def failing(f):
    found = examine(subject(Planted(f=f), name="planted"))
    return {finding.axiom for finding in found if not finding.holds}


SOUND = {
    "a square": torch.square,
    "a square by hand": function(torch.square, lambda x, b: 2 * x * b),
    "a weight that is detached": lambda x: x.exp().detach() * x,
    "a custom function that detaches on its way": function(
        lambda x: x.detach() ** 3, lambda x, b: 3 * x**2 * b
    ),
}


@pytest.mark.parametrize("f", SOUND.values(), ids=SOUND)
def test_a_sound_loss_holds(f):
    assert failing(f) == set()


FAULTS = {
    "a factor is missing": (function(torch.square, lambda x, b: x * b), {"adjoint"}),
    "what comes back is ignored": (
        function(torch.square, lambda x, _: 2 * x),
        {"RD.1", "RD.2", "adjoint"},
    ),
    "nothing is inverted": (
        function(lambda x: 1 - x, lambda _, b: 1 - b),
        {"RD.1", "RD.2", "adjoint"},
    ),
    "the gradient is clipped": (
        function(torch.square, lambda x, b: (2 * x * b).clamp(-0.1, 0.1)),
        {"RD.2", "adjoint"},
    ),
    "a seam that lets nothing through": (
        lambda x: x if x.is_leaf else x.detach() + 0 * x,
        {"RD.5"},
    ),
    "a gradient that is not finite": (
        function(torch.square, lambda _, b: b / 0),
        {"RD.1", "RD.2", "RD.5", "adjoint"},
    ),
}


@pytest.mark.parametrize(("f", "axioms"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found_by_its_axioms(f, axioms):
    assert failing(f) == axioms


def test_every_objective_of_the_registry_is_examined():
    examined = {item.name.partition(",")[0] for item in subjects()}

    assert examined == set(objectives.names())


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_holds_every_axiom(name):
    found = [finding for item in subjects(name, seed=3) for finding in examine(item)]

    assert len({finding.axiom for finding in found}) == len(AXIOMS)
    assert [finding for finding in found if not finding.holds] == []
