"""Divergences from stored samples: value and gradient by enumeration, ends, and far-off tokens."""

import math

import pytest
import torch

from ketchup_cli import functional as F

GENERATOR = torch.Generator().manual_seed(5)
STUDENT_V, REFERENCE_V = (
    1.5 * torch.randn(7, generator=GENERATOR, dtype=torch.float64) for _ in range(2)
)
KINDS = ("forward", "reverse", "js", "alpha")
every_kind = pytest.mark.parametrize("kind", KINDS)


def expected(kind, alpha=0.2):
    """Return value and gradient in expectation over the reference's tokens, which stay as they are."""
    student_V = STUDENT_V.detach().requires_grad_()
    logp_1V, ref_1V = (x.log_softmax(-1)[None] for x in (student_V, REFERENCE_V))
    found_1V = F.rehearsal_divergence(logp_1V, ref_1V, kind=kind, alpha=alpha, limit=60.0)
    value = (ref_1V.exp() * found_1V).sum()
    return value.detach(), torch.autograd.grad(value, student_V)[0]


def by_definition(kind, alpha=0.2):
    student_V = STUDENT_V.detach().requires_grad_()
    p_V, r_V = student_V.softmax(-1), REFERENCE_V.softmax(-1)
    middle_V = (p_V + r_V) / 2

    def kl(one_V, other_V):
        return (one_V * (one_V / other_V).log()).sum()

    values = {
        "forward": lambda: kl(r_V, p_V),
        "reverse": lambda: kl(p_V, r_V),
        "js": lambda: kl(p_V, middle_V) + kl(r_V, middle_V),
        "alpha": lambda: ((p_V ** (1 - alpha) * r_V**alpha).sum() - 1) / (alpha * (alpha - 1)),
    }
    value = values[kind]()
    return value.detach(), torch.autograd.grad(value, student_V)[0]


def assert_close(one, other, tolerance=1e-12):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@every_kind
def test_value_and_gradient_are_those_of_the_divergence_it_is_named_after(kind):
    for found, exact in zip(expected(kind), by_definition(kind), strict=True):
        assert_close(found, exact)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.7, 0.95])
def test_any_alpha_is_the_divergence_of_its_formula(alpha):
    for found, exact in zip(expected("alpha", alpha), by_definition("alpha", alpha), strict=True):
        assert_close(found, exact)


@pytest.mark.parametrize(("alpha", "end"), [(0.0, "reverse"), (1e-7, "reverse")])
def test_alpha_near_0_is_the_reverse_divergence(alpha, end):
    assert_close(expected("alpha", alpha)[1], expected(end)[1], 1e-6)


@pytest.mark.parametrize(("alpha", "end"), [(1.0, "forward"), (1 - 1e-7, "forward")])
def test_alpha_near_1_is_the_forward_divergence(alpha, end):
    assert_close(expected("alpha", alpha)[1], expected(end)[1], 1e-6)


def of(kind, log_ratio, dtype=torch.float64):
    """Return value and slope at one log-ratio."""
    l_11 = torch.tensor([[log_ratio]], dtype=dtype, requires_grad=True)
    value = F.rehearsal_divergence(l_11, torch.zeros(1, 1, dtype=dtype), kind=kind).sum()
    return value.item(), torch.autograd.grad(value, l_11)[0].item()


@every_kind
def test_a_token_both_agree_on_has_no_value_and_no_slope(kind):
    value, slope = of(kind, 0.0)

    assert abs(value) < 1e-15
    assert abs(slope) < 1e-15


@every_kind
def test_the_generator_is_convex_and_never_negative(kind):
    u_N = torch.linspace(0.01, 8, 400, dtype=torch.float64)
    found_N = F.rehearsal_divergence(u_N.log()[None], torch.zeros(1, 400).double(), kind=kind)[0]

    assert found_N.min().item() >= -1e-12
    assert found_N.diff().diff().min().item() >= -1e-12


@every_kind
@pytest.mark.parametrize("log_ratio", [-200.0, -110.0, -12.0, 15.0, 60.0])
def test_far_off_tokens_are_finite_in_single_precision(kind, log_ratio):
    value, slope = of(kind, log_ratio, torch.float32)

    assert math.isfinite(value)
    assert math.isfinite(slope)
    assert slope >= 0 if log_ratio > 0 else slope <= 0


def test_what_was_forgotten_most_is_still_pulled_at():
    assert of("forward", -200.0, torch.float32)[1] == -1.0


def test_js_of_a_forgotten_token_is_log_2():
    assert of("js", -110.0, torch.float32)[0] == pytest.approx(math.log(2))
