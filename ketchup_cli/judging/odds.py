"""From the log-probabilities of one token to the probability of every choice.

No grammar is asked for: servers compute log-probabilities before it, so they would be of other tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from ketchup_cli.judging.menus import Menu

COVERED = 0.5
"""Least probability of all choices together; with less on them the answer was about to be another."""
TOP = 20
"""Likeliest tokens that are asked for: as many as servers give."""
_ROUNDING = 1e-3
"""A log-probability may be above 0 by so much: some servers round, or compute in half precision."""


class _Token(msgspec.Struct, frozen=True):
    token: str
    logprob: float


class _Place(msgspec.Struct, frozen=True):
    top_logprobs: Annotated[list[_Token], Meta(min_length=1)]


class _Told(msgspec.Struct, frozen=True):
    content: Annotated[list[_Place], Meta(min_length=1)]


def read_odds(raw: msgspec.Raw) -> Mapping[str, float] | str:
    """Return the log-probability of every likely first token, or why there is none.

    Args:
        raw: `logprobs` of a choice as a server sent it.
    """
    try:
        tops = msgspec.json.decode(raw, type=_Told).content[0].top_logprobs
    except msgspec.DecodeError:
        return "no log-probabilities came back"
    if any(not math.isfinite(top.logprob) or top.logprob > _ROUNDING for top in tops):
        return "a log-probability is above 0 or not finite"
    return {top.token: min(0.0, top.logprob) for top in tops}


def odds(logp: Mapping[str, float], menu: Menu) -> tuple[dict[str, float], float]:
    """Return the probability of every choice given that it is one, and that of any choice at all.

        p(c) = sum_{tokens v that read as c} e^{l_v} / coverage,   coverage = sum_c of those sums

    A token reads as a choice without the space around it and whatever its capitals. All p are 0
    where coverage is.

    Args:
        logp: log-probability (nats) by token.
        menu: the choices, and the token of each.
    """
    mass = dict.fromkeys(menu.choices, 0.0)
    choice_of = {
        token.casefold(): choice for token, choice in zip(menu.tokens, menu.choices, strict=True)
    }
    for token, value in logp.items():
        choice = choice_of.get(token.strip().casefold())
        if choice is not None:
            mass[choice] += math.exp(value)
    coverage = math.fsum(mass.values())
    return {choice: own / coverage if coverage else 0.0 for choice, own in mass.items()}, coverage
