"""What a reward says of completions: asked by `rollout` of rows, by `distill` of batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import RewardError, SpecError
from ketchup_cli.objectives import Term
from ketchup_cli.records import Example, Rollout
from ketchup_cli.rewards.reward import Attempt, Reward
from ketchup_cli.rewards.rewarder import Rewarder, check, function_of, is_named
from ketchup_cli.specs import DistillSpec, RewardSpec
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.generation.hf import Samples
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.train.rollouts import Verdict


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


def check_reward(spec: DistillSpec, terms: Sequence[Term]) -> None:
    """Refuse terms that ask for a reward where none is named, or where none can be kept.

    Raises:
        SpecError: that, or a reward nobody knows.
    """
    check(spec.reward)
    asking = [term for term in terms if term.needs.reward and term.prefixes == "student"]
    if not asking:
        return
    if not is_named(spec.reward):
        raise SpecError(
            f"`{asking[0].name}` learns from a reward, and none is named",
            hint="--set reward.correct=gsm8k-numeric, or --set reward.shaped=bleu",
        )
    if spec.replay.capacity:
        raise SpecError(
            f"a replay keeps no rewards, and `{asking[0].name}` learns from them",
            hint="--set replay.capacity=0",
        )


@final
class Judging:
    """Rewards the student's completions while it learns, and counts what failed by kind.

    Example: `RolloutSource(policy, prompts, rollout=rollout, seed=0, judge=judging)`
    """

    def __init__(
        self, rewarder: Rewarder, spec: RewardSpec, *, policy: Policy, examples: Sequence[Example]
    ) -> None:
        self._rewarder = rewarder
        self._spec = spec
        self._policy = policy
        self._examples = {example.id: example for example in examples}
        self.failed: Counter[str] = Counter()

    def __call__(self, samples: Samples) -> Verdict:
        """Return what the samples earned.

        Raises:
            RewardError: the reward cannot be used at all, or a failure is to be the end.
        """
        import torch

        from ketchup_cli.train.rollouts import Verdict

        found = rewards(self._rewarder, self._attempts(samples), self._spec)
        self.failed.update(reward.failure for reward in found if reward.failure)
        device = samples.batch.tokens_BT.device
        dropped = self._spec.failed == "drop"
        return Verdict(
            reward_B=torch.tensor([reward.value or 0.0 for reward in found], device=device),
            correct_B=torch.tensor(
                [float(bool(reward.correct)) for reward in found], device=device
            ),
            failed_B=torch.tensor(
                [dropped and bool(reward.failure) for reward in found], device=device
            ),
        )

    def _attempts(self, samples: Samples) -> list[Attempt]:
        batch = samples.batch
        sizes = batch.mask_BT.sum(dim=1).int().tolist()
        tokens = [row[:size] for row, size in zip(batch.tokens_BT.tolist(), sizes, strict=True)]
        written = zip(
            batch.ids, self._policy.decode(tokens), samples.finished_B.tolist(), strict=True
        )
        return [
            attempt(self._examples[name], text, finished=finished)
            for name, text, finished in written
        ]

    def summary(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"reward": told(self._spec), "failed_rewards": dict(self.failed)}


def judging_of(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    open_: ExitStack,
) -> Judging | None:
    """Return what rewards the student's completions; None where there are none, or no reward.

    Args:
        spec: names the reward.
        terms: of the loss.
        inputs: corpus, and the files of functions.
        student: who writes.
        open_: closes what is opened here.
    """
    if not is_named(spec.reward) or all(term.prefixes != "student" for term in terms):
        return None
    examples = corpora.read_split(inputs["corpus"].path, spec.split)
    rewarder = open_.enter_context(open_rewarder(spec.reward, inputs))
    return Judging(rewarder, spec.reward, policy=student, examples=examples)
