import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError
from ketchup_cli.signals import BatchLoss, SequenceLoss, TokenLoss

MASK_BT = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
X_BT = torch.tensor([[1.0, 2.0, torch.nan], [5.0, torch.nan, torch.inf], [torch.nan] * 3])


def token_loss(loss_BT, **metrics):
    return TokenLoss(loss_BT=loss_BT, metrics=metrics)


def test_lengths_count_real_tokens():
    assert F.lengths(MASK_BT).tolist() == [2, 1, 0]


def test_a_sum_does_not_see_what_stands_on_padding():
    assert F.masked_sum(X_BT, MASK_BT).item() == 8.0


def test_a_mean_is_over_real_tokens():
    assert F.masked_mean(X_BT, MASK_BT).item() == pytest.approx(8 / 3)


def test_the_mean_of_nothing_is_zero():
    assert F.masked_mean(X_BT, torch.zeros_like(MASK_BT)).item() == 0.0


def test_row_means_are_over_the_real_tokens_of_each_row():
    assert F.row_means(X_BT, MASK_BT).tolist() == [1.5, 5.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32], ids=str)
def test_a_mask_may_be_of_any_type(dtype):
    assert F.masked_sum(X_BT, MASK_BT.to(dtype)).item() == 8.0


def test_padding_gets_no_gradient():
    x_BT = X_BT.clone().requires_grad_()

    F.masked_mean(x_BT, MASK_BT).backward()

    third = 1 / 3
    torch.testing.assert_close(
        x_BT.grad, torch.tensor([[third, third, 0.0], [third, 0.0, 0.0], [0.0] * 3])
    )


def test_a_token_loss_is_divided_by_its_own_tokens():
    assert F.reduce(token_loss(X_BT), MASK_BT).item() == pytest.approx(8 / 3)


def test_a_token_loss_is_divided_by_the_global_count_when_told():
    assert F.reduce(token_loss(X_BT), MASK_BT, count=16).item() == 0.5


def test_batches_reduced_by_the_global_count_add_up_to_the_whole():
    whole = F.reduce(token_loss(X_BT), MASK_BT)
    parts = [F.reduce(token_loss(X_BT[i : i + 1]), MASK_BT[i : i + 1], count=3) for i in range(3)]

    torch.testing.assert_close(sum(parts), whole)


def test_a_batch_without_tokens_has_loss_zero():
    assert F.reduce(token_loss(X_BT), torch.zeros_like(MASK_BT)).item() == 0.0


def test_a_sequence_loss_is_averaged_over_sequences_with_tokens():
    loss = SequenceLoss(loss_B=torch.tensor([1.0, 2.0, torch.nan]), metrics={})

    assert F.reduce(loss, MASK_BT).item() == 1.5


def test_a_batch_loss_alone_stays():
    loss = BatchLoss(loss=torch.tensor(7.0), metrics={})

    assert F.reduce(loss, MASK_BT).item() == 7.0


def test_a_batch_loss_counts_as_many_tokens_as_the_batch_has():
    loss = BatchLoss(loss=torch.tensor(7.0), metrics={})
    own = MASK_BT.sum().item()

    assert F.reduce(loss, MASK_BT, count=4 * own).item() == 7.0 / 4


def test_a_loss_of_another_shape_than_the_mask_is_refused():
    with pytest.raises(ShapeError, match="along T"):
        F.reduce(token_loss(torch.zeros(3, 4)), MASK_BT)


def test_a_token_metric_is_averaged_over_tokens():
    reduced = F.reduce_metrics(token_loss(X_BT, reward=X_BT), MASK_BT)

    assert reduced["reward"].item() == pytest.approx(8 / 3)


def test_the_variance_of_a_token_metric_is_over_tokens():
    reduced = F.reduce_metrics(token_loss(X_BT, reward=X_BT), MASK_BT)

    assert reduced["reward_variance"].item() == pytest.approx(26 / 9)


def test_a_sequence_metric_is_averaged_over_sequences_with_tokens():
    metric_B = torch.tensor([1.0, 4.0, torch.nan])

    reduced = F.reduce_metrics(token_loss(X_BT, **{"return": metric_B}), MASK_BT)

    assert (reduced["return"].item(), reduced["return_variance"].item()) == (2.5, 2.25)


def test_a_scalar_metric_stays():
    reduced = F.reduce_metrics(token_loss(X_BT, cost=torch.tensor(3.0)), MASK_BT)

    assert {name: value.item() for name, value in reduced.items()} == {"cost": 3.0}


def test_reduced_metrics_carry_no_gradient():
    metric_BT = torch.ones(3, 3, requires_grad=True)

    assert not F.reduce_metrics(token_loss(X_BT, x=metric_BT), MASK_BT)["x"].requires_grad
