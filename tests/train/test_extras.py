import dataclasses
from pathlib import Path

import pytest
import runs
import tiny
import torch
from torch import nn

from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shrink import shrink
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.signals import Inputs, Needs, Part, Sizes, TokenLoss
from ketchup_cli.specs import OptimizerSpec
from ketchup_cli.train.extras import Extra, extras_of, parts_of, restore_all, sizes_of, tensors_of
from ketchup_cli.train.loop import train
from ketchup_cli.train.optim import build_optimizer, set_learning_rate

SIZES = Sizes(student_layers=2, student_width=8, teacher_layers=4, teacher_width=12)


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def test_an_extra_learns_at_its_own_rate() -> None:
    student, extra = linear(), Extra(name="own", module=linear(1), rate=0.25)
    optimizer = build_optimizer(student, OptimizerSpec(), [extra])

    set_learning_rate(optimizer, 0.8)

    rates = {id(w): group["lr"] for group in optimizer.param_groups for w in group["params"]}
    assert [rates[id(w)] for w in student.parameters()] == [0.8, 0.8]
    assert [rates[id(w)] for w in extra.weights()] == [0.2, 0.2]


def test_frozen_weights_of_an_extra_are_neither_trained_nor_saved() -> None:
    module = linear()
    module.bias.requires_grad_(False)
    extra = Extra(name="own", module=module)

    assert list(extra.tensors()) == ["own/weight"]
    assert [id(w) for w in extra.weights()] == [id(module.weight)]


def test_what_is_saved_can_be_put_back() -> None:
    one, other = Extra(name="own", module=linear(0)), Extra(name="own", module=linear(1))

    restore_all([other], tensors_of([one]) | {"unrelated": torch.ones(1)})

    torch.testing.assert_close(other.tensors(), one.tensors())


@dataclasses.dataclass(frozen=True)
class WithParts:
    """An objective with one tensor of each start."""

    def parts(self, sizes: Sizes) -> dict[str, Part]:
        return {
            "zeros": Part(shape=(3,)),
            "identity": Part(shape=(sizes.student_width, sizes.teacher_width), start="identity"),
            "normal": Part(shape=(50, sizes.student_width), start="normal"),
        }


@dataclasses.dataclass(frozen=True)
class FakeTerm:
    objective: WithParts = WithParts()
    name: str = "own"
    prefixes: str = "data"


def made(seed: int = 0) -> nn.ParameterDict:
    terms = (FakeTerm(),)
    return parts_of(terms, SIZES, seed=seed, device=torch.device("cpu"))[("own", "data")]  # type: ignore[arg-type]


def test_parts_begin_as_they_are_asked_to() -> None:
    parts = made()

    assert parts["zeros"].tolist() == [0, 0, 0]
    torch.testing.assert_close(parts["identity"].data, torch.eye(8, 12))
    assert float(parts["normal"].data.std()) == pytest.approx(8**-0.5, rel=0.15)


def test_the_seed_alone_decides_random_parts() -> None:
    torch.testing.assert_close(made(seed=1)["normal"], made(seed=1)["normal"])
    assert not torch.equal(made(seed=1)["normal"], made(seed=2)["normal"])


def test_sizes_are_those_of_decoders(tmp_path) -> None:
    for family in tiny.FAMILIES:
        tiny.make_policy_folder(tmp_path / family, family)
        policy = load_policy(tmp_path / family)
        sizes = sizes_of(policy, None)

        width = policy.model.get_output_embeddings().weight.shape[1]
        assert (sizes.student_width, sizes.teacher_width) == (width, width)
        assert sizes.student_layers == 2
        assert sizes.student_encoder_layers == (2 if policy.kind == "encoder-decoder" else 0)


@pytest.mark.parametrize("architecture", tiny.ENCODER_DECODERS)
def test_layers_of_encoder_and_decoder_are_counted_apart(architecture) -> None:
    full = tiny.make_policy(architecture, layers=3)
    less = Policy(shrink(full.model, {"encoder": (0, 1), "decoder": (0,)}), full.tokenizer)

    sizes = sizes_of(less, full)

    assert (sizes.student_encoder_layers, sizes.student_layers) == (2, 1)
    assert (sizes.teacher_encoder_layers, sizes.teacher_layers) == (3, 3)


class ScaledNll:
    """The negative log-likelihood times one learnable number more than 1."""

    needs = Needs()

    def __call__(self, inputs: Inputs) -> TokenLoss:
        scale = inputs.parts["scale"]
        loss_BT = -inputs.student.logp_taken_BT * (1 + scale) + scale.square()
        return TokenLoss(loss_BT=loss_BT, metrics={})


def trained(folder: Path, *, updates: int, until: int = 0) -> Extra:
    """Return what learnt beside the student of a run, stopped after `until` updates if given."""
    parts = {("scaled", "data"): nn.ParameterDict({"scale": nn.Parameter(torch.zeros(1))})}
    reporter = runs.StoppingReporter(until) if until else SilentReporter()
    run = dataclasses.replace(
        runs.make_run(folder, spec=runs.make_spec(updates=updates), reporter=reporter),
        terms=(Term(name="scaled", weight=1.0, prefixes="data", objective=ScaledNll()),),
        parts=parts,
        extras=extras_of(parts),
    )
    if until:
        with pytest.raises(tiny.Interrupted):
            train(run)
    else:
        train(run)
    return run.extras[0]


def test_a_run_with_an_extra_goes_on_as_if_never_stopped(tmp_path) -> None:
    whole, halves = (tmp_path / name for name in ("whole", "halves"))
    once = trained(whole, updates=6)
    trained(halves, updates=6, until=3)
    twice = trained(halves, updates=6)

    torch.testing.assert_close(twice.tensors(), once.tensors(), atol=0, rtol=0)


def test_an_extra_that_is_used_learns(tmp_path) -> None:
    extra = trained(tmp_path / "run", updates=2)

    assert not torch.equal(extra.tensors()["scaled-data/scale"], torch.zeros(1))
