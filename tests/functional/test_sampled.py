import itertools
import math

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError, ShapeError
from ketchup_cli.signals import TopEntries

VOCABULARY = 4
DRAWS = 3
TEMPERATURES = (1.0, 2.5)
both_temperatures = pytest.mark.parametrize("temperature", TEMPERATURES)


def pair(seed=0, *, states=2, vocabulary=VOCABULARY):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, states, vocabulary)
    return torch.randn(shape, generator=generator, dtype=torch.float64).unbind()


def statistics(p_BTV, temperature):
    taken_N = torch.zeros(p_BTV[..., 0].numel(), dtype=torch.long)
    found = F.teacher_statistics(p_BTV.flatten(0, 1), taken_N, temperatures=(temperature,))
    shape = p_BTV.shape[:2]
    return {"lse_BT": found.lse_NK.view(shape), "expected_BT": found.expected_NK.view(shape)}


def drawn(tokens_BTG, vocabulary=VOCABULARY):
    """Return entries for some draws, by counting them one by one."""
    shares_BTV = torch.zeros(*tokens_BTG.shape[:2], vocabulary, dtype=torch.float64)
    for b, t in itertools.product(*map(range, tokens_BTG.shape[:2])):
        for token in tokens_BTG[b, t].tolist():
            shares_BTV[b, t, token] += 1 / tokens_BTG.shape[2]
    ids_BTM = torch.arange(vocabulary).expand_as(shares_BTV)
    return entries(ids_BTM, shares_BTV)


def entries(ids_BTM, weights_BTM):
    return TopEntries(
        ids_BTM=ids_BTM,
        gaps_BTM=torch.full_like(weights_BTM, math.nan),
        tail_BT=torch.zeros_like(weights_BTM[..., 0]),
        weights_BTM=weights_BTM,
    )


def outcomes(p_BTV, temperature):
    """Yield every result of the draws in all states alike, with its probability in each state."""
    p_TV = (p_BTV[0] / temperature).softmax(-1)
    for tokens in itertools.product(range(VOCABULARY), repeat=DRAWS):
        mass_T = p_TV[:, list(tokens)].prod(dim=-1)
        yield mass_T, torch.tensor(tokens).expand(1, p_TV.shape[0], DRAWS)


def gradient(function, q_BTV):
    q_BTV = q_BTV.clone().requires_grad_()
    return torch.autograd.grad(function(q_BTV).sum(), q_BTV)[0]


def estimate(tokens_BTG, p_BTV, q_BTV, temperature):
    known = statistics(p_BTV, temperature)
    return F.kl_sampled(drawn(tokens_BTG), q_BTV, **known, temperature=temperature)


@both_temperatures
def test_over_all_draws_the_gradient_is_on_average_that_of_the_whole_teacher(temperature):
    p_BTV, q_BTV = pair()

    mean_BTV = torch.zeros_like(q_BTV)
    for mass_T, tokens_BTG in outcomes(p_BTV, temperature):
        slope_BTV = gradient(
            lambda q, tokens=tokens_BTG: estimate(tokens, p_BTV, q, temperature), q_BTV
        )
        mean_BTV += mass_T[None, :, None] * slope_BTV

    dense_BTV = gradient(lambda q: F.kl(p_BTV, q, temperature=temperature), q_BTV)
    torch.testing.assert_close(mean_BTV, dense_BTV, atol=1e-12, rtol=0)


@both_temperatures
def test_over_all_draws_the_value_is_on_average_the_divergence(temperature):
    p_BTV, q_BTV = pair()

    mean_BT = sum(
        mass_T * estimate(tokens_BTG, p_BTV, q_BTV, temperature)
        for mass_T, tokens_BTG in outcomes(p_BTV, temperature)
    )

    dense_BT = F.kl(p_BTV, q_BTV, temperature=temperature)
    torch.testing.assert_close(mean_BT, dense_BT, atol=1e-12, rtol=0)


@both_temperatures
def test_the_gradients_variance_is_that_of_the_formula(temperature):
    p_BTV, q_BTV = pair()
    dense_BTV = gradient(lambda q: F.kl(p_BTV, q, temperature=temperature), q_BTV)

    variance_T = torch.zeros(p_BTV.shape[1], dtype=torch.float64)
    for mass_T, tokens_BTG in outcomes(p_BTV, temperature):
        slope_BTV = gradient(
            lambda q, tokens=tokens_BTG: estimate(tokens, p_BTV, q, temperature), q_BTV
        )
        variance_T += mass_T * (slope_BTV - dense_BTV).square().sum(dim=-1)[0]

    p_TV = (p_BTV[0] / temperature).softmax(-1)
    expected_T = (1 - p_TV.square().sum(dim=-1)) / (DRAWS * temperature**2)
    torch.testing.assert_close(variance_T, expected_T, atol=1e-12, rtol=0)


def test_a_teacher_that_is_certain_is_known_exactly_from_one_draw():
    p_BTV = torch.tensor([[[0.0, 60.0, 0.0, 0.0]]], dtype=torch.float64)
    _, q_BTV = pair(states=1)

    one_BT = estimate(torch.tensor([[[1]]]), p_BTV, q_BTV, 1.0)

    torch.testing.assert_close(one_BT, F.kl(p_BTV, q_BTV))


def test_an_estimate_worked_by_hand():
    # teacher 1/2, 1/4, 1/4; drawn: the first twice, the second once; student 1/4, 1/4, 1/2
    p_BTV = torch.tensor([[[2.0, 1.0, 1.0]]], dtype=torch.float64).log()
    q_BTV = torch.tensor([[[1.0, 1.0, 2.0]]], dtype=torch.float64).log()
    top = drawn(torch.tensor([[[0, 0, 1]]]), vocabulary=3)

    actual = F.kl_sampled(top, q_BTV, **statistics(p_BTV, 1.0)).item()

    assert actual == pytest.approx(math.log(4) - 1.5 * math.log(2))


def test_a_repeated_id_counts_with_the_sum_of_its_shares():
    p_BTV, q_BTV = pair()
    whole = drawn(torch.tensor([[[2, 2, 1], [0, 0, 0]]]))
    ids_BTM = torch.tensor([[[2, 1, 2, 0], [0, 0, 0, 0]]])
    thirds_BTM = torch.tensor([[[1, 1, 1, 0], [1, 1, 1, 0]]], dtype=torch.float64) / 3
    parts, known = entries(ids_BTM, thirds_BTM), statistics(p_BTV, 1.0)

    for function in (lambda top: F.kl_sampled(top, q_BTV, **known),):
        torch.testing.assert_close(function(parts), function(whole))
    torch.testing.assert_close(
        gradient(lambda q: F.kl_sampled(parts, q, **known), q_BTV),
        gradient(lambda q: F.kl_sampled(whole, q, **known), q_BTV),
    )


def test_the_gradient_of_the_estimate_is_that_of_finite_differences():
    p_BTV, q_BTV = pair()
    top, known = drawn(torch.tensor([[[2, 2, 1], [0, 3, 0]]])), statistics(p_BTV, 2.0)
    weights_BT = torch.tensor([[0.5, -2.0]])

    def weighted(q_logits_BTV):
        return F.kl_sampled(top, q_logits_BTV, **known, temperature=2.0) * weights_BT

    assert torch.autograd.gradcheck(weighted, q_BTV.requires_grad_())


def test_a_step_without_draws_has_no_gradient():
    p_BTV, q_BTV = pair()
    top = entries(torch.zeros(1, 2, 3, dtype=torch.long), torch.zeros(1, 2, 3))

    slope_BTV = gradient(lambda q: F.kl_sampled(top, q, **statistics(p_BTV, 1.0)), q_BTV)

    assert not slope_BTV.any()


def test_no_gradient_reaches_the_teachers_statistics():
    p_BTV, q_BTV = pair()
    known = {name: x.requires_grad_() for name, x in statistics(p_BTV, 1.0).items()}

    estimate_BT = F.kl_sampled(drawn(torch.tensor([[[1], [2]]])), q_BTV.requires_grad_(), **known)
    estimate_BT.sum().backward()

    assert [x.grad for x in known.values()] == [None, None]


def test_the_estimate_does_not_depend_on_blocks_of_rows():
    p_BTV, q_BTV = pair()
    tokens_BTG = torch.tensor([[[2, 2, 1], [0, 3, 0]]])
    many = [x.repeat(80, 1, 1) for x in (p_BTV, q_BTV, tokens_BTG)]

    few_BTV = gradient(lambda q: estimate(tokens_BTG, p_BTV, q, 1.0), q_BTV)
    many_BTV = gradient(lambda q: estimate(many[2], many[0], q, 1.0), many[1])

    torch.testing.assert_close(many_BTV, few_BTV.repeat(80, 1, 1))


def test_the_largest_entries_are_refused_as_draws():
    p_BTV, q_BTV = pair()
    top = drawn(torch.tensor([[[1], [2]]]))
    largest = TopEntries(ids_BTM=top.ids_BTM, gaps_BTM=top.gaps_BTM, tail_BT=top.tail_BT)

    with pytest.raises(ShapeError, match="not draws"):
        F.kl_sampled(largest, q_BTV, **statistics(p_BTV, 1.0))


# the draws themselves


def counted(logits_NV, u_NG, temperature):
    """Count draws one at a time, by walking up the cumulative distribution."""
    rows = []
    for logits_V, u_G in zip(logits_NV, u_NG, strict=True):
        p_V = (logits_V / temperature).softmax(-1)
        found: dict[int, int] = {}
        for u in u_G.tolist():
            token, passed = 0, p_V[0].item()
            while passed <= u:
                token += 1
                passed += p_V[token].item()
            found[token] = found.get(token, 0) + 1
        rows.append(sorted(found.items()))
    return rows


@both_temperatures
def test_draws_are_those_of_a_walk_up_the_distribution(temperature):
    generator = torch.Generator().manual_seed(3)
    logits_NV = 2 * torch.randn(6, 9, generator=generator, dtype=torch.float64)
    u_NG = torch.rand(6, 20, generator=generator, dtype=torch.float64)

    ids_NG, counts_NG = F.sampled_entries(logits_NV, u_NG, temperature=temperature)

    found = [
        [(token, count) for token, count in zip(ids, counts, strict=True) if count]
        for ids, counts in zip(ids_NG.tolist(), counts_NG.tolist(), strict=True)
    ]
    assert found == counted(logits_NV, u_NG, temperature)


def test_counts_sum_to_the_draws_and_stand_first():
    generator = torch.Generator().manual_seed(0)
    logits_NV = torch.randn(50, 30, generator=generator)
    u_NG = torch.rand(50, 16, generator=generator, dtype=torch.float64)

    ids_NG, counts_NG = F.sampled_entries(logits_NV, u_NG)

    assert (counts_NG.sum(dim=-1) == 16).all()
    assert (counts_NG.bool().int().diff(dim=-1) <= 0).all()
    assert not ids_NG[counts_NG == 0].any()


def test_shares_approach_the_distribution():
    logits_NV = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    steps = 1000
    u_NG = ((torch.arange(steps, dtype=torch.float64) + 0.5) / steps)[None]

    _, counts_NG = F.sampled_entries(logits_NV, u_NG)

    shares_NV = counts_NG[:, :4] / steps
    torch.testing.assert_close(shares_NV, logits_NV.softmax(-1), atol=1.5 / steps, rtol=0)


def test_a_token_without_probability_is_never_drawn():
    logits_NV = torch.tensor([[-torch.inf, 0.0, -torch.inf]])

    ids_NG, counts_NG = F.sampled_entries(logits_NV, torch.tensor([[0.0, 0.5, 1.0]]))

    assert ids_NG[0, 0] == 1
    assert counts_NG.tolist() == [[3, 0, 0]]


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError):
        F.sampled_entries(torch.tensor([[0.0, math.nan]]), torch.tensor([[0.5]]))


def test_draws_of_other_states_are_refused():
    with pytest.raises(ShapeError, match="`u_NG` has 2 along N"):
        F.sampled_entries(torch.zeros(3, 4), torch.zeros(2, 5))
