import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.functional import pairs

MASK_BT = torch.tensor([[1, 1, 0], [1, 1, 1]])


def pair(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    drawn = 2 * torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64)
    return [x.to(dtype).requires_grad_() for x in drawn.clone().unbind()]


def joint(p_BTV, q_BTV):
    total_BT = F.kl(p_BTV, q_BTV) + 0.5 * F.reverse_kl(p_BTV, q_BTV)
    return total_BT, F.entropy(q_BTV)


@pytest.fixture(params=[1, 2, 1000], ids=lambda steps: f"blocks of {steps}")
def _blocks(request, monkeypatch):
    def blocks(count, like_NV):
        del like_NV
        return [
            slice(start, min(start + request.param, count))
            for start in range(0, count, request.param)
        ]

    monkeypatch.setattr(pairs, "step_blocks", blocks)


@pytest.mark.usefixtures("_blocks")
def test_values_are_those_of_the_measure_and_zero_on_padding():
    p_BTV, q_BTV = pair()

    found = F.at_pairs(joint, p_BTV, q_BTV, MASK_BT)

    wanted = [F.zero_padding(x, MASK_BT) for x in joint(p_BTV, q_BTV)]
    torch.testing.assert_close(list(found), [x.detach() for x in wanted])


@pytest.mark.usefixtures("_blocks")
def test_both_gradients_are_those_of_the_measure():
    p_BTV, q_BTV = pair()
    weight_BT = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]], dtype=torch.float64)

    found, wanted = (
        torch.autograd.grad((weight_BT * F.zero_padding(loss_BT, MASK_BT)).sum(), (p_BTV, q_BTV))
        for loss_BT in (F.at_pairs(joint, p_BTV, q_BTV, MASK_BT)[0], joint(p_BTV, q_BTV)[0])
    )

    torch.testing.assert_close(found, wanted)


def test_only_the_first_number_has_a_gradient():
    _, entropy_BT = F.at_pairs(joint, *pair(), MASK_BT)

    assert not entropy_BT.requires_grad


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_that_takes_no_gradient_gets_none(side):
    sides = pair()
    sides[side].requires_grad_(False)

    F.at_pairs(joint, *sides, MASK_BT)[0].sum().backward()

    assert sides[side].grad is None
    assert sides[1 - side].grad.abs().sum() > 0


def test_a_side_the_measure_detaches_gets_zeros():
    p_BTV, q_BTV = pair()

    F.at_pairs(lambda p, q: F.kl(p.detach(), q), p_BTV, q_BTV, MASK_BT)[0].sum().backward()

    assert p_BTV.grad.abs().max().item() == 0
    assert q_BTV.grad.abs().sum() > 0


def test_a_measure_without_any_gradient_still_gives_values():
    p_BTV, q_BTV = (x.detach() for x in pair())

    (found_BT,) = F.at_pairs(F.kl, p_BTV, q_BTV, MASK_BT)

    torch.testing.assert_close(found_BT, F.zero_padding(F.kl(p_BTV, q_BTV), MASK_BT))


def test_junk_on_padding_reaches_neither_value_nor_gradient():
    p_BTV, q_BTV = pair()
    junk_BTV = p_BTV.detach().clone()
    junk_BTV[0, 2] = float("nan")
    junk_BTV.requires_grad_()

    loss_BT = F.at_pairs(joint, junk_BTV, q_BTV, MASK_BT)[0]
    loss_BT.sum().backward()

    assert loss_BT[0, 2].item() == 0
    assert junk_BTV.grad[0, 2].abs().max().item() == 0
    assert q_BTV.grad.isfinite().all()


def test_half_precision_is_compared_in_float32():
    assert F.at_pairs(joint, *pair(torch.bfloat16), MASK_BT)[0].dtype == torch.float32


def test_a_batch_of_padding_gives_zeros():
    p_BTV, q_BTV = pair()

    (found_BT,) = F.at_pairs(F.kl, p_BTV, q_BTV, torch.zeros_like(MASK_BT))

    assert found_BT.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_two_vocabularies_are_refused():
    with pytest.raises(ShapeError, match="along V"):
        F.at_pairs(F.kl, torch.zeros(2, 3, 4), torch.zeros(2, 3, 5), MASK_BT)
