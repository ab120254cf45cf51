import math
from pathlib import Path

import pytest
import torch
from foreign import packed, raw_bytes, write_config

from ketchup_cli.errors import DataError, NotFound
from ketchup_cli.models.foreign import (
    Bin,
    Compression,
    axolotl_steps,
    check_log_probs,
    distillkit_steps,
    finite_entries,
    read_compression,
    unpack_bits,
    unpack_log_probs,
)


@pytest.mark.parametrize("bits", [1, 3, 8, 13, 18, 33])
def test_numbers_of_any_width_come_out_as_they_went_in(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    numbers_NK = torch.randint(2**bits, (4, 7), generator=generator)
    packed_NX = torch.tensor([packed(row, bits) for row in numbers_NK.tolist()], dtype=torch.uint8)

    assert torch.equal(unpack_bits(packed_NX, bits=bits, count=7), numbers_NK)


def test_bits_are_read_highest_first() -> None:
    # 101 011 0|0
    assert unpack_bits(torch.tensor([[0b10101100]]), bits=3, count=2).tolist() == [[5, 3]]


def unpacked(content: list[int], **settings: object) -> list[float]:
    compression = Compression(d=50, **{"delta_encoding": False, **settings})  # type: ignore[arg-type]
    values_NK = unpack_log_probs(torch.tensor([content], dtype=torch.uint8), compression)
    return [float(value) for value in values_NK[0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_exact_values_are_read_in_their_own_type(dtype: str) -> None:
    values = [-0.5, -1.25, -8.0]

    content = raw_bytes(values, getattr(torch, dtype))

    assert unpacked(content, k=3, exact_k=3, exact_dtype=dtype) == values


def test_the_rest_is_a_polynomial_of_the_rank() -> None:
    # -2 - 3 r + 0.5 sqrt(r) at ranks 0, 1, 4 of what is not exact, by hand
    content = raw_bytes([-1.0]) + raw_bytes([-2.0, -3.0, 0.5])

    found = unpacked(content, k=6, exact_k=1, polynomial_terms=(0, 1, "sqrt"))

    assert found[:3] == [-1.0, -2.0, pytest.approx(-4.5)]
    assert found[5] == pytest.approx(-2 - 12 + 1)


def test_ranks_can_run_from_0_to_1() -> None:
    content = raw_bytes([0.0, -4.0])

    found = unpacked(content, k=3, exact_k=0, polynomial_terms=(0, 1), normalize_t=True)

    assert found == [0.0, -2.0, -4.0]


def test_residuals_are_added_bin_by_bin() -> None:
    # 4 bits hold -8 to 7, written from 0; one bit holds -1 or 1
    content = [*raw_bytes([-5.0]), *raw_bytes([0.5]), *packed([8 + 3, 8 - 2], 4)]
    content += [*raw_bytes([0.25], torch.float16), *packed([1], 1)]
    bins = (
        Bin(scale_dtype="float32", element_bits=4, num_elements=2),
        Bin(scale_dtype="float16", element_bits=1, num_elements=1),
    )

    found = unpacked(content, k=4, exact_k=0, polynomial_terms=(0,), residual_bins=bins)

    assert found == [-5 + 1.5, -5 - 1.0, -5 + 0.25, -5.0]


def test_differences_are_summed_up() -> None:
    content = raw_bytes([-1.0, -0.5, -2.0])

    assert unpacked(content, k=3, exact_k=3, delta_encoding=True) == [-1.0, -1.5, -3.5]


@pytest.mark.parametrize(("d", "bits"), [(2, 1), (8000, 13), (8192, 13), (8193, 14), (151936, 18)])
def test_an_id_has_as_many_bits_as_the_vocabulary_needs(d: int, bits: int) -> None:
    assert Compression(d=d, k=1, exact_k=1).id_bits == bits == math.ceil(math.log2(d))


def test_a_description_without_a_file_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="mean nothing"):
        read_compression(tmp_path)


@pytest.mark.parametrize(
    "change", [{"k": "many"}, {"entropy_coding": True}], ids=["another type", "an unknown field"]
)
def test_a_description_nobody_knows_is_refused(change: dict, tmp_path: Path) -> None:
    write_config(tmp_path, **{"d": 50, "k": 3, **change})

    with pytest.raises(DataError, match="no description"):
        read_compression(tmp_path)


def test_a_description_is_read_by_distillkits_own_names(tmp_path: Path) -> None:
    bins = [{"scale_dtype": "float16", "element_bits": 8, "num_elements": 2}]
    write_config(tmp_path, d=50, k=5, exact_k=1, polynomial_terms=[0, "sqrt"], residual_bins=bins)

    found = read_compression(tmp_path)

    assert found.polynomial_terms == (0, "sqrt")
    assert found.bytes == 4 + 2 * 4 + 2 + 2


COMPRESSION = Compression(d=50, k=2, exact_k=2, delta_encoding=False)


def test_a_packed_step_is_ids_and_values() -> None:
    row = {
        "compressed_logprobs": [raw_bytes([-0.5, -1.5])],
        "bytepacked_indices": [packed([49, 3], 6)],
    }

    assert distillkit_steps(row, COMPRESSION, "row 1") == [([49, 3], [-0.5, -1.5])]


def test_an_unpacked_step_needs_no_description() -> None:
    row = {"token_ids": [[49, 3]], "top_values": [[-0.5, -1.5]]}

    assert distillkit_steps(row, None, "row 1") == [([49, 3], [-0.5, -1.5])]


REFUSED = {
    "other bytes": (
        {"compressed_logprobs": [[1, 2, 3]], "bytepacked_indices": [[0, 0]]},
        "3 bytes a step",
    ),
    "the legacy layout": ({"packed_indices": [[1]]}, "legacy"),
    "another layout": ({"input_ids": [1]}, "none of the fields"),
    "fewer ids than values": ({"token_ids": [[1]], "top_values": [[0.0, 1.0]]}, "other ids"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_that_cannot_be_read_is_refused_with_the_reason(name: str) -> None:
    row, words = REFUSED[name]

    with pytest.raises(DataError, match=words) as raised:
        distillkit_steps(row, COMPRESSION, "row 1")
    assert raised.value.message.startswith("row 1 ")


def test_tokens_named_by_vllm_are_ids() -> None:
    row = {"logprobs": [None, [{"token": "token_id:7", "logprob": -0.5}]]}

    assert axolotl_steps(row, "logprobs", "row 1") == [([], []), ([7], [-0.5])]


def test_tokens_named_by_their_text_are_refused() -> None:
    row = {"logprobs": [[{"token": "huis", "logprob": -0.5}]]}

    with pytest.raises(DataError, match="`huis`, which is no id"):
        axolotl_steps(row, "logprobs", "row 1")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DataError, match="no list `logprobs`") as raised:
        axolotl_steps({}, "logprobs", "row 1")
    assert "logprobs_field" in (raised.value.hint or "")


def test_entries_come_most_likely_first_and_each_id_once() -> None:
    step = ([4, 9, 4, 2, 7], [-2.0, -1.0, -3.0, -math.inf, -1.0])

    assert finite_entries(step) == [(-1.0, 7), (-1.0, 9), (-2.0, 4)]


def test_logits_are_no_log_probabilities() -> None:
    with pytest.raises(DataError, match="sum to"):
        check_log_probs([(11.7, 3), (10.2, 4)], "row 1")


def test_rounded_log_probabilities_pass() -> None:
    check_log_probs([(math.log(0.75) + 0.01, 3), (math.log(0.25), 4)], "row 1")
