"""A calculator beside a model that writes: after `<<95*7=` it puts the tokens of `665>>`.

Which token it puts, if any, follows from the tokens of the completion alone. So a text depends
neither on its batch nor on the round it is in, a beam search may fork and forget, and of any text it
can be told afterwards which tokens were put.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from ketchup_cli.errors import SpecError
from ketchup_cli.models.generation.arithmetic import EQUALS, LONGEST, OPEN, rest_of
from ketchup_cli.models.policy import Policy

Force = Callable[[Tensor], Tensor]
"""From what was read `[B, N]` to the tokens that must follow `[B]`, `FREE` where any may."""

FREE = -1

_READ = frozenset("0123456789.,+-*/()=<> ")
"""Characters of an open expression; a token with another one begins no earlier than after it."""

_SAMPLE = "<<0-1.5*2+34/(67-89)=0>>"
"""What a tokenizer must be able to write, every character of an expression but the separators."""


@final
class Calculator:
    """Completes expressions in one tokenizer's tokens.

    Invariant: what it puts reads, after the tokens before it, as the rest of the result and `>>`.
    Example: `Calculator(policy).after(ids)` is the token after ids that read `<<95*7=`.
    """

    def __init__(self, policy: Policy) -> None:
        """Begin.

        Raises:
            SpecError: the tokenizer cannot write expressions.
        """
        self._policy = policy
        self._special = frozenset(policy.tokenizer.all_special_ids)
        self._pieces: dict[int, str] = {}
        self._anchor = self._ids(_SAMPLE)
        if self._text(self._anchor) != _SAMPLE:
            raise SpecError(
                f"the model's tokenizer cannot write `{_SAMPLE}`, so there is nothing a calculator"
                " could complete",
                hint="leave the calculator out, or take a model whose tokenizer knows these signs",
            )

    def after(self, ids: Sequence[int]) -> int | None:
        """Return the token that must follow a completion's tokens, or None where any may."""
        tail = self._open(ids)
        text = self._text(tail)
        rest = rest_of(text) if tail else ""
        if not rest:
            return None
        for token in self._choices(text, rest):
            written = self._text([*tail, token])
            if len(written) > len(text) and (text + rest).startswith(written):
                return token
        return None

    def put(self, ids: Sequence[int]) -> list[bool]:
        """Return for every token of a completion whether the calculator put it there."""
        return [self.after(ids[:place]) == token for place, token in enumerate(ids)]

    def force(self, first: int) -> Force:
        """Return what is forced where completions begin at column `first` of what was read."""

        def forced(input_ids: Tensor) -> Tensor:
            rows = input_ids[:, first:].tolist()
            found = [FREE if token is None else token for token in map(self.after, rows)]
            return torch.tensor(found, device=input_ids.device)

        return forced

    def _open(self, ids: Sequence[int]) -> list[int]:
        """Return the last tokens from the one that opens an expression on, where one has its `=`."""
        tail: list[int] = []
        equals = False
        for token in reversed(ids[-2 * LONGEST :]):
            piece = self._piece(token)
            tail.append(token)
            equals = equals or EQUALS in piece
            if OPEN[0] in piece and OPEN in self._text(tail[::-1]):
                return tail[::-1] if equals else []
            if not piece or not _READ.issuperset(piece):
                return []
        return []

    def _choices(self, text: str, rest: str) -> list[int]:
        """Return tokens that may write on: as the whole would be read, else one character's own."""
        begin = text.rindex(OPEN)
        ids = self._ids(text[begin:] + rest)
        places = [place for place in range(len(ids)) if self._text(ids[:place]) == text[begin:]]
        # a piece that goes across the seam has no place here: then a character at a time
        names = (rest[0], f"<0x{ord(rest[0]):02X}>")
        own: list[int] = self._policy.tokenizer.convert_tokens_to_ids(list(names))
        return [*(ids[place] for place in places[-1:]), *(token for token in own if token)]

    def _piece(self, token: int) -> str:
        """Return what a token adds to a text; nothing for a special one."""
        if token not in self._pieces:
            # after another: alone, a piece may lose the space it begins with
            added = self._text([*self._anchor, token])[len(_SAMPLE) :]
            self._pieces[token] = "" if token in self._special else added
        return self._pieces[token]

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._policy.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _ids(self, text: str) -> list[int]:
        (ids,) = self._policy.completion_ids([text])
        return [token for token in ids if token not in self._special]
