"""What `ketchup rollout` adds to the bare generation engine; at most 1.10 of it is asked.

    python benchmarks/rollouts.py --cpu-time

The bare engine is transformers' `generate`, sampling as many tokens for the same prompts. The other
side draws the same number of samples, keeps the log-probability of every token, decodes the texts,
rewards each by sentence BLEU and writes the rows as JSON. Both sides are taken in turn.
"""

import argparse
import time
from collections.abc import Callable

import torch
from readings import described
from subject import make_examples, make_policy

from ketchup_cli.models.encode import Limits, Row, encode_prompts, pad
from ketchup_cli.models.generation.drawing import draw_rollouts
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example
from ketchup_cli.rewards.rewarder import Rewarder
from ketchup_cli.specs import DecodingSpec, RewardSpec
from ketchup_cli.stages.rewarding import rewarded
from ketchup_cli.store.encoding import json_lines

TARGET = 1.10
WARMUP = 1
"""Rounds that are not counted: the first one allocates."""
REWARD = RewardSpec(shaped="bleu", cut="judged")


def main() -> None:
    """Print the ratio, both sides and the spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=18, help="length of every completion")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true", help="for a machine that is shared")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    bare, whole = measure(given, clock)
    ratios = [ours / theirs for ours, theirs in zip(whole, bare, strict=True)]
    kind = "CPU" if given.cpu_time else "wall-clock"
    print(
        f"T5 6+2 layers, vocabulary {given.vocabulary:,}; {given.prompts} prompts x"
        f" {given.samples} samples of {given.tokens} tokens; {torch.get_num_threads()} threads;"
        f" {given.repeats} repeats"
    )
    print(f"median [smallest to largest], {kind} seconds")
    print(f"generate alone   {described(bare)}")
    print(f"ketchup rollout  {described(whole)}")
    print(f"ratio            {described(ratios)}   asked: at most {TARGET:.2f}")


def measure(
    given: argparse.Namespace, clock: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return the seconds of the engine and of rollouts, taken in turn."""
    policy = make_policy(vocabulary=given.vocabulary)
    _hardly_end(policy)
    examples = make_examples(given.prompts, vocabulary=given.vocabulary)
    rows = encode_prompts(policy, examples, Limits(prompt=512)).rows
    bare: list[float] = []
    whole: list[float] = []
    with Rewarder(REWARD, files={}) as rewarder:
        for _ in range(WARMUP + given.repeats):
            started = clock()
            _generate(policy, rows, given)
            between = clock()
            _rollouts(policy, rows, examples, rewarder, given)
            bare.append(between - started)
            whole.append(clock() - between)
    return bare[WARMUP:], whole[WARMUP:]


def _hardly_end(policy: Policy) -> None:
    """Make the end token rare: both sides then write about as many tokens."""
    policy.model.lm_head.weight.data[policy.eos_id] = 0.0


@torch.no_grad()
def _generate(policy: Policy, rows: tuple[Row, ...], given: argparse.Namespace) -> None:
    prompt_BS, mask_BS = pad([row.prompt for row in rows], pad_id=policy.pad_id)
    policy.model.generate(
        input_ids=prompt_BS,
        attention_mask=mask_BS,
        do_sample=True,
        top_k=0,
        num_return_sequences=given.samples,
        min_new_tokens=given.tokens,
        max_new_tokens=given.tokens,
    )


def _rollouts(
    policy: Policy,
    rows: tuple[Row, ...],
    examples: list[Example],
    rewarder: Rewarder,
    given: argparse.Namespace,
) -> None:
    decoding = DecodingSpec(method="sample", texts=given.samples, max_new_tokens=given.tokens)
    drawn = draw_rollouts(policy, rows, decoding, seed=0, tokens_per_batch=10**9)
    assert sum(len(row.tokens) for row in drawn) >= 0.98 * len(drawn) * given.tokens
    done = rewarded(drawn, {example.id: example for example in examples}, rewarder, REWARD)
    assert b"".join(json_lines(done, name="rollouts"))


if __name__ == "__main__":
    main()
