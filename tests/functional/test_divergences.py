import math

import pytest
import torch
from tabular import TabularTeacher

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

LN_2 = math.log(2)


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)).unbind()


def softmax(row, temperature):
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def slow_js(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (slow_kl(p, middle) + slow_kl(q, middle)) / 2


SLOW = {
    F.kl: slow_kl,
    F.reverse_kl: lambda p, q: slow_kl(q, p),
    F.js: slow_js,
    F.tvd: lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2,
}
every = pytest.mark.parametrize("divergence", SLOW, ids=lambda function: function.__name__)


@every
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_divergence_is_that_of_a_slow_loop(divergence, temperature):
    p_BTV, q_BTV = pair(2, 3, 5)

    slow = [
        [
            SLOW[divergence](softmax(p, temperature), softmax(q, temperature))
            for p, q in zip(p_TV.tolist(), q_TV.tolist(), strict=True)
        ]
        for p_TV, q_TV in zip(p_BTV, q_BTV, strict=True)
    ]
    actual_BT = divergence(p_BTV, q_BTV, temperature=temperature)
    torch.testing.assert_close(actual_BT, torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [
        (F.kl, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        (F.reverse_kl, 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
        (F.tvd, 0.25),
    ],
    ids=["kl", "reverse_kl", "tvd"],
)
def test_a_divergence_of_three_quarters_from_a_half(divergence, expected):
    p_BTV = torch.tensor([[[3.0, 1.0]]]).log()

    assert divergence(p_BTV, torch.zeros(1, 1, 2)).item() == pytest.approx(expected)


def test_the_jensen_shannon_divergence_of_opposites_is_ln_2():
    opposites = torch.tensor([[[1e3, 0.0]]]), torch.tensor([[[0.0, 1e3]]])

    assert F.js(*opposites).item() == pytest.approx(LN_2)


@every
def test_a_divergence_is_never_negative(divergence):
    assert divergence(*pair(50, 4, 6)).min().item() >= 0


@every
def test_a_divergence_is_zero_between_equals(divergence):
    p_BTV, _ = pair(5, 4, 6)

    # logits that differ by an offset a state are equals
    assert divergence(p_BTV, p_BTV + 3).abs().max().item() == pytest.approx(0, abs=1e-12)


@every
def test_a_divergence_has_no_gradient_between_equals(divergence):
    p_BTV, _ = pair(5, 4, 6)
    q_BTV = p_BTV.clone().requires_grad_()

    divergence(p_BTV, q_BTV).sum().backward()

    assert q_BTV.grad.abs().max().item() == pytest.approx(0, abs=1e-12)


@every
def test_a_divergence_is_finite_at_extreme_logits(divergence):
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV = (1e4 * q_BTV).float().requires_grad_()

    divergence_BT = divergence((-1e4 * p_BTV).float(), q_BTV)
    divergence_BT.sum().backward()

    assert divergence_BT.isfinite().all()
    assert q_BTV.grad.isfinite().all()


@every
def test_a_divergence_refuses_vocabularies_that_differ(divergence):
    with pytest.raises(ShapeError, match="along V"):
        divergence(torch.zeros(1, 1, 5), torch.zeros(1, 1, 6))


@pytest.mark.parametrize("divergence", [F.js, F.tvd], ids=["js", "tvd"])
def test_a_symmetric_divergence_does_not_care_for_order(divergence):
    p_BTV, q_BTV = pair(5, 4, 6)

    torch.testing.assert_close(divergence(p_BTV, q_BTV), divergence(q_BTV, p_BTV))


def test_jensen_shannon_is_at_most_ln_2():
    p_BTV, q_BTV = pair(50, 4, 6)

    assert F.js(5 * p_BTV, 5 * q_BTV).max().item() <= LN_2 + 1e-12


def test_total_variation_is_at_most_one_and_obeys_pinsker():
    p_BTV, q_BTV = pair(50, 4, 6)
    bound_BT = (F.kl(p_BTV, q_BTV) / 2).sqrt().clamp(max=1)

    assert (F.tvd(p_BTV, q_BTV) <= bound_BT + 1e-12).all()


def test_the_gradient_of_kl_is_student_less_teacher():
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV.requires_grad_()

    F.kl(p_BTV, q_BTV).sum().backward()

    torch.testing.assert_close(q_BTV.grad, q_BTV.softmax(-1).detach() - p_BTV.softmax(-1))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_energy_is_that_of_a_slow_loop(temperature):
    p_BTV, q_BTV = pair(1, 2, 5)

    slow = [
        -sum(
            b * math.log(a)
            for a, b in zip(softmax(p, temperature), softmax(q, temperature), strict=True)
        )
        for p, q in zip(p_BTV[0].tolist(), q_BTV[0].tolist(), strict=True)
    ]
    actual_BT = F.engine(p_BTV, q_BTV, temperature=temperature)
    torch.testing.assert_close(actual_BT, torch.tensor([slow], dtype=torch.float64))


def test_the_energy_is_reverse_kl_with_the_student_s_entropy():
    p_BTV, q_BTV = pair(5, 4, 6)

    expected_BT = F.reverse_kl(p_BTV, q_BTV) + F.entropy(q_BTV)

    torch.testing.assert_close(F.engine(p_BTV, q_BTV), expected_BT)


def test_the_energy_is_finite_at_extreme_logits():
    p_BTV, q_BTV = pair(2, 3, 5)
    q_BTV = (1e4 * q_BTV).float().requires_grad_()

    energy_BT = F.engine((-1e4 * p_BTV).float(), q_BTV)
    energy_BT.sum().backward()

    assert energy_BT.isfinite().all()
    assert q_BTV.grad.isfinite().all()


class Sequences:
    """Two policies of the enumerated task and their divergences over whole completions."""

    def __init__(self):
        task = TabularTeacher(seed=3)
        student_SV = task.random(4)
        self.p_N, self.q_N = task.probabilities(task.logits_SV), task.probabilities(student_SV)
        self.task, self.student_SV = task, student_SV

    def summed(self, divergence, weight_N):
        steps_NT = divergence(self.task.at(self.task.logits_SV), self.task.at(self.student_SV))
        return (weight_N * F.zero_padding(steps_NT, self.task.mask_NT).sum(1)).sum().item()


def test_kl_of_completions_is_the_sum_over_steps_on_the_teacher_s_prefixes():
    both = Sequences()

    whole = (both.p_N * (both.p_N / both.q_N).log()).sum().item()
    assert both.summed(F.kl, both.p_N) == pytest.approx(whole, abs=1e-12)


def test_reverse_kl_of_completions_is_the_sum_over_steps_on_the_student_s_prefixes():
    both = Sequences()

    whole = (both.q_N * (both.q_N / both.p_N).log()).sum().item()
    assert both.summed(F.reverse_kl, both.q_N) == pytest.approx(whole, abs=1e-12)


def test_jensen_shannon_of_steps_bounds_that_of_completions_from_above():
    both = Sequences()

    middle_N = (both.p_N + both.q_N) / 2
    whole = sum((x_N * (x_N / middle_N).log()).sum().item() / 2 for x_N in (both.p_N, both.q_N))

    def half(side):
        def from_middle(p_BTV, q_BTV):
            middle_BTV = ((p_BTV.softmax(-1) + q_BTV.softmax(-1)) / 2).log()
            return F.kl(p_BTV if side == "p" else q_BTV, middle_BTV) / 2

        return from_middle

    steps = both.summed(half("p"), both.p_N) + both.summed(half("q"), both.q_N)
    assert steps >= whole > 0


@pytest.mark.parametrize("prefixes", ["teacher", "student", "both"])
def test_total_variation_of_steps_bounds_that_of_completions_from_above(prefixes):
    both = Sequences()
    whole = (both.p_N - both.q_N).abs().sum().item() / 2
    weights_N = {"teacher": both.p_N, "student": both.q_N, "both": (both.p_N + both.q_N) / 2}

    assert both.summed(F.tvd, weights_N[prefixes]) >= whole > 0
