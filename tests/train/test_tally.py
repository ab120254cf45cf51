import pytest
import torch
from accelerate import Accelerator

from ketchup_cli import functional as F
from ketchup_cli.signals import TokenLoss
from ketchup_cli.train.tally import VARIANCE, Tally


def figures(tally: Tally) -> dict[str, float]:
    return tally.figures(Accelerator(cpu=True))


def test_parts_add_up() -> None:
    tally = Tally()
    for value in (1.5, 2.0, -0.5):
        tally.add_part("loss", torch.tensor(value))

    assert figures(tally) == {"loss": pytest.approx(3.0)}


def test_means_are_weighted() -> None:
    tally = Tally()
    tally.add_mean("nll", torch.tensor(1.0), weight=torch.tensor(3.0))
    tally.add_mean("nll", torch.tensor(5.0), weight=torch.tensor(1.0))

    assert figures(tally) == {"nll": pytest.approx(2.0)}


def test_a_weight_of_nothing_gives_zero() -> None:
    tally = Tally()
    tally.add_mean("nll", torch.tensor(0.0), weight=torch.tensor(0.0))

    assert figures(tally) == {"nll": 0.0}


def test_nothing_tallied_is_no_figure() -> None:
    assert figures(Tally()) == {}


def test_mean_and_variance_over_batches_are_those_of_all_tokens_together() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [3 + size * torch.randn(1, size, generator=generator) for size in (2, 5, 9)]
    tally = Tally()
    for x_BT in parts:
        loss = TokenLoss(loss_BT=x_BT, metrics={"x": x_BT})
        for name, value in F.reduce_metrics(loss, torch.ones_like(x_BT)).items():
            tally.add_mean(name, value, weight=torch.tensor(float(x_BT.numel())))
    together = torch.cat(parts, dim=1)
    found = figures(tally)

    assert found["x"] == pytest.approx(float(together.mean()), rel=1e-5)
    assert found[f"x{VARIANCE}"] == pytest.approx(float(together.var(correction=0)), rel=1e-5)


def test_a_figure_carries_no_gradient() -> None:
    tally = Tally()
    tally.add_part("loss", torch.tensor(1.0, requires_grad=True))

    assert figures(tally) == {"loss": 1.0}
