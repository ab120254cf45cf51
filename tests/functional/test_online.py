import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError


def pair(seed=0, shape=(2, 3, 5)):
    generator = torch.Generator().manual_seed(seed)
    drawn = 2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return [x.requires_grad_() for x in drawn.clone().unbind()]


def leaves(*logits):
    return [x.detach().clone().requires_grad_() for x in logits]


def softmax(row, temperature=1.0):
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def slow_entropy(p):
    return -sum(a * math.log(a) for a in p)


def slow_balanced(p_row, q_row, *, emphasis, gate, steepness, temperature):
    gap = slow_entropy(softmax(q_row)) - slow_entropy(softmax(p_row))
    if gate == "hard":
        forward, reverse = (1.0, emphasis) if gap >= 0 else (emphasis, 1.0)
    else:
        forward = 1 + (emphasis - 1) / (1 + math.exp(steepness * gap))
        reverse = 1 + (emphasis - 1) / (1 + math.exp(-steepness * gap))
    p, q = softmax(p_row, temperature), softmax(q_row, temperature)
    return forward * slow_kl(p, q) + reverse * slow_kl(q, p)


DIVERGENCES = {"kl": F.kl, "reverse_kl": F.reverse_kl, "js": F.js}
every_student = pytest.mark.parametrize("student", DIVERGENCES)
every_teacher = pytest.mark.parametrize("teacher", DIVERGENCES)
every_gate = pytest.mark.parametrize("gate", ["hard", "sigmoid"])


# two losses


@every_student
@every_teacher
@pytest.mark.parametrize("coupling", ["alternate", "joint"])
def test_the_values_are_those_of_the_divergences(student, teacher, coupling):
    p_BTV, q_BTV = pair()

    found = F.mutual(
        p_BTV, q_BTV, student=student, teacher=teacher, coupling=coupling, temperature=1.5
    )

    wanted = [DIVERGENCES[name](p_BTV, q_BTV, temperature=1.5) for name in (student, teacher)]
    torch.testing.assert_close(list(found), wanted)


def test_alternate_sends_the_student_s_loss_into_the_student_alone():
    p_BTV, q_BTV = pair()

    F.mutual(p_BTV, q_BTV)[0].sum().backward()

    assert p_BTV.grad is None
    assert q_BTV.grad.abs().sum() > 0


def test_alternate_sends_the_teacher_s_loss_into_the_teacher_alone():
    p_BTV, q_BTV = pair()

    F.mutual(p_BTV, q_BTV)[1].sum().backward()

    assert q_BTV.grad is None
    assert p_BTV.grad.abs().sum() > 0


@every_student
@every_teacher
def test_one_backward_of_the_sum_is_two_backwards_of_the_parts(student, teacher):
    def losses(p_BTV, q_BTV):
        return F.mutual(p_BTV, q_BTV, student=student, teacher=teacher)

    p_BTV, q_BTV = pair()
    at_once = losses(p_BTV, q_BTV)
    (0.3 * at_once[0] + 0.7 * at_once[1]).sum().backward()
    p_alone, q_alone = leaves(p_BTV, q_BTV)
    (0.3 * losses(p_alone, q_alone)[0]).sum().backward()
    (0.7 * losses(p_alone, q_alone)[1]).sum().backward()

    torch.testing.assert_close((p_BTV.grad, q_BTV.grad), (p_alone.grad, q_alone.grad))


@every_student
@every_teacher
def test_joint_gradients_are_finite_differences_of_the_sum(student, teacher):
    def total(p_BTV, q_BTV):
        one, other = F.mutual(p_BTV, q_BTV, student=student, teacher=teacher, coupling="joint")
        return (0.3 * one + 0.7 * other).sum()

    assert torch.autograd.gradcheck(total, pair(shape=(1, 2, 3)))


# the gate


@every_gate
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_balanced_divergence_is_that_of_a_slow_loop(gate, temperature):
    settings = {"emphasis": 2.5, "gate": gate, "steepness": 1.5, "temperature": temperature}
    p_BTV, q_BTV = pair()

    slow = [
        [slow_balanced(p, q, **settings) for p, q in zip(p_TV.tolist(), q_TV.tolist(), strict=True)]
        for p_TV, q_TV in zip(p_BTV, q_BTV, strict=True)
    ]
    found_BT, _ = F.balanced(p_BTV, q_BTV, **settings)
    torch.testing.assert_close(found_BT, torch.tensor(slow, dtype=torch.float64))


def test_the_hard_gate_flips_exactly_where_the_entropies_are_equal():
    gap_BT = torch.tensor([[-1e-300, 0.0, 1e-300]], dtype=torch.float64)

    forward_BT, reverse_BT = F.entropy_gate(gap_BT, emphasis=3.0)

    assert forward_BT.tolist() == [[3.0, 1.0, 1.0]]
    assert reverse_BT.tolist() == [[1.0, 3.0, 3.0]]


def test_the_smooth_gate_weighs_both_alike_where_the_entropies_are_equal():
    weights = F.entropy_gate(torch.zeros(1, 1), emphasis=3.0, gate="sigmoid")

    assert [w.item() for w in weights] == [2.0, 2.0]


@every_gate
def test_weights_of_a_gap_that_could_be_differentiated_take_no_gradient(gate):
    weights = F.entropy_gate(torch.ones(1, 1, requires_grad=True), emphasis=3.0, gate=gate)

    assert [w.requires_grad for w in weights] == [False, False]


def test_a_steep_sigmoid_is_the_hard_gate():
    gap_BT = torch.tensor([[-0.5, 0.2]])

    smooth = F.entropy_gate(gap_BT, emphasis=2.0, gate="sigmoid", steepness=1e3)

    torch.testing.assert_close(smooth, F.entropy_gate(gap_BT, emphasis=2.0))


@every_gate
def test_an_emphasis_of_one_is_the_symmetric_sum(gate):
    p_BTV, q_BTV = pair()

    found_BT, _ = F.balanced(p_BTV, q_BTV, emphasis=1.0, gate=gate)

    torch.testing.assert_close(found_BT, F.kl(p_BTV, q_BTV) + F.reverse_kl(p_BTV, q_BTV))


@every_gate
def test_equal_models_have_no_loss_and_no_gradient_at_any_gate(gate):
    q_BTV = pair()[1]

    found_BT, _ = F.balanced(q_BTV.detach(), q_BTV, emphasis=2.0, gate=gate)
    found_BT.sum().backward()

    assert found_BT.abs().max().item() < 1e-15
    assert q_BTV.grad.abs().max().item() < 1e-15


@every_gate
def test_renaming_the_tokens_changes_nothing(gate):
    p_BTV, q_BTV = pair()
    order_V = torch.tensor([3, 0, 4, 1, 2])

    renamed = F.balanced(p_BTV[..., order_V], q_BTV[..., order_V], emphasis=2.0, gate=gate)

    torch.testing.assert_close(renamed, F.balanced(p_BTV, q_BTV, emphasis=2.0, gate=gate))


@every_gate
def test_sharper_student_logits_move_weight_towards_the_forward_divergence(gate):
    p_BTV, q_BTV = pair()
    gaps = [F.balanced(p_BTV, c * q_BTV, emphasis=2.0)[1] for c in (0.1, 1.0, 3.0, 30.0)]

    forward = [F.entropy_gate(gap, emphasis=2.0, gate=gate)[0].sum().item() for gap in gaps]

    assert forward == sorted(forward)
    assert forward[0] < forward[-1]


@pytest.mark.parametrize("gate", ["hard", "sigmoid"])
def test_the_gate_takes_no_gradient(gate):
    p_BTV, q_BTV = pair()
    found_BT, gap_BT = F.balanced(p_BTV, q_BTV, emphasis=2.0, gate=gate)
    weights = F.entropy_gate(gap_BT, emphasis=2.0, gate=gate)
    by_hand_BT = weights[0] * F.kl(p_BTV, q_BTV) + weights[1] * F.reverse_kl(p_BTV, q_BTV)

    found, wanted = (
        torch.autograd.grad(x.sum(), (p_BTV, q_BTV), retain_graph=True)
        for x in (found_BT, by_hand_BT)
    )

    torch.testing.assert_close(found, wanted)


def test_the_gap_is_the_student_s_entropy_less_the_teacher_s_at_temperature_one():
    p_BTV, q_BTV = pair()

    _, gap_BT = F.balanced(p_BTV, q_BTV, emphasis=2.0, temperature=3.0)

    torch.testing.assert_close(gap_BT, (F.entropy(q_BTV) - F.entropy(p_BTV)).detach())
    assert not gap_BT.requires_grad


@pytest.mark.parametrize("function", [F.mutual, lambda p, q: F.balanced(p, q, emphasis=2.0)])
def test_logits_of_two_vocabularies_are_refused(function):
    with pytest.raises(ShapeError, match="along V"):
        function(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
