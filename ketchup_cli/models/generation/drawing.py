"""Samples as rows of a file: every token with the log-probability it was drawn with."""

from collections.abc import Iterator, Sequence

import msgspec

from ketchup_cli.models.encode import Row, by_length
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.hf import OnBatch, Samples, sample
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Rollout
from ketchup_cli.specs import DecodingSpec

DIGITS = 9
"""Significant digits after which a float32 comes back as it was."""


def draw_rollouts(
    policy: Policy,
    prompts: Sequence[Row],
    decoding: DecodingSpec,
    *,
    seed: int,
    tokens_per_batch: int,
    on_batch: OnBatch | None = None,
) -> list[Rollout]:
    """Return samples of every prompt in the order of the prompts, not rewarded yet.

    They are the samples that training draws: of the model's plain distribution unless `decoding`
    bends it, known by (seed, example id, sample index).

    Args:
        policy: who writes.
        prompts: rows; their completions are not looked at.
        decoding: how many samples, from which distribution, how long.
        seed: decides the samples, together with example id and sample index.
        tokens_per_batch: padded prompt tokens times samples in one batch.
        on_batch: told after every batch.

    Raises:
        SpecError: too few positions in the model, or a tokenizer without words for a calculator.
        NonFiniteError: the model's logits are not finite.
    """
    sampling = Sampling(
        samples=decoding.texts,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
        max_new_tokens=decoding.max_new_tokens,
        calculator=decoding.calculator,
    )
    alone = [Row(id=row.id, prompt=row.prompt, position=row.position) for row in prompts]
    found: dict[int, list[Rollout]] = {}
    for numbers in by_length(alone, max(1, tokens_per_batch // decoding.texts)):
        samples = sample(policy, [alone[number] for number in numbers], sampling, seed=seed)
        rows = list(rows_of(policy, samples, count=decoding.texts))
        for place, number in enumerate(numbers):
            found[number] = rows[place * decoding.texts : (place + 1) * decoding.texts]
        if on_batch is not None:
            on_batch(len(numbers), int(samples.batch.mask_BT.sum()))
    return [row for number in range(len(prompts)) for row in found[number]]


def rows_of(policy: Policy, samples: Samples, *, count: int) -> Iterator[Rollout]:
    """Yield samples as rows, `count` a prompt, without a reward."""
    batch = samples.batch
    assert batch.behaviour_logp_BT is not None
    sizes = batch.mask_BT.sum(dim=1).int().tolist()
    tokens = [row[:size] for row, size in zip(batch.tokens_BT.tolist(), sizes, strict=True)]
    logps = batch.behaviour_logp_BT.float().tolist()
    texts = policy.decode(tokens)
    finished = samples.finished_B.tolist()
    put = None if batch.forced_BT is None else batch.forced_BT.tolist()
    for number, (name, text) in enumerate(zip(batch.ids, texts, strict=True)):
        yield Rollout(
            id=name,
            sample=number % count,
            text=text,
            tokens=tuple(tokens[number]),
            logps=tuple(float(f"{x:.{DIGITS}g}") for x in logps[number][: sizes[number]]),
            stop="eos" if finished[number] else "length",
            forced=msgspec.UNSET if put is None else _places(put[number]),
        )


def _places(forced: Sequence[bool]) -> tuple[int, ...]:
    return tuple(place for place, put in enumerate(forced) if put)
