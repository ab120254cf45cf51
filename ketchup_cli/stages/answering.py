"""What `generate` and `seqkd` have in common: a model answers the prompts of a split, in parts.

A part is one shard of examples. Parts lie in the build's state folder until all are there, so a
killed run answers only what is missing; the stage then writes one file from all of them, and its
bytes are those of an uninterrupted run.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, final, get_args

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import DataError
from ketchup_cli.models.encode import Encoded, Limits, Row, encode_prompts
from ketchup_cli.models.generation.arithmetic import Outcome, outcomes
from ketchup_cli.models.generation.hf import OnBatch, generate
from ketchup_cli.models.load import load_policy, precision_warnings, quiet
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example, Generation, Rollout
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import GenerateSpec, RolloutsSpec, SeqkdSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.encoding import json_lines
from ketchup_cli.store.files import replace_file
from ketchup_cli.store.find import Input

AnyText = TypeVar("AnyText", Generation, Rollout)
Asking = GenerateSpec | SeqkdSpec | RolloutsSpec
Draw = Callable[[Policy, Sequence[Row], OnBatch], Iterable[msgspec.Struct]]
"""From a model and prompts to rows of a file; told after every batch."""

BACKWARD = "backward-teacher"
"""The role of a model that answers references with prompts."""


@final
@dataclass(frozen=True, kw_only=True)
class Answers:
    """Texts for the prompts of a split, in corpus order, read from the parts when asked for."""

    examples: Sequence[Example]
    """What was asked for of the split."""
    encoded: Encoded
    """The prompts that were answered, and how many were cut or left out."""
    parts: tuple[Path, ...]
    parameters: int
    """Size of the model that answered."""
    tokenizer: str
    """Fingerprint of its tokenizer."""
    texts_per_s: float | None
    """Speed of this run, or None if an earlier one had answered everything."""
    backward: bool = False
    """Whether the texts are prompts, and what they answer references."""
    turned: int = 0
    """Rows told from last to first that were left out."""

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """What was answered, by example id."""
        return {example.id: example.prompt for example in self.examples}

    def __iter__(self) -> Iterator[Generation]:
        """Return the texts, samples of one prompt in order."""
        for part in self.parts:
            yield from corpora.read_generations(part)


def describe(spec: Asking, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: how text is drawn, for how many prompts, in how many parts."""
    examples, turned = asked(spec, inputs)
    count, decoding = len(examples), spec.decoding
    most = count * decoding.texts * decoding.max_new_tokens
    return (
        ("decoding", method(spec)),
        (
            "plan",
            f"{count:,} prompts of split {spec.split} x {decoding.texts} -> at most {most:,} tokens"
            f" in {-(-count // spec.examples_per_shard)} parts",
        ),
        *([("left out", told_turned(turned))] if turned else []),
    )


def asked(spec: Asking, inputs: Mapping[str, Input]) -> tuple[list[Example], int]:
    """Return the examples a stage answers, and how many told from last to first it leaves out.

    Such rows are work for a loss of their own: what a model that writes forward answers to them is
    noise. `generate` alone answers whatever a split holds.
    """
    examples = list(corpora.read_split(inputs["corpus"].path, spec.split))[: spec.examples or None]
    if isinstance(spec, GenerateSpec) or spec.reversed_rows:
        return examples, 0
    forward = [example for example in examples if not example.reversed]
    return forward, len(examples) - len(forward)


def told_turned(count: int) -> str:
    """Return in a few words how many rows are left out for the way they are told."""
    return f"{count:,} rows told from last to first"


def amount(spec: Asking, inputs: Mapping[str, Input]) -> int:
    """Return how many texts will be written: what `texts_per_s` is about."""
    return len(asked(spec, inputs)[0]) * spec.decoding.texts


def method(spec: Asking) -> str:
    """Return the decoding in a few words."""
    return _drawn(spec) + (", with a calculator" if spec.decoding.calculator else "")


def _drawn(spec: Asking) -> str:
    decoding = spec.decoding
    if decoding.method == "beam":
        return f"beam {decoding.beams}, length penalty {decoding.length_penalty:g}"
    if decoding.method == "greedy":
        return "greedy"
    if decoding.method == "mask-predict":
        return f"mask-predict, {decoding.iterations} passes, {decoding.beams} lengths"
    return (
        f"samples at temperature {decoding.temperature:g}, top-k {decoding.top_k},"
        f" top-p {decoding.top_p:g}, seed {spec.seed}"
    )


def answer(
    spec: Asking,
    inputs: Mapping[str, Input],
    build: Build,
    reporter: Reporter,
    *,
    role: str,
    draw: Draw | None = None,
) -> Answers:
    """Write the missing parts into the state folder of the build and return all answers.

    Args:
        spec: split, decoding, sizes.
        inputs: the corpus, and the model under `role`.
        build: whose state folder holds the parts.
        reporter: told of progress.
        role: "model", "teacher" or "backward-teacher"; the last answers references with prompts.
        draw: makes the rows of a part; texts, if not given.

    Raises:
        SpecError: no such split, or a decoding the model cannot do.
        DataError: a prompt is longer than allowed, or none is left.
        NonFiniteError: the model's logits are not finite.
    """
    quiet()
    examples, turned = asked(spec, inputs)
    if turned:
        reporter.note("left out", told_turned(turned))
    if turned and not examples:
        raise DataError(
            f"all {turned:,} rows of split `{spec.split}` are told from last to first",
            hint="--set reversed_rows=true, or the corpus before it was turned around",
        )
    if role == BACKWARD:
        examples = [swapped(example) for example in examples]
    policy = load_policy(inputs[role].path, device=spec.device, precision=spec.precision)
    for warning in precision_warnings(policy):
        reporter.note("warning", warning)
    limits = Limits(prompt=spec.max_prompt_tokens, too_long=spec.too_long)
    encoded = encode_prompts(policy, examples, limits)
    if not encoded.rows:
        raise DataError(
            f"no prompt of split `{spec.split}` is left: {encoded.skipped} were too long",
            hint="raise max_prompt_tokens, or --set too_long=truncate",
        )
    started = time.monotonic()
    write = _texts_of(spec) if draw is None else draw
    shards = _shards(encoded.rows, build, size=spec.examples_per_shard, role=role)
    answered = _write_parts(write, policy, shards, reporter=reporter)
    seconds = time.monotonic() - started
    return Answers(
        examples=examples,
        encoded=encoded,
        parts=tuple(shards),
        parameters=policy.model.num_parameters(),
        tokenizer=policy.fingerprint,
        texts_per_s=round(answered * spec.decoding.texts / seconds, 2) if answered else None,
        backward=role == BACKWARD,
        turned=turned,
    )


def _texts_of(spec: Asking) -> Draw:
    def draw(policy: Policy, rows: Sequence[Row], on_batch: OnBatch) -> list[Generation]:
        return generate(
            policy,
            rows,
            spec.decoding,
            seed=spec.seed,
            tokens_per_batch=spec.tokens_per_batch,
            on_batch=on_batch,
        )

    return draw


def swapped(example: Example) -> Example:
    """Return the example with its first reference as the prompt.

    Raises:
        DataError: it has no reference.
    """
    if not example.references:
        raise DataError(
            f"example `{example.id[:12]}` has no reference to be answered",
            hint="--set direction=forward, or import the corpus with its references",
        )
    return Example(id=example.id, prompt=example.references[0], references=(example.prompt,))


def _shards(
    rows: Sequence[Row], build: Build, *, size: int, role: str
) -> dict[Path, Sequence[Row]]:
    """Return which rows each part answers."""
    stem = "backward" if role == BACKWARD else "part"
    return {
        build.state_path / f"{stem}-{first // size:05d}.jsonl": rows[first : first + size]
        for first in range(0, len(rows), size)
    }


def _write_parts(
    draw: Draw, policy: Policy, shards: Mapping[Path, Sequence[Row]], *, reporter: Reporter
) -> int:
    """Write the parts that are not there, and return how many prompts that answered."""
    missing = {path: shard for path, shard in shards.items() if not path.is_file()}
    count = sum(len(shard) for shard in missing.values())
    total = sum(len(shard) for shard in shards.values())
    with reporter.progress(
        "answering", total=total, unit="prompts", done=total - count
    ) as progress:
        for path, shard in missing.items():
            drawn = draw(
                policy, shard, lambda prompts, tokens: progress.advance(prompts, tokens=tokens)
            )
            lines = b"".join(json_lines(drawn, name=path.name))
            replace_file(path, lines, part=path.with_suffix(".unfinished"))
    return count


def counted(texts: Iterable[AnyText], counts: Counter[str], *, spec: Asking) -> Iterator[AnyText]:
    """Yield the texts on, counting them, their tokens, and what is odd about them."""
    for text in texts:
        counts["texts"] += 1
        counts["tokens"] += len(text.tokens)
        counts["unfinished"] += text.stop == "length"
        counts["empty"] += not text.text
        if spec.decoding.calculator:
            counts.update(f"expressions {outcome}" for outcome in outcomes(text.text))
            counts["forced"] += len(text.put) if isinstance(text, Rollout) else 0
        yield text


def overview(spec: Asking, answers: Answers, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what both reports say about prompts and texts."""
    return {
        "split": spec.split,
        "decoding": method(spec),
        "examples": len(answers.examples),
        "truncated_prompts": answers.encoded.truncated,
        "skipped_prompts": answers.encoded.skipped,
        **({"skipped_reversed": answers.turned} if answers.turned else {}),
        **{name: counts.get(name, 0) for name in ("texts", "tokens", "unfinished", "empty")},
        **({"expressions": _expressions(counts)} if spec.decoding.calculator else {}),
    }


def _expressions(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many expressions the texts hold, by what became of them."""
    return {name: counts.get(f"expressions {name}", 0) for name in get_args(Outcome)}
