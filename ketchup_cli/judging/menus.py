"""What a judge may answer, and the words in which it is asked to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, final

Protocol = Literal["json_schema", "json_object", "text", "logprob"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """The choices of one kind of question.

    Invariant: `tokens` are as many as `choices`, and no two are alike but for capitals.
    """

    key: str
    """Field of the object, and word of the last line, that holds the choice."""
    choices: tuple[str, ...]
    tokens: tuple[str, ...]
    """What stands for each choice where the probabilities of one token are read."""
    as_number: bool
    """Whether the choice is a number in an object."""
    ask_token: str
    """How one token is asked for."""
    aspects: tuple[str, ...] = ()
    """What is chosen for in one answer; none where it is one thing, which needs no name there."""

    @property
    def several(self) -> str:
        """Field of the object that holds the choices of several aspects."""
        return f"{self.key}s"

    def joint(self, aspects: tuple[str, ...]) -> Menu:
        """Return the same choices for each of several aspects, in one answer."""
        return replace(self, aspects=aspects)

    @property
    def schema(self) -> dict[str, Any]:
        """What an object looks like; the reason comes first, to be thought of before the choice."""
        choice: dict[str, Any] = {"type": "string", "enum": list(self.choices)}
        if self.as_number:
            choice = {"type": "integer", "enum": [int(word) for word in self.choices]}
        if self.aspects:
            each = _object(dict.fromkeys(self.aspects, choice))
            return _object({"reason": {"type": "string"}, self.several: each})
        return _object({"reason": {"type": "string"}, self.key: choice})

    def asked(self, protocol: Protocol) -> str:
        """Return the sentences that ask for an answer of this form."""
        if protocol == "logprob":
            return self.ask_token
        if self.aspects:
            return self._asked_of_several(protocol)
        shown = [word if self.as_number else f'"{word}"' for word in self.choices]
        if protocol != "text":
            # no example object: a weak judge copies it, choice and all
            return (
                'Answer with one JSON object and nothing else. Its first field, "reason", says why'
                f' in at most 60 words; its second, "{self.key}", is {_either(shown)}.'
            )
        lines = [f"{self.key.upper()}: {word}" for word in self.choices]
        return (
            "Give your reason in at most 60 words. Then write, as the last line, exactly one of"
            f" {_either(lines)}"
        )

    def _asked_of_several(self, protocol: Protocol) -> str:
        shown = [word if self.as_number else f'"{word}"' for word in self.choices]
        if protocol != "text":
            names = _both([f'"{name}"' for name in self.aspects])
            return (
                'Answer with one JSON object and nothing else. Its first field, "reason", says why'
                f' in at most 60 words; its second, "{self.several}", is an object with the fields'
                f" {names}, each of them {_either(shown)}."
            )
        return (
            "Give your reason in at most 60 words. Then write, as the last"
            f" {len(self.aspects)} lines, one line for each criterion: its name, a colon, and"
            f" {_either(list(self.choices))}. The names are {_both(list(self.aspects))}."
        )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _both(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


VERDICTS = Menu(
    key="verdict",
    choices=("1", "2", "tie"),
    tokens=("A", "B", "C"),
    as_number=False,
    ask_token=(
        "Answer with one letter and nothing else: A if candidate 1 is better, B if candidate 2 is"
        " better, C if neither is."
    ),
)
RATINGS = Menu(
    key="rating",
    choices=("1", "2", "3", "4", "5"),
    tokens=("1", "2", "3", "4", "5"),
    as_number=True,
    ask_token="Answer with one digit from 1 to 5 and nothing else.",
)
