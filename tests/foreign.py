"""Datasets of teacher log-probabilities as DistillKit and axolotl write them, made by a policy."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example

EXACT = {"exact_dtype": "float32", "delta_encoding": False, "residual_bins": []}


def log_probs(policy: Policy, row: Row, *, temperature: float = 1.0) -> Tensor:
    """Return the log-probabilities [T, V] at the tokens of a row's completion."""
    batch = collate([row], pad_id=policy.pad_id, source="data")
    return (policy.logits(batch)[0].detach() / temperature).log_softmax(-1)


def top(logp_TV: Tensor, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Return ids and values of the k largest of every step."""
    values_TK, ids_TK = logp_TV.topk(k, dim=-1)
    return ids_TK.tolist(), values_TK.tolist()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)


def conversation(example: Example) -> list[dict[str, str]]:
    """Return an example as one question and one answer."""
    return [
        {"role": "user", "content": example.prompt},
        {"role": "assistant", "content": example.references[0]},
    ]


def axolotl_row(
    example: Example, logp_TV: Tensor, *, k: int, named: bool = False
) -> dict[str, Any]:
    """Return a row of axolotl's layout, or of the one vLLM names tokens in."""
    ids, values = top(logp_TV, k)
    row: dict[str, Any] = {"messages_combined": conversation(example)}
    field = "llm_text_generation_vllm_logprobs"
    if not named:
        return {**row, field: values, "target_token_ids": ids}
    steps = [
        [
            {"token": f"token_id:{token}", "logprob": value}
            for token, value in zip(*step, strict=True)
        ]
        for step in zip(ids, values, strict=True)
    ]
    return {**row, field: steps}


def packed(numbers: Sequence[int], bits: int) -> list[int]:
    """Return numbers as bytes, bit after bit, the highest first: as one writes them on paper."""
    text = "".join(f"{number:0{bits}b}" for number in numbers)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


def raw_bytes(numbers: Sequence[float], dtype: torch.dtype = torch.float32) -> list[int]:
    """Return floating-point numbers as little-endian bytes."""
    found: list[int] = torch.tensor(numbers, dtype=dtype).view(torch.uint8).tolist()
    return found


def distillkit_row(
    policy: Policy, row: Row, *, k: int, temperature: float = 1.0, pad: bool = True
) -> dict[str, Any]:
    """Return a row of DistillKit's layout, every value exact.

    Steps of the prompt are made up: nobody reads them.
    """
    own_ids, own_values = top(log_probs(policy, row, temperature=temperature), k)
    before = len(row.prompt) - 1
    ids = [list(range(k))] * before + own_ids
    values = [[-1.0 - rank for rank in range(k)]] * before + own_values
    bits = max(1, math.ceil(math.log2(policy.vocabulary)))
    tokens = [*row.prompt, *row.completion]
    if pad and policy.pad_id != policy.eos_id:
        tokens[-1] = policy.pad_id
    return {
        "input_ids": tokens,
        "compressed_logprobs": [raw_bytes(step) for step in values],
        "bytepacked_indices": [packed(step, bits) for step in ids],
    }


def write_config(folder: Path, *, d: int, k: int, **changes: Any) -> None:
    """Write the description of packed rows; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"d": d, "k": k, "exact_k": k, **EXACT, **changes}
    (folder / "compression_config.yaml").write_text(json.dumps(settings), encoding="utf-8")
