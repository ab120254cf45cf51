"""How little memory reducing the teacher's logits takes; at most 0.35 of the logits is asked.

    python benchmarks/memory.py

The peak is that of the operating system: each repeat is a process of its own that loads model and
inputs, resets its high-water mark, does one step, and reads the mark again. The share is that peak
over one full float32 tensor of logits, `[B, T, V]`. The bare forward pass is measured likewise.
"""

import argparse
import json
import subprocess
import sys

import torch
from readings import described, peak_of
from subject import make_policy

from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.layout import Layout
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.reduction import Request, score
from ketchup_cli.models.shard_writer import ShardWriter, columns_of
from ketchup_cli.signals import Batch

TARGET = 0.35
STEPS = ("cache-teacher", "bare forward")


def main() -> None:
    """Print the share, both sides and the spread; or, as a child, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vocabulary", type=int, default=32128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", choices=STEPS, help="measure one step in this very process")
    given = parser.parse_args()
    if given.step:
        print(json.dumps(measure(given.step, given.vocabulary, given.batch, given.tokens)))
        return
    full = 4 * given.batch * given.tokens * given.vocabulary
    peaks = {step: [_child(step, given) for _ in range(given.repeats)] for step in STEPS}
    print(
        f"V={given.vocabulary:,}, B={given.batch}, T={given.tokens};"
        f" {torch.get_num_threads()} threads, {given.repeats} repeats"
    )
    print("median [smallest to largest], peak above model and inputs in MB")
    print(f"full logits     {full / 1e6:,.1f}")
    for step, values in peaks.items():
        print(f"{step:<15} {described([value / 1e6 for value in values], digits=1)}")
    shares = [value / full for value in peaks["cache-teacher"]]
    print(f"share           {described(shares)}   asked: at most {TARGET}")


def _child(step: str, given: argparse.Namespace) -> int:
    sizes = ("--vocabulary", given.vocabulary, "--batch", given.batch, "--tokens", given.tokens)
    command = [sys.executable, __file__, "--step", step, *map(str, sizes)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(answer.stdout))


def measure(step: str, vocabulary: int, batch_size: int, token_count: int) -> int:
    """Return the bytes one step takes at its peak above what was there before."""
    policy = make_policy(vocabulary=vocabulary)
    work = {"cache-teacher": reduce, "bare forward": forward}[step]
    # libraries set up their own buffers at first use; those are not the step's
    work(policy, make_rows(2, 4, vocabulary=vocabulary))
    rows = make_rows(batch_size, token_count, vocabulary=vocabulary)
    return peak_of(work, policy, rows)


def make_rows(rows: int, tokens: int, *, vocabulary: int) -> list[Row]:
    """Return rows whose prompt and completion have `tokens` tokens each."""
    torch.manual_seed(0)
    ids = torch.randint(2, vocabulary, (rows, 2, tokens)).tolist()
    return [
        Row(id=str(number), prompt=tuple(prompt), completion=tuple(completion), position=number)
        for number, (prompt, completion) in enumerate(ids)
    ]


def _batch(policy: Policy, rows: list[Row]) -> Batch:
    return collate(rows, pad_id=policy.pad_id, source="data")


def reduce(policy: Policy, rows: list[Row]) -> None:
    """Do to one batch what `cache-teacher` does, with its defaults."""
    layout = Layout(
        vocabulary=policy.vocabulary,
        top=32,
        temperatures=(1.0,),
        gap_dtype="float16",
        tokenizer="",
    )
    writer = ShardWriter(layout, rows, first=0)
    reduced = score(policy, _batch(policy, rows), Request(top=32))
    writer.put(writer.places(range(len(rows))), **columns_of(layout, reduced))
    writer.to_bytes()


@torch.no_grad()
def forward(policy: Policy, rows: list[Row]) -> None:
    """Run the model with all logits."""
    batch = _batch(policy, rows)
    policy.model(
        input_ids=batch.prompt_BS,
        attention_mask=batch.prompt_mask_BS,
        decoder_input_ids=batch.tokens_BT,
        use_cache=False,
    )


if __name__ == "__main__":
    main()
