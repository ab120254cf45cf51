"""The two questions of a reward, answered for many attempts: by metrics, a pattern or a function."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.rewards.calls import Asker
from ketchup_cli.rewards.reward import Answer, Attempt, Reward, joined
from ketchup_cli.scoring import bleu, exact, rouge
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Measurement
from ketchup_cli.scoring.report import measurements
from ketchup_cli.scoring.settings import RougeSettings, Settings
from ketchup_cli.spec import unknown
from ketchup_cli.spec_rewards import RewardSpec

REGEX = "regex"
RIGHT_OR_WRONG = (*exact.NAMES, REGEX)
EARNED = (*(name for name in bleu.NAMES if name != "ter"), *rouge.NAMES, *RIGHT_OR_WRONG)
"""What may be earned; TER counts mistakes, so more of it is worse."""

Question = Callable[[Sequence[Attempt]], list[Answer]]


def function_of(name: str) -> tuple[str, str] | None:
    """Return path and function that `MODULE:FUNCTION` names, or None where it names no function."""
    module, colon, function = name.partition(":")
    if not colon:
        return None
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise SpecError(
            f"`{name}` does not name a function", hint="--set reward.shaped=my_rewards:length"
        )
    return f"{module.replace('.', '/')}.py", function


def is_named(spec: RewardSpec) -> bool:
    """Return whether a spec says what is rewarded."""
    return bool(spec.correct or spec.shaped)


def check(spec: RewardSpec) -> None:
    """Refuse names nobody knows, and a pattern that is missing, useless or wrong.

    Raises:
        SpecError: with the nearest names, or what is wrong with the pattern.
    """
    for field, name, known in (
        ("correct", spec.correct, RIGHT_OR_WRONG),
        ("shaped", spec.shaped, EARNED),
    ):
        if name and function_of(name) is None and name not in known:
            hint = f"--set reward.{field}={known[0]}, or --set reward.{field}=my_rewards:FUNCTION"
            raise unknown(f"a value of `reward.{field}`", name, known, hint=hint)
    asked = REGEX in {spec.correct, spec.shaped}
    if asked != bool(spec.pattern):
        raise SpecError(
            "the reward `regex` has no `reward.pattern`"
            if asked
            else f"`reward.pattern` is `{spec.pattern}`, and no reward is `regex`",
            hint="--set reward.correct=regex --set 'reward.pattern=#### (\\S+)'",
        )
    if asked:
        _check_pattern(spec.pattern)


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise SpecError(
            f"`reward.pattern` is no regular expression: {error}", hint="mend reward.pattern"
        ) from None


@final
class Rewarder:
    """Answers both questions of a spec; a process runs beside it only where one is needed.

    Example: `with Rewarder(spec, files={}) as rewarder: rewarder.rewards(attempts)`
    """

    def __init__(
        self, spec: RewardSpec, *, files: Mapping[str, Path], languages: Sequence[str] = ()
    ) -> None:
        """Look at the spec; nothing is started before the first attempt.

        Args:
            spec: says what is asked.
            files: the file of every function the spec names, by that name.
            languages: codes of prompt and reference, for metrics that must know.

        Raises:
            SpecError: the spec names nothing, or something nobody knows.
        """
        check(spec)
        if not is_named(spec):
            raise SpecError(
                "no reward is named",
                hint="--set reward.correct=gsm8k-numeric, or --set reward.shaped=bleu",
            )
        self._spec = spec
        self._files = files
        self._settings = Settings(
            languages=tuple(languages), rouge=RougeSettings(engine="reference")
        )
        self._open = ExitStack()
        self._questions: dict[str, Question] = {}

    def __enter__(self) -> "Rewarder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def rewards(self, attempts: Sequence[Attempt]) -> list[Reward]:
        """Return the reward of every attempt; one that failed says why.

        Raises:
            RewardError: the user's file cannot be used at all.
            DataError: a reference that a reading of numbers finds none in.
        """
        spec = self._spec
        judged = [attempt for attempt in attempts if attempt.finished or spec.cut == "judged"]
        found = iter(self._judged(judged) if judged else [])
        return [
            next(found) if attempt.finished or spec.cut == "judged" else _WORTHLESS
            for attempt in attempts
        ]

    def _judged(self, attempts: Sequence[Attempt]) -> list[Reward]:
        spec = self._spec
        asked = {name: self._ask(name, attempts) for name in {spec.correct, spec.shaped} - {""}}
        nothing: list[Answer | None] = [None] * len(attempts)
        return [
            joined(correct, shaped, threshold=spec.threshold)
            for correct, shaped in zip(
                asked.get(spec.correct, nothing), asked.get(spec.shaped, nothing), strict=True
            )
        ]

    def _ask(self, name: str, attempts: Sequence[Attempt]) -> list[Answer]:
        if name not in self._questions:
            self._questions[name] = self._question(name)
        return self._questions[name](attempts)

    def _question(self, name: str) -> Question:
        function = function_of(name)
        if name != REGEX and function is None:
            return lambda attempts: self._measured(name, attempts)
        arguments = ["pattern", self._spec.pattern]
        if function is not None:
            arguments = ["function", str(self._files[name]), function[1]]
        asker = self._open.enter_context(Asker(arguments, limit_s=self._spec.time_limit_s))
        return lambda attempts: [asker.ask(attempt) for attempt in attempts]

    def _measured(self, name: str, attempts: Sequence[Attempt]) -> list[Answer]:
        """Return a metric of every attempt by itself, as a share of 1."""
        items = Items(
            ids=tuple(map(str, range(len(attempts)))),
            hypotheses=tuple(attempt.text for attempt in attempts),
            references=tuple(attempt.references for attempt in attempts),
        )
        (measured,) = measurements([name], items, self._settings)[name]
        assert isinstance(measured, Measurement)
        return [Answer(value=(value or 0.0) / 100.0) for value in measured.items]


_WORTHLESS = Reward(correct=False, value=0.0)
