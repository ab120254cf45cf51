import pytest
import runs
import tiny
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.models.adapters import attach
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher, check_offers
from ketchup_cli.models.trained_teacher import TrainedTeacher
from ketchup_cli.signals import Needs, Offers, TeacherPart

OWN = Needs(prefixes=("data",), trainable_teacher=True)


def trained(kind: str) -> tuple[Policy, TrainedTeacher]:
    """A teacher whose part has learnt something."""
    policy = tiny.make_policy("t5", seed=1)
    part = TeacherPart(kind=kind, rank=4, rate=1.0)  # type: ignore[arg-type]
    teacher = TrainedTeacher(LiveTeacher(policy), attach(policy, part, seed=0))
    with torch.no_grad():
        for weight in teacher.adapter.module.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    return policy, teacher


@pytest.mark.parametrize("kind", ["lora", "head", "full"])
def test_the_logits_that_learn_carry_a_gradient(kind: str) -> None:
    policy, teacher = trained(kind)

    own_BTV = teacher.signal(runs.make_batch(policy, range(3)), OWN).own_BTV

    assert own_BTV is not None
    assert own_BTV.requires_grad
    assert own_BTV.dtype == torch.float32


@pytest.mark.parametrize("kind", ["lora", "head"])
def test_all_else_is_the_teacher_as_it_came(kind: str) -> None:
    policy, teacher = trained(kind)
    batch = runs.make_batch(policy, range(3))
    needs = Needs(teacher="dense", trainable_teacher=True)
    untouched = LiveTeacher(tiny.make_policy("t5", seed=1)).signal(batch, Needs(teacher="dense"))

    signal = teacher.signal(batch, needs)

    assert signal.dense is not None
    assert untouched.dense is not None
    torch.testing.assert_close(signal.taken_BT, untouched.taken_BT)
    torch.testing.assert_close(
        signal.dense.logits(slice(None)), untouched.dense.logits(slice(None))
    )


def test_a_teacher_that_nobody_trains_here_answers_as_it_came() -> None:
    policy, teacher = trained("lora")
    batch = runs.make_batch(policy, range(3))

    signal = teacher.signal(batch, Needs(teacher="stats"))

    untouched = LiveTeacher(tiny.make_policy("t5", seed=1)).signal(batch, Needs(teacher="stats"))
    assert signal.own_BTV is None
    torch.testing.assert_close(signal.lse_BT, untouched.lse_BT)


def test_statistics_nobody_asked_for_cannot_be_mistaken_for_numbers() -> None:
    policy, teacher = trained("head")

    signal = teacher.signal(runs.make_batch(policy, range(3)), OWN)

    assert signal.taken_BT.isnan().all()
    assert signal.lse_BT.isnan().all()


def test_the_drift_of_a_trained_teacher_can_be_measured_from_one_signal() -> None:
    policy, teacher = trained("lora")
    batch = runs.make_batch(policy, range(3))
    signal = teacher.signal(batch, Needs(teacher="dense", trainable_teacher=True))
    assert signal.dense is not None
    assert signal.own_BTV is not None

    own_NV = signal.own_BTV[batch.mask_BT.bool()]
    drift = F.kl(own_NV[None], signal.dense.logits(slice(None))[None])

    assert drift.mean() > 1e-3


def test_what_a_trained_teacher_offers_is_a_gradient_beside_what_it_gave() -> None:
    _, teacher = trained("head")

    assert teacher.offers.gradient
    assert teacher.offers.detail == "dense"


def test_a_cache_that_cannot_be_trained_is_refused_in_one_sentence() -> None:
    offers = Offers(detail="dense", temperatures=None, any_prefix=False)

    with pytest.raises(MismatchError, match="then out of date") as caught:
        check_offers(OWN, offers, "3f9c1b2a", prefixes="data")

    assert caught.value.message.startswith("teacher cache `3f9c1b2a`")
    assert caught.value.hint == "--set teacher=live"
