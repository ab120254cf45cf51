"""What a reward says of completions: asked by `rollout` of rows, by `distill` of batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import RewardError
from ketchup_cli.records import Example, Rollout
from ketchup_cli.rewards.reward import Attempt, Reward
from ketchup_cli.rewards.rewarder import Rewarder, function_of, is_named
from ketchup_cli.specs import RewardSpec
from ketchup_cli.store.find import Input

WORTHLESS = Reward(correct=False, value=0.0)


def open_rewarder(spec: RewardSpec, inputs: Mapping[str, Input]) -> Rewarder:
    """Return what answers the questions of a spec; close it when done.

    Args:
        spec: that names a reward.
        inputs: the corpus, and the file of every function under `reward.MODULE`.

    Raises:
        SpecError: the spec names nothing, or something nobody knows.
    """
    languages = corpora.languages(inputs["corpus"].path)
    return Rewarder(spec, files=_files(spec, inputs), languages=languages)


def _files(spec: RewardSpec, inputs: Mapping[str, Input]) -> dict[str, Path]:
    return {
        name: inputs[f"reward.{name.partition(':')[0]}"].path
        for name in (spec.correct, spec.shaped)
        if name and function_of(name) is not None
    }


def told(spec: RewardSpec) -> str:
    """Return in a few words what is rewarded."""
    if not is_named(spec):
        return "none"
    earned = spec.shaped or "1 for right, 0 for wrong"
    right = spec.correct or f"{spec.shaped} of {spec.threshold:g} and more"
    return f"right: {right}; earns: {earned}"


def attempt(example: Example, text: str, *, finished: bool) -> Attempt:
    """Return a completion beside what it answers."""
    return Attempt(
        prompt=example.prompt, text=text, references=example.references, finished=finished
    )


def rewards(rewarder: Rewarder, attempts: Sequence[Attempt], spec: RewardSpec) -> list[Reward]:
    """Return the rewards, failed ones as the spec wants them.

    Raises:
        RewardError: one failed, and the spec says that this is the end.
    """
    found = rewarder.rewards(attempts)
    failed = [
        (reward, tried) for reward, tried in zip(found, attempts, strict=True) if reward.failure
    ]
    if failed and spec.failed == "error":
        reward, tried = failed[0]
        raise RewardError(
            f"the reward of {len(failed)} of {len(attempts)} completions failed, the first:"
            f" {failure_of(reward)}, on `{tried.text[:60]}`",
            hint="mend the reward, or --set reward.failed=drop",
        )
    return found


def failure_of(reward: Reward) -> str:
    """Return kind and detail of a failure; empty where there is none."""
    return f"{reward.failure}: {reward.detail}" if reward.failure else ""


def rewarded(
    rows: Iterable[Rollout], examples: Mapping[str, Example], rewarder: Rewarder, spec: RewardSpec
) -> list[Rollout]:
    """Return rows of rollouts with what they earned."""
    rows = list(rows)
    attempts = [attempt(examples[row.id], row.text, finished=row.stop == "eos") for row in rows]
    found = rewards(rewarder, attempts, spec)
    return [
        msgspec.structs.replace(
            row, correct=reward.correct, reward=reward.value, failure=failure_of(reward)
        )
        for row, reward in zip(rows, found, strict=True)
    ]
