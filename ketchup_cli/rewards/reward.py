"""What is rewarded, and what comes of it."""

from dataclasses import dataclass
from typing import Literal, final

Failure = Literal[
    "", "raised", "timed out", "died", "not finite", "not a number", "not right or wrong"
]
"""Why there is no reward; empty where there is one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One completion beside what it answers."""

    prompt: str
    text: str
    references: tuple[str, ...]
    finished: bool = True
    """Whether it ended by itself."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one question about an attempt came to: a number, or a failure."""

    value: float | None
    failure: Failure = ""
    detail: str = ""
    """What went wrong, in the words of the program that did; may hold anything."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """Whether an attempt is right, and what it earns.

    Invariant: `correct` and `value` are None exactly where `failure` is not empty.
    """

    correct: bool | None
    value: float | None
    failure: Failure = ""
    detail: str = ""


def joined(correct: Answer | None, shaped: Answer | None, *, threshold: float) -> Reward:
    """Return a reward from the answers to its two questions; one of them may not be asked.

        right = correct, or shaped >= threshold        value = shaped, or 1 for right, 0 for wrong

    Args:
        correct: 1 or 0, a failure, or None where nothing else than the reward says what is right.
        shaped: what is earned, a failure, or None where right earns 1 and wrong 0.
        threshold: the shaped reward from which on an attempt is right.
    """
    for answer in (correct, shaped):
        if answer is not None and answer.failure:
            return Reward(correct=None, value=None, failure=answer.failure, detail=answer.detail)
    assert correct is not None or shaped is not None
    if correct is not None and correct.value not in {0.0, 1.0}:
        found = Answer(value=None, failure="not right or wrong", detail=f"{correct.value}")
        return joined(found, None, threshold=threshold)
    earned = shaped if shaped is not None else correct
    assert earned is not None
    assert earned.value is not None
    right = earned.value >= threshold if correct is None else correct.value == 1.0
    return Reward(correct=right, value=earned.value)
