"""What the divergences are to one another, to whole completions, and to a truncated teacher."""

from dataclasses import replace

import pytest
import torch
from divergence_inputs import STUDENT_BTV, TEACHER_BTV, loss_of, seen_by
from objective_inputs import VOCABULARY, student_signal, teacher_signal
from tabular import TabularTeacher, assert_close, student_of

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.signals import Batch, HeldLogits, Inputs, TeacherSignal

DIVERGENCES = {
    "kl": {"name": "kl"},
    "reverse_kl": {"name": "reverse_kl"},
    "js": {"name": "js", "beta": 0.3},
    "js of completions": {"name": "js", "beta": 0.3, "mixture": "exact"},
    "tvd": {"name": "tvd"},
    "gkd": {"name": "gkd", "beta": 0.3},
    "gkd, continuous": {"name": "gkd", "beta": 0.3, "mixture": "continuous"},
    "skew_kl": {"name": "skew_kl"},
    "skew_rkl": {"name": "skew_rkl"},
    "adaptive_kl": {"name": "adaptive_kl"},
}
every = pytest.mark.parametrize("name", DIVERGENCES)
every_source = pytest.mark.parametrize("source", ["teacher", "student"])


def made(**table):
    return objectives.build(table)[0].objective


def slope_of(objective, inputs):
    (slope_BTV,) = torch.autograd.grad(loss_of(objective, inputs).sum(), inputs.student.logits_BTV)
    return slope_BTV


def assert_same(one, other, **inputs):
    """Assert that two objectives have one loss and one gradient."""
    seen = [seen_by(objective, **inputs) for objective in (one, other)]
    torch.testing.assert_close(loss_of(one, seen[0]), loss_of(other, seen[1]))
    torch.testing.assert_close(slope_of(one, seen[0]), slope_of(other, seen[1]))


# between equals


@every
@every_source
def test_a_teacher_like_the_student_gives_no_loss_and_no_gradient(name, source):
    objective = made(**DIVERGENCES[name])
    inputs = seen_by(objective, source=source, teacher_BTV=STUDENT_BTV)

    zero = torch.zeros((), dtype=STUDENT_BTV.dtype)
    loss_BT, slope_BTV = loss_of(objective, inputs), slope_of(objective, inputs)
    torch.testing.assert_close(loss_BT, zero.expand_as(loss_BT), atol=1e-12, rtol=0)
    torch.testing.assert_close(slope_BTV, zero.expand_as(slope_BTV), atol=1e-12, rtol=0)


def test_engine_of_a_teacher_like_the_student_is_the_entropy_and_has_a_gradient():
    objective = made(name="engine")
    inputs = seen_by(objective, teacher_BTV=STUDENT_BTV)

    entropy_BT = F.zero_padding(F.entropy(STUDENT_BTV), inputs.batch.mask_BT)
    torch.testing.assert_close(loss_of(objective, inputs), entropy_BT)
    assert slope_of(objective, inputs).abs().max().item() > 0.01


# between one another


@pytest.mark.parametrize("mixture", ["published", "continuous"])
@pytest.mark.parametrize(("beta", "end"), [(0.0, "kl"), (1.0, "reverse_kl")])
def test_the_ends_of_gkd_are_kl_and_reverse_kl(mixture, beta, end):
    assert_same(made(name="gkd", beta=beta, mixture=mixture), made(name=end))


@pytest.mark.parametrize(("skew", "end"), [("skew_kl", "kl"), ("skew_rkl", "reverse_kl")])
def test_without_a_skew_the_skew_divergences_are_plain(skew, end):
    assert_same(made(name=skew, alpha=0.0), made(name=end))


def test_gkd_of_one_source_is_both_halves_of_js():
    inputs = [seen_by(made(name="js"), source=source) for source in ("teacher", "student")]

    both_BT = sum(loss_of(made(name="js"), each) for each in inputs) / 2

    gkd = made(name="gkd")
    torch.testing.assert_close(both_BT, loss_of(gkd, seen_by(gkd)))


def test_adaptive_kl_with_every_token_in_the_head_is_kl():
    assert_same(made(name="adaptive_kl", mu=1.0), made(name="kl"))


def test_adaptive_kl_lies_between_kl_and_reverse_kl():
    kinds = [made(name=name) for name in ("adaptive_kl", "kl", "reverse_kl")]

    found_BT, forward_BT, reverse_BT = (loss_of(kind, seen_by(kind)) for kind in kinds)

    assert (found_BT >= forward_BT.minimum(reverse_BT) - 1e-12).all()
    assert (found_BT <= forward_BT.maximum(reverse_BT) + 1e-12).all()


def test_the_order_of_the_bounds_of_a_skew():
    kinds = [made(name="skew_kl", alpha=alpha) for alpha in (0.0, 0.1, 0.5, 0.9)]

    losses = torch.stack([loss_of(kind, seen_by(kind)) for kind in kinds])

    assert (losses.diff(dim=0) <= 1e-12).all()


# truncated teachers


@every
@every_source
def test_a_cache_of_the_whole_vocabulary_is_as_good_as_the_teacher(name, source):
    objective = made(**DIVERGENCES[name])
    live = seen_by(objective, source=source)
    signal = teacher_signal(TEACHER_BTV, live.batch, student_BTV=STUDENT_BTV, top=VOCABULARY)

    cached = replace(live, teacher=signal)

    torch.testing.assert_close(loss_of(objective, cached), loss_of(objective, live))
    torch.testing.assert_close(slope_of(objective, cached), slope_of(objective, live))


@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "adaptive_kl"])
@every_source
def test_the_bucket_never_exceeds_the_divergence(name, source):
    objective = made(**DIVERGENCES[name])

    whole_BT, top_BT = (
        loss_of(objective, seen_by(objective, source=source, detail=detail))
        for detail in ("dense", "top")
    )

    assert (top_BT <= whole_BT + 1e-12).all()
    assert (whole_BT - top_BT).max().item() > 1e-4


@pytest.mark.parametrize("name", objectives.names())
def test_what_an_objective_says_it_fits_is_a_kind_of_signal(name):
    fits = objectives.load(name).fits

    assert set(fits) <= {"dense", "hidden", "top", "sampled", "stats"}


@pytest.mark.parametrize("name", sorted({table["name"] for table in DIVERGENCES.values()}))
def test_an_objective_names_what_it_loses_where_it_takes_the_top(name):
    objective = made(name=name)

    assert ("top" in objective.fits) == (objective.needs.teacher == "top")
    assert objective.fits["dense"] == "exact"


# whole completions, by enumeration

TASK = TabularTeacher(seed=3)
STUDENT_SV = student_of(TASK)
P_N, Q_N = TASK.probabilities(TASK.logits_SV), TASK.probabilities(STUDENT_SV)


def inputs_of_task(student_SV, source):
    """Return all completions of the task as a batch of `source`."""
    mask_NT = TASK.mask_NT
    batch = Batch(
        ids=tuple(map(str, range(len(mask_NT)))),
        prompt_BS=torch.ones(len(mask_NT), 1, dtype=torch.long),
        prompt_mask_BS=torch.ones(len(mask_NT), 1, dtype=torch.long),
        tokens_BT=TASK.tokens_NT,
        mask_BT=mask_NT,
        source=source,
    )
    p_NTV = TASK.at(TASK.logits_SV)
    lse_NT = p_NTV.logsumexp(-1)
    teacher = TeacherSignal(
        taken_BT=TASK.taken(TASK.logits_SV),
        best_BT=p_NTV.amax(-1),
        expected_BT=torch.full_like(lse_NT, torch.nan),
        mean_BT=p_NTV.mean(-1),
        lse_BT=lse_NT,
        dense=HeldLogits(p_NTV[mask_NT.bool()]),
    )
    student = student_signal(TASK.at(student_SV), batch)
    return Inputs(batch=batch, student=student, teacher=teacher)


def total(table, student_SV=STUDENT_SV):
    """Return the expected loss of whole completions over the shares of an objective."""
    found = torch.zeros((), dtype=torch.float64)
    for term in objectives.build(table):
        loss_NT = loss_of(term.objective, inputs_of_task(student_SV, term.prefixes))
        weight_N = Q_N if term.prefixes == "student" else P_N
        found = found + term.weight * (weight_N * loss_NT.sum(dim=1)).sum()
    return found


def of_completions(share):
    middle_N = (1 - share) * P_N + share * Q_N
    of_p, of_q = ((x_N * (x_N / middle_N).log()).sum() for x_N in (P_N, Q_N))
    return (1 - share) * of_p + share * of_q


def test_kl_on_the_teacher_s_completions_is_that_of_completions():
    assert_close(total({"name": "kl", "prefixes": "teacher"}), (P_N * (P_N / Q_N).log()).sum())


def test_reverse_kl_is_that_of_completions():
    assert_close(total({"name": "reverse_kl"}), (Q_N * (Q_N / P_N).log()).sum())


def test_engine_is_the_teacher_s_cost_of_the_student_s_completions():
    assert_close(total({"name": "engine"}), -(Q_N * P_N.log()).sum())


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.85])
def test_the_exact_js_is_that_of_completions(beta):
    assert_close(total({"name": "js", "beta": beta, "mixture": "exact"}), of_completions(beta))


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.85])
def test_the_js_of_conditionals_bounds_that_of_completions_from_above(beta):
    assert total({"name": "js", "beta": beta}).item() > of_completions(beta).item()


def test_tvd_bounds_that_of_completions_from_above():
    assert total({"name": "tvd"}).item() > (P_N - Q_N).abs().sum().item() / 2


def test_kl_on_the_teacher_s_completions_has_the_gradient_of_completions():
    found_SV = TASK.gradient_of(
        lambda x: total({"name": "kl", "prefixes": "teacher"}, x), STUDENT_SV
    )

    expected_SV = TASK.gradient_of(lambda x: -(P_N * TASK.probabilities(x).log()).sum(), STUDENT_SV)
    assert_close(found_SV, expected_SV)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "kl", "prefixes": "teacher"},
        {"name": "reverse_kl"},
        {"name": "js"},
        {"name": "js", "mixture": "exact"},
        {"name": "gkd", "prefixes": "student"},
        {"name": "skew_kl"},
        {"name": "skew_rkl", "prefixes": "student"},
        {"name": "adaptive_kl"},
    ],
    ids=lambda table: "-".join(map(str, table.values())),
)
def test_a_tabular_student_learns_the_teacher(table):
    student_SV = STUDENT_SV.clone().requires_grad_()
    optimizer = torch.optim.Adam([student_SV], lr=0.1)

    for _ in range(150):
        optimizer.zero_grad()
        total(table, student_SV).backward()
        optimizer.step()

    learned_N = TASK.probabilities(student_SV.detach())
    assert (learned_N - P_N).abs().sum().item() / 2 < 0.02
