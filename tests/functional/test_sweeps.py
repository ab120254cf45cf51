import pytest
import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.functional.sweeps import Entropy, MeanLessTaken, TakenLogProb

ROWS = (1, 64, 150)
"""Fewer than a block of rows, one block, and two and a half."""


def random_inputs(rows: int, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    logits_NV = 4 * torch.randn(rows, 7, generator=generator, dtype=torch.float64)
    tokens_N1 = torch.randint(7, (rows, 1), generator=generator)
    return logits_NV.to(dtype).requires_grad_(), tokens_N1


def slow_taken(logits_NV: Tensor, tokens_N1: Tensor) -> Tensor:
    return logits_NV.log_softmax(dim=-1).gather(1, tokens_N1)


def slow_less(logits_NV: Tensor, tokens_N1: Tensor) -> Tensor:
    return logits_NV.mean(dim=-1, keepdim=True) - logits_NV.gather(1, tokens_N1)


PAIRS = {"taken": (TakenLogProb.apply, slow_taken), "less": (MeanLessTaken.apply, slow_less)}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("rows", ROWS)
def test_values_and_gradients_are_those_of_autograd(name: str, rows: int) -> None:
    fast, slow = PAIRS[name]
    logits_NV, tokens_N1 = random_inputs(rows)
    weight_N1 = torch.linspace(-2, 3, rows, dtype=torch.float64)[:, None]
    found, wanted = fast(logits_NV, tokens_N1), slow(logits_NV, tokens_N1)
    (grad_NV,) = torch.autograd.grad((found * weight_N1).sum(), logits_NV)
    (slow_NV,) = torch.autograd.grad((wanted * weight_N1).sum(), logits_NV)

    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(grad_NV, slow_NV, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    fast, _ = PAIRS[name]
    logits_NV, tokens_N1 = random_inputs(5)

    assert torch.autograd.gradcheck(fast, (logits_NV, tokens_N1))


def test_float32_is_as_exact_as_the_softmax_of_torch() -> None:
    logits_NV, tokens_N1 = random_inputs(150, dtype=torch.float32)
    exact = slow_taken(logits_NV.detach().double(), tokens_N1)
    found = TakenLogProb.apply(logits_NV, tokens_N1).detach().double()

    torch.testing.assert_close(found, exact, atol=2e-6, rtol=1e-6)


def test_an_entry_of_probability_zero_takes_no_gradient() -> None:
    logits_NV = torch.tensor([[0.0, -torch.inf, 1.0]], requires_grad=True)
    TakenLogProb.apply(logits_NV, torch.tensor([[2]])).sum().backward()
    p = torch.softmax(torch.tensor([0.0, 1.0]), dim=-1)

    assert logits_NV.grad is not None
    assert logits_NV.grad[0].tolist() == pytest.approx([-p[0].item(), 0.0, 1 - p[1].item()])


def test_a_large_offset_changes_nothing() -> None:
    logits_NV, tokens_N1 = random_inputs(3)
    moved = TakenLogProb.apply(logits_NV + 1e6, tokens_N1)

    torch.testing.assert_close(moved, slow_taken(logits_NV, tokens_N1), atol=1e-8, rtol=1e-8)


def test_nan_logits_give_nan() -> None:
    logits_NV = torch.tensor([[0.0, torch.nan]])

    assert TakenLogProb.apply(logits_NV, torch.tensor([[0]])).isnan().all()


def test_logits_that_are_a_slice_of_wider_ones_keep_their_gradient() -> None:
    wide_BTV = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tokens_BT = torch.tensor([[0, 1, 2], [3, 4, 5]])
    F.log_probs_of(wide_BTV[..., :7], tokens_BT).sum().backward()
    found = wide_BTV.grad
    slow = wide_BTV.detach().requires_grad_()
    slow[..., :7].log_softmax(dim=-1).gather(-1, tokens_BT[..., None]).sum().backward()

    assert found is not None
    torch.testing.assert_close(found, slow.grad)


@pytest.mark.parametrize("rows", ROWS)
def test_the_entropy_and_its_gradient_are_those_of_autograd(rows: int) -> None:
    logits_NV, _ = random_inputs(rows)
    weight_N = torch.linspace(-2, 3, rows, dtype=torch.float64)
    logp_NV = logits_NV.log_softmax(dim=-1)
    found_N, slow_N = Entropy.apply(logits_NV), -(logp_NV.exp() * logp_NV).sum(dim=-1)
    (grad_NV,) = torch.autograd.grad((found_N * weight_N).sum(), logits_NV)
    (slow_NV,) = torch.autograd.grad((slow_N * weight_N).sum(), logits_NV)

    torch.testing.assert_close(found_N, slow_N, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(grad_NV, slow_NV, atol=1e-12, rtol=1e-12)


def test_the_entropy_keeps_nothing_as_large_as_the_logits_but_the_logits() -> None:
    logits_NV, _ = random_inputs(150)
    kept: list[int] = []

    def note(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        Entropy.apply(logits_NV)

    assert sorted(kept) == [150, 150, 150 * 7]
