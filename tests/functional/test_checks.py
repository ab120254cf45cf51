import pytest
import torch

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional import at_least_float32, check_shapes, row_blocks


def test_tensors_of_the_shapes_their_names_say_pass():
    check_shapes("q_BT v_BT logits_BTV", torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3, 5))


def test_a_differing_axis_is_named_with_both_sizes():
    with pytest.raises(ShapeError, match="`v_BT` has 4 along T where `q_BT` has 3"):
        check_shapes("q_BT v_BT", torch.zeros(2, 3), torch.zeros(2, 4))


def test_a_missing_axis_is_named():
    with pytest.raises(ShapeError, match="`mask_BT` has 1 axes; its name says 2"):
        check_shapes("mask_BT", torch.zeros(2))


def test_a_missing_tensor_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        check_shapes("q_BT v_BT", torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=["bfloat16", "float16", "float32", "float64"],
)
def test_maths_is_done_in_float32_or_better(given, computed):
    assert at_least_float32(torch.zeros(1, dtype=given)).dtype == computed


@pytest.mark.parametrize("rows", [0, 1, 64, 65, 200])
def test_blocks_of_rows_are_all_rows_in_order(rows):
    x_NV = torch.arange(rows)[:, None]

    assert [int(i) for block in row_blocks(x_NV) for i in x_NV[block]] == list(range(rows))
