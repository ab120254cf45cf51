"""Text from a policy through transformers: greedy, beam search, and samples of one's own seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from ketchup_cli.errors import SpecError
from ketchup_cli.models.encode import Row, by_length, collate
from ketchup_cli.models.generation.beams import search
from ketchup_cli.models.generation.calculator import Calculator
from ketchup_cli.models.generation.choosing import Sampling, uniforms
from ketchup_cli.models.generation.filling import MaskPredict
from ketchup_cli.models.generation.mixing import reading_along
from ketchup_cli.models.generation.rounds import Draw, Written, read, write, writing
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Generation
from ketchup_cli.signals import Batch
from ketchup_cli.specs import DecodingSpec

OnBatch = Callable[[int, int], None]
"""Told how many prompts were answered and with how many tokens."""

_KEPT_SETTINGS = ("forced_bos_token_id", "bad_words_ids", "suppress_tokens")
"""What a model's own generation config still decides: which tokens it may write, never how."""

_SEARCHES = ("beam", "mask-predict")
"""Methods that try several texts of a prompt at once, `beams` of them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Sampled completions as a batch, G rows for each prompt in order; `finished_B` is boolean."""

    batch: Batch
    finished_B: Tensor


def sample(
    policy: Policy,
    prompts: Sequence[Row],
    sampling: Sampling,
    *,
    seed: int,
    teacher: Policy | None = None,
) -> Samples:
    """Return samples of every prompt with their behaviour log-probabilities, on the policy's device.

    A sample depends on (seed, example id, sample index) and on its prompt: not on the other rows,
    their order, or their number. Dropout is off while it is drawn, the model's mode is restored.

    Args:
        policy: who writes.
        prompts: rows; their completions are not looked at.
        sampling: how many, from which distribution, how long.
        seed: the run's seed.
        teacher: who is mixed in, where `sampling.teacher_share` is above 0; of the same tokenizer.

    Raises:
        SpecError: the model, or the teacher, has too few positions, there is no teacher to mix in, or
            the tokenizer has no words for a calculator.
        NonFiniteError: the model's logits are not finite.
    """
    guide = teacher if sampling.teacher_share > 0 else None
    if sampling.teacher_share > 0 and teacher is None:
        raise SpecError(
            f"a share of {sampling.teacher_share:g} is the teacher's, and there is no teacher",
            hint="--set rollout.teacher_share=0",
        )
    for reader in (policy, guide):
        if reader is not None:
            check_method(reader, DecodingSpec(method="sample"))
            _check_positions(reader, prompts, sampling.max_new_tokens)
    written = _sampled(policy, prompts, sampling, seed=seed, kept={}, teacher=guide)
    groups = range(len(prompts))
    repeated = [row for row in prompts for _ in range(sampling.samples)]
    empty = collate(
        [_without_completion(row) for row in repeated], pad_id=policy.pad_id, source="student"
    )
    device = policy.device
    batch = Batch(
        ids=empty.ids,
        prompt_BS=empty.prompt_BS.to(device),
        prompt_mask_BS=empty.prompt_mask_BS.to(device),
        tokens_BT=written.tokens_BT,
        mask_BT=written.mask_BT,
        source="student",
        behaviour_logp_BT=written.logp_BT,
        forced_BT=written.forced_BT,
        group_B=torch.tensor(groups, device=device).repeat_interleave(sampling.samples),
        rows=empty.rows,
    )
    return Samples(batch=batch, finished_B=written.finished_B)


def generate(
    policy: Policy,
    prompts: Sequence[Row],
    decoding: DecodingSpec,
    *,
    seed: int,
    tokens_per_batch: int,
    on_batch: OnBatch | None = None,
) -> list[Generation]:
    """Return texts for every prompt, in the order of the prompts, the best or first sample first.

    `logp` is the sum of the token log-probabilities: for samples under the distribution drawn
    from, for beams under the policy itself, without the length penalty that orders them. Tokens that a
    calculator put count 0.

    Args:
        policy: who writes.
        prompts: rows; their completions are not looked at.
        decoding: greedy, beam or sample, and how.
        seed: decides the samples, together with example id and sample index.
        tokens_per_batch: padded prompt tokens times texts (or beams) in one batch.
        on_batch: told after every batch.

    Raises:
        SpecError: more texts than the method gives, a method the model cannot do, too few positions
            in it, or a tokenizer without words for a calculator.
        NonFiniteError: the model's logits are not finite.
    """
    _check_decoding(decoding)
    check_method(policy, decoding)
    _check_positions(policy, prompts, decoding.max_new_tokens)
    copies = max(decoding.texts, decoding.beams if decoding.method in _SEARCHES else 1)
    fill = MaskPredict(policy, decoding) if policy.fills_in else None
    answers: dict[int, list[Generation]] = {}
    for numbers in by_length(
        [_without_completion(row) for row in prompts], tokens_per_batch // copies
    ):
        rows = [prompts[number] for number in numbers]
        written = fill(rows) if fill else _written(policy, rows, decoding, seed=seed)
        texts = _generations(policy, rows, written)
        for place, number in enumerate(numbers):
            answers[number] = texts[place * decoding.texts : (place + 1) * decoding.texts]
        if on_batch is not None:
            on_batch(len(rows), int(written.mask_BT.sum()))
    return [text for number in range(len(prompts)) for text in answers[number]]


def _written(policy: Policy, rows: Sequence[Row], decoding: DecodingSpec, *, seed: int) -> Written:
    kept = _kept_settings(policy)
    if decoding.method == "beam":
        return search(policy, rows, decoding, kept=kept)
    if decoding.method == "sample":
        sampling = Sampling(
            samples=decoding.texts,
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            max_new_tokens=decoding.max_new_tokens,
            calculator=decoding.calculator,
        )
        return _sampled(policy, rows, sampling, seed=seed, kept=kept)
    calculator = _calculator(policy, decoding)
    with writing(policy):
        front = read(policy, _prompts(rows), copies=1)
        return write(policy, front, limit=decoding.max_new_tokens, kept=kept, calculator=calculator)


def _calculator(policy: Policy, asked: DecodingSpec | Sampling) -> Calculator | None:
    return Calculator(policy) if asked.calculator else None


def _sampled(
    policy: Policy,
    rows: Sequence[Row],
    sampling: Sampling,
    *,
    seed: int,
    kept: dict[str, Any],
    teacher: Policy | None = None,
) -> Written:
    indices = range(sampling.first, sampling.first + sampling.samples)
    keys = ((row.id, index) for row in rows for index in indices)
    limit, copies = sampling.max_new_tokens, sampling.samples
    u_BT = uniforms(seed, keys, steps=limit)
    prompts, share = _prompts(rows), sampling.teacher_share
    calculator = _calculator(policy, sampling)
    with reading_along(teacher, prompts, copies=copies, share=share) as guide, writing(policy):
        front = read(policy, prompts, copies=copies)
        draw = Draw(u_BT=u_BT, sampling=sampling, guide=guide)
        return write(policy, front, limit=limit, kept=kept, draw=draw, calculator=calculator)


def _generations(policy: Policy, rows: Sequence[Row], written: Written) -> list[Generation]:
    lengths = written.mask_BT.sum(dim=1).int().tolist()
    tokens = [row[:length] for row, length in zip(written.tokens_BT.tolist(), lengths, strict=True)]
    texts = policy.decode(tokens)
    logps = written.logp_BT.double().sum(dim=1).tolist()
    finished = written.finished_B.tolist()
    count = len(tokens) // len(rows)
    stops: list[Literal["eos", "length"]] = ["eos" if ended else "length" for ended in finished]
    return [
        Generation(
            id=rows[number // count].id,
            sample=number % count,
            text=texts[number],
            tokens=tuple(tokens[number]),
            stop=stops[number],
            logp=logps[number],
        )
        for number in range(len(tokens))
    ]


def _prompts(rows: Sequence[Row]) -> list[tuple[int, ...]]:
    return [row.prompt for row in rows]


def _without_completion(row: Row) -> Row:
    return Row(id=row.id, prompt=row.prompt, position=row.position)


def _kept_settings(policy: Policy) -> dict[str, Any]:
    own = policy.model.generation_config
    return {name: getattr(own, name) for name in _KEPT_SETTINGS if getattr(own, name, None)}


def _check_decoding(decoding: DecodingSpec) -> None:
    searched = dict.fromkeys(_SEARCHES, decoding.beams)
    most = {"greedy": 1, **searched}.get(decoding.method, decoding.texts)
    if decoding.texts > most:
        raise SpecError(
            f"`decoding.texts` is {decoding.texts}; {decoding.method} gives at most {most}",
            hint="--set decoding.method=sample, or more `decoding.beams`",
        )


def check_method(policy: Policy, decoding: DecodingSpec) -> None:
    """Refuse to let a model write in a way it cannot.

    Raises:
        SpecError: mask-predict of a model that writes from left to right, or the other way round, or
            a calculator beside it.
    """
    filling = decoding.method == "mask-predict"
    if filling and decoding.calculator:
        raise SpecError(
            "a calculator completes what is written from left to right; mask-predict writes all"
            " tokens at once",
            hint="leave the calculator out",
        )
    if filling and not policy.fills_in:
        raise SpecError(
            f"`decoding.method` is mask-predict; a `{policy.model.config.model_type}` model writes"
            " from left to right",
            hint="--set decoding.method=greedy",
        )
    if policy.fills_in and not filling:
        raise SpecError(
            f"`decoding.method` is {decoding.method}; a `{policy.model.config.model_type}` model"
            " fills in all tokens at once",
            hint="--set decoding.method=mask-predict",
        )


def _check_positions(policy: Policy, prompts: Sequence[Row], new_tokens: int) -> None:
    limit = getattr(policy.model.config, "max_position_embeddings", None)
    longest = max((len(row.prompt) for row in prompts), default=0)
    both = policy.kind == "encoder-decoder"
    needed = max(longest, new_tokens) if both else longest + new_tokens
    if limit is not None and needed > limit:
        raise SpecError(
            f"a prompt of {longest} tokens and {new_tokens} new ones do not fit the {limit}"
            " positions of the model",
            hint="lower `max_new_tokens` or `max_prompt_tokens`",
        )
