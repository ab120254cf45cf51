"""What flows between data, models and objectives.

Dimensions, the only legend: `B` sequences, `S` prompt tokens, `T` completion tokens, `V`
vocabulary, `M` kept teacher entries, `L` layers, `H` hidden size, `G` samples per prompt, `N`
tokens of a flat, unpadded list. A tensor's name ends in its shape; index `t` always means the
step at which token `a_t` is emitted from state `s_t`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Prefixes = Literal["data", "teacher", "student", "pairs", "extra", "rehearsal", "reversed"]
"""Who wrote the completions: the corpus, the teacher (pseudo-targets), the student itself, teacher
and student one each for every prompt, a second corpus, a reference that was sampled once (rollouts), or
the corpus in the rows that tell their text from last to first."""

NEW_TEXT: tuple[Prefixes, ...] = ("student", "pairs")
"""Completions of which some are written while the student learns, so that no cache knows them."""

TEACHER_TEXT: tuple[Prefixes, ...] = ("teacher", "pairs")
"""Completions of which some are pseudo-targets."""

TeacherDetail = Literal["none", "stats", "top", "dense"]
"""How much of the teacher's distribution is asked for or offered, from nothing to all of it."""

DETAIL_ORDER: tuple[TeacherDetail, ...] = ("none", "stats", "top", "dense")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts with one completion each, right-padded.

    Prompt and completion are never concatenated outside `models/policy.py`. The completion ends
    with the end-of-sequence token, which `mask_BT` counts as real.
    """

    ids: tuple[str, ...]
    prompt_BS: Tensor
    prompt_mask_BS: Tensor
    tokens_BT: Tensor
    mask_BT: Tensor
    source: Prefixes
    behaviour_logp_BT: Tensor | None = None
    """Log-probabilities at sampling time (nats), for completions the student sampled."""
    forced_BT: Tensor | None = None
    """True on tokens that a calculator put: the student had no choice there."""
    reward_B: Tensor | None = None
    """What each completion earned."""
    correct_B: Tensor | None = None
    """1 for right, 0 for wrong: another question than what was earned."""
    group_B: Tensor | None = None
    """Equal numbers mark samples of one prompt."""
    chosen_B: Tensor | None = None
    """1 on the preferred row of every pair, where `group_B` marks pairs."""
    finished: float | None = None
    """Share of the sampled completions that ended by themselves, dropped ones included."""
    unrewarded: float | None = None
    """Share of the sampled completions whose reward failed and which were left out."""
    rows: tuple[int, ...] = ()
    """Positions in the data source, by which a cached teacher finds its rows."""
    shown_BT: Tensor | None = None
    """1 on completion tokens that a student which fills in is shown; `mask_BT` marks the others, on
    which its loss is taken."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TopEntries:
    """The M largest teacher logits of every step.

    Logit `ids_BTM[b,t,m]` is `best_BT[b,t] - gaps_BTM[b,t,m]`: gaps keep most precision where the
    probability is. `tail_BT` is the probability mass of all other entries.
    """

    ids_BTM: Tensor
    gaps_BTM: Tensor
    tail_BT: Tensor
    weights_BTM: Tensor | None = None
    """Where the entries were drawn and are not the largest: the share of the draws each got, 0 past
    the last. Their gaps are not known then (NaN), and there is no tail."""


class LogitRows(Protocol):
    """All of a teacher's logits, of the real tokens of a batch in row-major order of its mask.

    They are asked for a few rows at a time and need not exist before: N rows of a large vocabulary
    are the largest tensor there is.
    """

    @property
    def count(self) -> int:
        """The number of rows N."""

    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V], at least float32, without a gradient."""

    def to(self, device: object) -> LogitRows:
        """Return the same rows, answered on `device`."""


@final
@dataclass(frozen=True, slots=True)
class HeldLogits:
    """Rows of logits that exist already."""

    logits_NV: Tensor

    @property
    def count(self) -> int:
        """The number of rows N."""
        return self.logits_NV.shape[0]

    def logits(self, which: slice) -> Tensor:
        """Return rows `which`, [n, V]."""
        return self.logits_NV[which].detach()

    def to(self, device: object) -> HeldLogits:
        """Return the same rows on `device`."""
        return HeldLogits(self.logits_NV.to(device))  # type: ignore[call-overload]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSignal:
    """What the teacher says about a batch; the statistics are float32, in nats of teacher logit.

    With f the teacher's logits in state s_t at `temperature` tau: `taken` = f(a_t), `best` = max f,
    `mean` = mean f over the vocabulary, `lse` = logsumexp(f/tau), `expected` = E_p[f] under
    p = softmax(f/tau).
    """

    taken_BT: Tensor
    best_BT: Tensor
    expected_BT: Tensor
    mean_BT: Tensor
    lse_BT: Tensor
    temperature: float = 1.0
    student_expected_BT: Tensor | None = None
    """E_pi[f] under the student's own distribution in the same state, detached."""
    top: TopEntries | None = None
    dense: LogitRows | None = None
    """All logits, handed out in rows; read them with `F.at_steps`."""
    own_BTV: Tensor | None = None
    """All logits with a gradient into the teacher's trainable part."""
    hidden_LBTH: Tensor | None = None
    """States of the embeddings and of every decoder layer, L = layers + 1."""
    encoder_LBSH: Tensor | None = None
    """The same of an encoder, aligned with the prompt."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSignal:
    """What the student says about a batch; gradients flow."""

    logits_BTV: Tensor
    logp_taken_BT: Tensor
    hidden_LBTH: Tensor | None = None
    """States of the embeddings and of every decoder layer, L = layers + 1."""
    encoder_LBSH: Tensor | None = None
    """The same of an encoder, aligned with the prompt."""
    length_logp_B: Tensor | None = None
    """Log-probability of the completion's length (nats), where the student predicts lengths."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What an objective sees, and all it sees."""

    batch: Batch
    student: StudentSignal
    teacher: TeacherSignal | None = None
    reference: StudentSignal | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """The objective's own learnable tensors, those of `Objective.parts`; gradients flow."""
    update: int = 0
    """Optimiser steps taken before this one: what a schedule is a function of."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of student and teacher, by which an objective shapes its learnable parts."""

    student_layers: int
    student_width: int
    teacher_layers: int
    teacher_width: int
    student_encoder_layers: int = 0
    teacher_encoder_layers: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A learnable tensor of an objective, saved beside the student and not part of it."""

    shape: tuple[int, ...]
    start: Literal["zeros", "identity", "normal"] = "zeros"
    """What it holds before the first update; normal has standard deviation 1 / sqrt(last axis)."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherPart:
    """What of a teacher learns beside the student; before the first update it changes nothing."""

    kind: Literal["lora", "head", "full"]
    """Low-rank matrices in its attention, a small network beside its output layer, all of it."""
    rank: int
    """Rank of the matrices, or width of the network."""
    rate: float
    """Its learning rate, in parts of the student's."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an objective must be given; `|` merges the needs of a mix."""

    prefixes: tuple[Prefixes, ...] = ("data", "teacher")
    """Whose completions the objective can learn from; the first is the default."""
    teacher: TeacherDetail = "none"
    student_expected: bool = False
    """Whether `TeacherSignal.student_expected_BT` is read; it takes a live teacher."""
    hidden: bool = False
    """Whether the states of all layers are read, those of the student and of a live teacher; an
    encoder's come along."""
    reference: bool = False
    reward: bool = False
    """Whether the student's completions must be rewarded: `reward_B` and `correct_B` are read."""
    trainable_teacher: bool = False
    """Whether `TeacherSignal.own_BTV` is read; it takes a teacher with a trainable part."""
    sampled: bool = False
    """Whether drawn entries do where the largest are asked for."""
    statistics: bool = False
    """Whether statistics are read beside the entries that are asked for."""
    lengths: bool = False
    """Whether `StudentSignal.length_logp_B` is read; it takes a student that fills in."""
    temperature: float = 1.0

    @property
    def any_teacher(self) -> bool:
        """Whether a teacher must be brought, for its distributions or for its states."""
        return self.teacher != "none" or self.hidden or self.trainable_teacher

    def __or__(self, other: Needs) -> Needs:
        """Return needs that satisfy both; the temperatures must agree where a teacher is read."""
        asked = {need.temperature for need in (self, other) if need.teacher != "none"}
        if len(asked) > 1:
            raise ValueError("terms of one batch ask for different teacher temperatures")
        return Needs(
            prefixes=tuple(p for p in self.prefixes if p in other.prefixes),
            teacher=max(self.teacher, other.teacher, key=DETAIL_ORDER.index),
            student_expected=self.student_expected or other.student_expected,
            hidden=self.hidden or other.hidden,
            reference=self.reference or other.reference,
            reward=self.reward or other.reward,
            trainable_teacher=self.trainable_teacher or other.trainable_teacher,
            statistics=self.statistics or other.statistics,
            lengths=self.lengths or other.lengths,
            sampled=all(n.sampled for n in (self, other) if n.teacher in {"top", "dense"}),
            temperature=asked.pop() if asked else self.temperature,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a teacher can give; held against `Needs` before a model is loaded."""

    detail: TeacherDetail
    temperatures: tuple[float, ...] | None
    """The temperatures on hand, or None where any can be computed."""
    any_prefix: bool
    """Whether completions the teacher has not seen before can be scored."""
    gradient: bool = False
    """Whether a part of it can be trained."""
    hidden: bool = False
    """Whether it can give the states of all its layers."""
    sampled: bool = False
    """Whether it has entries drawn from its distributions, in place of the largest."""
    statistics: bool = True
    """Whether all five statistics are known, and not the log-probabilities of entries alone."""
    top: int | None = None
    """How many of the largest logits are kept, where that is what is kept."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLoss:
    """A loss for every token, `[B, T]`, and metrics of the same shape; not reduced, not masked."""

    loss_BT: Tensor
    metrics: Mapping[str, Tensor]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceLoss:
    """A loss for every sequence, `[B]`, and metrics of the same shape; not reduced."""

    loss_B: Tensor
    metrics: Mapping[str, Tensor]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLoss:
    """One loss for the batch, a scalar that is a mean over its tokens, and scalar metrics."""

    loss: Tensor
    metrics: Mapping[str, Tensor]


Loss = TokenLoss | SequenceLoss | BatchLoss

Carrier = TypeVar("Carrier", Batch, TeacherSignal, TopEntries)


def to_device(value: Carrier, device: object) -> Carrier:
    """Return `value` with every tensor in it on `device`."""
    moved: dict[str, object] = {}
    for entry in fields(value):
        item = getattr(value, entry.name)
        if isinstance(item, TopEntries):
            moved[entry.name] = to_device(item, device)
        elif hasattr(item, "to"):
            moved[entry.name] = item.to(device)
        else:
            moved[entry.name] = item
    return type(value)(**moved)  # type: ignore[arg-type]
