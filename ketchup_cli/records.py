"""The rows of the JSON Lines files that stages hand to each other."""

from typing import Literal, final

import msgspec


@final
class Example(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One row of a corpus: a prompt and the texts people wrote for it.

    Invariant: `id` is unique in its split and depends on the content only.
    """

    id: str
    prompt: str
    references: tuple[str, ...]
    reversed: Literal["", "text", "tokens"] = ""
    """Whether the row tells its text from last to first: as it stands here, or once it is in tokens."""
    group: str = ""
    """What it is counted with where a score is told by group."""
    document: str = ""
    """What it was taken from; what a judge says of examples of one document is drawn together."""


@final
class Generation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text a model wrote for the example of the same `id`.

    Invariant: `tokens` are the emitted ids, the end-of-sequence id included when `stop` is
    "eos"; `text` is their decoding without special tokens.
    """

    id: str
    sample: int = 0
    """Index among the texts of one prompt: the sample, or the rank in an n-best list."""
    text: str
    tokens: tuple[int, ...]
    stop: Literal["eos", "length"]
    logp: float
    """Sum of the token log-probabilities under the settings it was decoded with (nats)."""


@final
class Rollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sampled completion with the log-probability of every token, and what it earned.

    Invariant: as long as `tokens`, `logps` are those under the distribution each was drawn from
    (nats). `correct` and `reward` are null where none was asked for, or where `failure` says why.
    """

    id: str
    sample: int
    """Index among the samples of one prompt."""
    text: str
    tokens: tuple[int, ...]
    logps: tuple[float, ...]
    stop: Literal["eos", "length"]
    correct: bool | None = None
    reward: float | None = None
    failure: str = ""
    """Why there is no reward: raised, timed out, died, not finite, not a number."""
    forced: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    """Places of the tokens a calculator put, each with a log-probability of 0; absent without one."""

    @property
    def put(self) -> tuple[int, ...]:
        """Places of the tokens a calculator put."""
        return () if self.forced is msgspec.UNSET else self.forced


Unit = Literal["percent", "share", "nats", "ratio"]
"""What a figure is in: share is 0 to 1, or to 2 for a Brier score."""


@final
class Score(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure with everything needed to publish it."""

    metric: str
    value: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval over examples, or None where none is computed."""
    count: int
    """Examples scored."""
    signature: str
    """Settings that change the number, in the metric's own words."""
    details: dict[str, float] = {}
    """Figures that explain the value, by name."""
    unit: Unit = "percent"
    """What the value and its interval are in."""


@final
class ItemScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each metric says about one example.

    Invariant: for bleu, chrf and ter the values are sentence-level and do not average to the
    corpus value.
    """

    id: str
    values: dict[str, float | None]
    """Value by metric, in its score's unit; null where the example has nothing to compute it from."""
    extracted: dict[str, str | None] = {}
    """The answer a metric read out of the text, or None where it found none; by metric."""
