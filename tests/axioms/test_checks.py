"""The checker itself: what holds passes, and each planted fault is found by its axiom."""

import functools
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


def test_a_fault_on_other_completions_is_found_there():
    @dataclass(frozen=True)
    class Elsewhere(Planted):
        def __call__(self, inputs):
            if inputs.batch.source == "student":
                return TokenLoss(loss_BT=inputs.student.logp_taken_BT, metrics={})
            return Planted.__call__(self, inputs)

    faulty = Elsewhere(f=function(torch.square, lambda x, b: x * b))
    there = subject(faulty, name="planted", prefixes="rehearsal")

    assert all(finding.holds for finding in examine(subject(faulty, name="planted")))
    assert [finding.axiom for finding in examine(there) if not finding.holds] == ["adjoint"]


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


@functools.cache
def names_of(name, **settings):
    return [item.name for item in subjects(name, **settings)]


@pytest.mark.parametrize(
    "name",
    [
        "kdrl, mixer=opd-then-rl",
        "kdrl, mixer=opd-then-rl, late",
        "kdrl, estimator=k3-ratio",
        "kdrl, mask=group",
        "kdrl, clip=0",
        "dph_rl, divergence=js, on rehearsal",
        "js, mixture=exact, on student",
        "cmlm, length_weight=0",
    ],
)
def test_what_changes_a_loss_is_examined_by_default(name):
    assert name in names_of(name.partition(",")[0])


def test_what_changes_no_loss_is_examined_once():
    names = names_of("dph_rl")

    assert len(set(names)) == len(names)
    assert not [name for name in names if "late" in name]


def test_every_combination_of_words_is_examined_where_that_is_asked():
    names = set(names_of("dph_rl", combined=True))

    assert names >= {
        f"dph_rl, divergence={divergence}, spread={spread}, on rehearsal"
        for divergence in ("js", "alpha", "reverse")
        for spread in ("deviation", "none")
    }
    assert not {name for name in names if "=0" in name}


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_holds_every_axiom(name):
    # numbers at 0 are left to the command: they are as many again, and slow
    tried = [item for item in subjects(name, seed=3) if "=0" not in item.name]
    found = [finding for item in tried for finding in examine(item)]

    assert len({finding.axiom for finding in found}) == len(AXIOMS)
    assert [finding for finding in found if not finding.holds] == []
