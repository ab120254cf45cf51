"""The teacher as objectives see it, and the one that runs beside the student."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ketchup_cli.errors import MismatchError
from ketchup_cli.models.reduction import CHUNK_TOKENS, Reduced, Request, score, spread
from ketchup_cli.signals import (
    DETAIL_ORDER,
    NEW_TEXT,
    Batch,
    HeldLogits,
    LogitRows,
    Needs,
    Offers,
    Prefixes,
    StudentSignal,
    TeacherSignal,
    to_device,
)

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy

HELD_BYTES = 1 << 26
"""Logits of one batch that are kept rather than computed twice."""

LIVE_OFFERS = Offers(detail="dense", temperatures=None, any_prefix=True, gradient=True, hidden=True)
"""What any model that runs beside the student can give."""


class Teacher(ABC):
    """Says what the teacher's distributions are at the steps of a batch.

    Invariant: nothing it returns carries a gradient.
    """

    @property
    @abstractmethod
    def offers(self) -> Offers:
        """What it can give; hold it against `Needs` with `check_offers`."""

    @abstractmethod
    def signal(
        self, batch: Batch, needs: Needs, student: StudentSignal | None = None
    ) -> TeacherSignal:
        """Return what `needs` asks for, on the batch's device; zeros on padding."""


def check_offers(
    needs: Needs, offers: Offers, name: str, *, prefixes: Prefixes | None = None
) -> None:
    """Refuse a teacher that cannot serve an objective, before any model is loaded.

    Args:
        needs: of the objective, or of a mix.
        offers: of the teacher.
        name: of the cache or the model, for the message.
        prefixes: whose completions the objective will see; its only choice, if not given.

    Raises:
        MismatchError: with what is missing, in one sentence.
    """
    teacher = f"teacher `{name}`" if offers.any_prefix else f"teacher cache `{name}`"
    if not needs.any_teacher:
        return
    chosen = set(needs.prefixes) if prefixes is None else {prefixes}
    if chosen <= set(NEW_TEXT) and not offers.any_prefix:
        raise MismatchError(
            f"{teacher} knows only completions scored before; the objective learns from the"
            " student's own",
            hint="--set teacher=live",
        )
    if needs.trainable_teacher and not offers.gradient:
        raise MismatchError(
            f"{teacher} holds what the teacher said before; the objective trains the teacher, and"
            " what was said is then out of date",
            hint="--set teacher=live",
        )
    if needs.student_expected and not offers.any_prefix:
        raise MismatchError(
            f"{teacher} has no logits to average under the student's distribution",
            hint="--set teacher=live",
        )
    if needs.hidden and not offers.hidden:
        raise MismatchError(f"{teacher} holds no states of its layers", hint="--set teacher=live")
    _check_detail(needs, offers, teacher)
    if offers.temperatures is not None and needs.temperature not in offers.temperatures:
        held = ", ".join(str(item) for item in offers.temperatures)
        wanted = ", ".join(str(item) for item in (*offers.temperatures, needs.temperature))
        top = "" if offers.top is None else f" --set top={offers.top}"
        raise MismatchError(
            f"{teacher} holds temperatures {held}; the objective asks {needs.temperature}",
            hint=f"ketchup cache-teacher{top} --set 'temperatures=[{wanted}]'",
        )


def _check_detail(needs: Needs, offers: Offers, teacher: str) -> None:
    """Refuse a teacher that knows less of its distributions than is asked for."""
    if (needs.teacher == "stats" or needs.statistics) and not offers.statistics:
        raise MismatchError(
            f"{teacher} was imported and knows log-probabilities of its entries only; the objective"
            " asks statistics",
            hint="--set teacher=live, or ketchup cache-teacher",
        )
    by_draws = needs.teacher == "top" and needs.sampled and offers.sampled
    if by_draws or DETAIL_ORDER.index(needs.teacher) <= DETAIL_ORDER.index(offers.detail):
        return
    held = "draws, with statistics" if offers.sampled else _DETAILS[offers.detail]
    way = "keep=hidden" if needs.teacher == "dense" else "keep=top"
    raise MismatchError(
        f"{teacher} holds {held}; the objective asks {_DETAILS[needs.teacher]}",
        hint=f"--set teacher=live, or ketchup cache-teacher --set {way}",
    )


_DETAILS = {
    "none": "nothing",
    "stats": "statistics only",
    "top": "the largest logits",
    "dense": "all logits",
}


@final
class LiveTeacher(Teacher):
    """A frozen model that scores whatever it is shown.

    Invariant: at most two chunks of logits exist at a time, but for `HELD_BYTES` where all are
    asked for: up to there they are kept, beyond it computed again when they are read.
    Example: `LiveTeacher(policy).signal(batch, Needs(teacher="stats")).taken_BT`.
    """

    def __init__(self, policy: Policy, *, chunk_tokens: int = CHUNK_TOKENS) -> None:
        self.policy = policy
        self.chunk_tokens = chunk_tokens

    @property
    def offers(self) -> Offers:
        """All logits, at any temperature, after any prefix."""
        return LIVE_OFFERS

    def signal(
        self, batch: Batch, needs: Needs, student: StudentSignal | None = None
    ) -> TeacherSignal:
        """Return what `needs` asks for; logits are reduced chunk by chunk.

        "top" is answered with all logits: they are at hand, and exact.

        Raises:
            MismatchError: the student's expectation is asked for and no student given, or what
                no teacher gives.
            NonFiniteError: a logit is NaN or infinite.
        """
        check_offers(needs, self.offers, "live")
        if needs.student_expected and student is None:
            raise MismatchError("the student's expectation is asked for without its logits")
        local = to_device(batch, self.policy.device)
        dense = needs.teacher in {"top", "dense"}
        size = 4 * int(local.mask_BT.sum()) * self.policy.vocabulary
        request = Request(
            temperatures=(needs.temperature,),
            dense=dense and size <= HELD_BYTES,
            layers=needs.hidden,
            student_logits_BTV=student.logits_BTV if student and needs.student_expected else None,
            chunk_tokens=self.chunk_tokens,
        )
        reduced = score(self.policy, local, request)
        signal = _signal(local, reduced, needs.temperature)
        if dense:
            signal = replace(signal, dense=self._rows(reduced))
        return to_device(signal, batch.tokens_BT.device)

    def _rows(self, reduced: Reduced) -> LogitRows:
        if reduced.dense_NV is not None:
            return HeldLogits(reduced.dense_NV)
        return StateLogits(head=self.policy.head, hidden_NH=reduced.hidden_NH)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StateLogits:
    """Rows of logits computed from a frozen model's states whenever they are read."""

    head: Callable[[Tensor], Tensor]
    hidden_NH: Tensor
    device: object = None
    """Where the rows are wanted; the states' own device if not given."""

    @property
    def count(self) -> int:
        """The number of rows N."""
        return self.hidden_NH.shape[0]

    @torch.no_grad()
    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V] float32."""
        logits_NV = self.head(self.hidden_NH[which])
        return logits_NV if self.device is None else logits_NV.to(self.device)  # type: ignore[call-overload]

    def to(self, device: object) -> StateLogits:
        """Return the same rows, answered on `device`."""
        return replace(self, device=device)


def _signal(batch: Batch, reduced: Reduced, temperature: float) -> TeacherSignal:
    statistics = reduced.statistics
    shape = batch.tokens_BT.shape
    expected_N = reduced.student_expected_N
    return TeacherSignal(
        taken_BT=spread(statistics.taken_N, reduced.places_N, shape),
        best_BT=spread(statistics.best_N, reduced.places_N, shape),
        mean_BT=spread(statistics.mean_N, reduced.places_N, shape),
        expected_BT=spread(statistics.expected_NK[:, 0], reduced.places_N, shape),
        lse_BT=spread(statistics.lse_NK[:, 0], reduced.places_N, shape),
        temperature=temperature,
        student_expected_BT=(
            None if expected_N is None else spread(expected_N, reduced.places_N, shape)
        ),
        hidden_LBTH=None if reduced.layers is None else reduced.layers[0],
        encoder_LBSH=None if reduced.layers is None else reduced.layers[1],
    )
