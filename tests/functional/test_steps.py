from functools import partial

import pytest
import torch
from objective_inputs import make_batch, random_logits, rows_of, teacher_signal
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.functional import steps
from ketchup_cli.signals import HeldLogits

BATCH = make_batch()
MASK_BT = BATCH.mask_BT
P_BTV, Q_BTV = random_logits(1), random_logits(2)


class Recorded:
    """Rows that remember what was asked of them."""

    def __init__(self, rows: HeldLogits) -> None:
        self._rows, self.count = rows, rows.count
        self.read: list[slice] = []

    def logits(self, which: slice) -> Tensor:
        self.read.append(which)
        return self._rows.logits(which)

    def to(self, device: object) -> "Recorded":
        return Recorded(self._rows.to(device))


def gradient(loss_BT: Tensor, q_BTV: Tensor) -> Tensor:
    weights = torch.arange(1.0, loss_BT.numel() + 1, dtype=loss_BT.dtype).view(loss_BT.shape)
    return torch.autograd.grad((weights * loss_BT).sum(), q_BTV)[0]


def leaf() -> Tensor:
    return Q_BTV.clone().requires_grad_()


@pytest.fixture(
    params=[(1, 1), (1, 3), (13, 2), (1 << 20, 16)],
    ids=["one step", "one step, read by three", "two steps, read by four", "all at once"],
    autouse=True,
)
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, read = request.param
    monkeypatch.setitem(steps._COMPARED_ENTRIES, "cpu", entries)
    monkeypatch.setitem(steps._READ_BLOCKS, "cpu", read)


@pytest.mark.parametrize("measure", [F.kl, F.reverse_kl, F.js, F.tvd])
def test_value_and_gradient_are_those_of_the_measure_on_everything(measure) -> None:
    whole, blocks = leaf(), leaf()

    expected_BT = F.zero_padding(measure(P_BTV, whole), MASK_BT)
    (found_BT,) = F.at_steps(measure, rows_of(P_BTV, BATCH), blocks, MASK_BT)

    torch.testing.assert_close(found_BT, expected_BT)
    torch.testing.assert_close(gradient(found_BT, blocks), gradient(expected_BT, whole))


def test_every_row_of_the_teacher_is_read_once_and_in_order() -> None:
    rows = Recorded(rows_of(P_BTV, BATCH))

    F.at_steps(F.kl, rows, leaf(), MASK_BT)

    assert [number for which in rows.read for number in range(rows.count)[which]] == list(
        range(rows.count)
    )


@pytest.mark.parametrize("used", ["both", "log-probabilities alone", "measure alone"])
def test_log_probabilities_come_along_with_their_gradient(used: str) -> None:
    whole, blocks = leaf(), leaf()
    tokens_BT = BATCH.tokens_BT
    of_kl, of_logp = {"both": (1, 1), "measure alone": (1, 0)}.get(used, (0, 1))

    kl_BT = F.zero_padding(F.kl(P_BTV, whole), MASK_BT)
    expected_BT = F.zero_padding(F.log_probs_of(whole, tokens_BT), MASK_BT)
    found_BT, logp_BT = F.at_steps(
        F.kl, rows_of(P_BTV, BATCH), blocks, MASK_BT, tokens_BT=tokens_BT
    )

    torch.testing.assert_close(logp_BT, expected_BT)
    torch.testing.assert_close(
        gradient(of_kl * found_BT + of_logp * logp_BT**2, blocks),
        gradient(of_kl * kl_BT + of_logp * expected_BT**2, whole),
    )


def test_further_numbers_come_back_without_a_gradient() -> None:
    def measure(p, q):
        return F.kl(p, q), F.entropy(q)

    _, entropy_BT = F.at_steps(measure, rows_of(P_BTV, BATCH), leaf(), MASK_BT)

    assert not entropy_BT.requires_grad
    torch.testing.assert_close(entropy_BT, F.zero_padding(F.entropy(Q_BTV), MASK_BT))


def test_no_gradient_reaches_the_teacher() -> None:
    p_BTV = P_BTV.clone().requires_grad_()

    (found_BT,) = F.at_steps(F.kl, rows_of(p_BTV, BATCH), leaf(), MASK_BT)
    found_BT.sum().backward()

    assert p_BTV.grad is None


def test_without_a_gradient_to_find_the_value_is_the_same() -> None:
    (with_BT,) = F.at_steps(F.kl, rows_of(P_BTV, BATCH), leaf(), MASK_BT)
    (without_BT,) = F.at_steps(F.kl, rows_of(P_BTV, BATCH), Q_BTV, MASK_BT)

    assert not without_BT.requires_grad
    torch.testing.assert_close(without_BT, with_BT.detach())


def test_what_stands_on_padding_does_not_matter() -> None:
    junk = Q_BTV.masked_fill(MASK_BT.bool().logical_not()[..., None], 1e6).requires_grad_()

    (found_BT,) = F.at_steps(F.kl, rows_of(P_BTV, BATCH), junk, MASK_BT)

    padding_BT = ~MASK_BT.bool()
    assert bool((found_BT[padding_BT] == 0).all())
    assert bool((gradient(found_BT, junk)[padding_BT] == 0).all())


def test_rows_that_are_not_as_many_as_steps_are_refused() -> None:
    with pytest.raises(ShapeError, match="12 rows of teacher logits for 13 real steps"):
        F.at_steps(F.kl, HeldLogits(rows_of(P_BTV, BATCH).logits_NV[1:]), Q_BTV, MASK_BT)


def weighted_kl(p, q, weight, *, temperature=1.0):
    return weight * F.kl(p, q, temperature=temperature)


@pytest.mark.parametrize("teacher", ["all logits", "top entries"])
def test_numbers_beside_the_logits_stay_with_their_step(teacher) -> None:
    weight_BT = torch.arange(1.0, MASK_BT.numel() + 1, dtype=P_BTV.dtype).view(MASK_BT.shape)
    weight_BT.requires_grad_()

    if teacher == "all logits":
        whole = F.at_steps(F.kl, rows_of(P_BTV, BATCH), leaf(), MASK_BT)
        beside = F.at_steps(
            weighted_kl, rows_of(P_BTV, BATCH), leaf(), MASK_BT, beside=(weight_BT,)
        )
    else:
        whole = F.at_top(F.kl, tops().top, leaf(), MASK_BT)
        beside = F.at_top(weighted_kl, tops().top, leaf(), MASK_BT, beside=(weight_BT,))

    beside[0].sum().backward()
    torch.testing.assert_close(beside[0], weight_BT * whole[0])
    assert weight_BT.grad is None


@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kl_on_the_top_entries_is_the_truncated_kl(tail, temperature) -> None:
    whole, blocks = leaf(), leaf()
    top = tops(temperature).top

    expected_BT = F.kl_truncated(top, whole, tail=tail, temperature=temperature)
    view = partial(F.bucketed, tail=tail, temperature=temperature)
    (found_BT,) = F.at_top(F.kl, top, blocks, MASK_BT, view=view)

    expected_BT = F.zero_padding(expected_BT, MASK_BT)
    torch.testing.assert_close(found_BT, expected_BT)
    torch.testing.assert_close(gradient(found_BT, blocks), gradient(expected_BT, whole))


def tops(temperature=1.0, **changes):
    from ketchup_cli.signals import Needs

    needs = Needs(teacher="top", temperature=temperature)
    return teacher_signal(P_BTV, BATCH, student_BTV=Q_BTV, needs=needs, **changes)


@pytest.mark.parametrize("measure", [F.kl, F.reverse_kl, F.js, F.tvd])
def test_with_every_entry_kept_a_measure_is_exact(measure) -> None:
    top = tops(top=P_BTV.shape[-1]).top

    (found_BT,) = F.at_top(measure, top, leaf(), MASK_BT)

    torch.testing.assert_close(found_BT, F.zero_padding(measure(P_BTV, Q_BTV), MASK_BT))


@pytest.mark.parametrize("measure", [F.kl, F.reverse_kl, F.js, F.tvd])
def test_the_bucket_gives_a_lower_bound(measure) -> None:
    (found_BT,) = F.at_top(measure, tops().top, leaf(), MASK_BT)

    exact_BT = F.zero_padding(measure(P_BTV, Q_BTV), MASK_BT)
    assert bool((found_BT <= exact_BT + 1e-12).all())


def test_both_sides_of_the_bucket_are_distributions() -> None:
    for logp_BTm in F.bucketed(tops().top, Q_BTV):
        total_BT = logp_BTm.exp().sum(-1)
        torch.testing.assert_close(total_BT, torch.ones_like(total_BT))
