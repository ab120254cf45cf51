"""A teacher cache held against the teacher that is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from torch import Tensor

from ketchup_cli.doctor.origins import author, other_author
from ketchup_cli.doctor.result import Check, failed, not_checked, passed
from ketchup_cli.doctor.scoring import by_batches, spread
from ketchup_cli.models.cache import CacheMeta
from ketchup_cli.models.cached_teacher import SOURCES, CachedTeacher
from ketchup_cli.models.encode import Row
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Batch, Needs, TeacherSignal
from ketchup_cli.store.artifact import Input

TEACHER, TEXT, STATISTICS = "cache teacher", "cache text", "cache statistics"

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Largest difference of a statistic from the live one, as a share of the largest logit: sums in
another order move the fifth digit, layers in bfloat16 the second; another teacher moves the first."""

AGAIN = "ketchup cache-teacher"


def cache_teacher(cache: Input, teacher: Input | None) -> Check:
    """Compare the digest of the teacher a cache was made from with that of the one here."""
    made_from = author(cache)
    if made_from is None:
        return not_checked(TEACHER, f"`{cache.label}` does not say which teacher it was made from")
    if teacher is None:
        return not_checked(
            TEACHER, f"`{cache.label}` was made from `{made_from.label}`; none is here"
        )
    figures = {"made_from": made_from.digest[7:15], "teacher": teacher.digest[7:15]}
    if other_author(cache, teacher) is None:
        told = f"`{cache.label}` was made from `{teacher.label}`, digest {figures['teacher']}"
        return passed(TEACHER, told, brief="cache of this teacher", figures=figures)
    return failed(
        TEACHER,
        f"`{cache.label}` was made from `{made_from.label}`, digest {figures['made_from']}; the"
        f" teacher here is `{teacher.label}`, digest {figures['teacher']}",
        f"{AGAIN}, or --teacher with the one it was made from",
        figures=figures,
    )


def agreed(cache: Input, meta: CacheMeta) -> Check:
    """Say what a run knows of a cache once it is open: its tokenizer, and that its rows are these."""
    layout, made_from = meta.layout, author(cache)
    known = f" from `{made_from.label}`" if made_from is not None else ""
    shown = f"{layout.vocabulary:,} tokens, {meta.rows:,} rows of {meta.completions} cached{known}"
    told = f"tokenizer `{layout.tokenizer[7:15]}` is the student's; {shown}"
    figures = {"fingerprint": layout.tokenizer[7:15], "rows": meta.rows}
    return passed(TEXT, told, brief=f"tokenizers equal, {shown}", figures=figures)


def cache_statistics(cached: CachedTeacher, policy: Policy, rows: Sequence[Row]) -> Check:
    """Score a few rows live and compare every statistic the cache holds of them.

    Args:
        cached: the cache, made of these rows.
        policy: the teacher, in the precision the cache was made in.
        rows: all rows of the cache's source; a few are chosen, spread over the whole.

    Raises:
        MismatchError: the cache was made of other rows.
        NonFiniteError: the teacher's logits are not finite.
    """
    layout = cached.cache.meta.layout
    needs = Needs(teacher="top" if layout.partial else "stats", temperature=layout.temperatures[0])
    chosen = [rows[number] for number in spread(len(rows))]
    found = _Differences()
    for _, batch in by_batches(policy, chosen, source=SOURCES[cached.cache.meta.completions]):
        there, here = (
            _statistics(teacher.signal(batch, needs), partial=layout.partial)
            for teacher in (cached, LiveTeacher(policy))
        )
        found.add(batch, there, here)
    return found.judged(cached.name, share=TOLERANCE[policy.precision])


def _statistics(signal: TeacherSignal, *, partial: bool) -> dict[str, Tensor]:
    """Return what a cache knows of every step, [B, T] each; an imported one knows no logits."""
    if partial:
        return {"log-probability of the likeliest": signal.best_BT - signal.lse_BT}
    return {
        name: getattr(signal, f"{name}_BT") for name in ("taken", "best", "mean", "expected", "lse")
    }


@final
class _Differences:
    """The largest difference of every statistic, and the example where it is largest."""

    def __init__(self) -> None:
        self.apart: dict[str, float] = {}
        self.example, self.statistic, self.pair = "", "", (0.0, 0.0)
        self.largest_logit = 1.0
        self.rows = self.tokens = 0

    def add(self, batch: Batch, there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
        """Compare the statistics of a batch."""
        places = batch.mask_BT.bool().nonzero()
        self.rows, self.tokens = self.rows + len(batch.ids), self.tokens + len(places)
        for name, cached_BT in there.items():
            cached_N, live_N = cached_BT[tuple(places.T)], here[name][tuple(places.T)]
            self.largest_logit = max(self.largest_logit, float(live_N.abs().max()))
            off_N = (cached_N - live_N).abs()
            most = float(off_N.max())
            if most > max(self.apart.values(), default=-1.0):
                place = int(off_N.argmax())
                self.example = batch.ids[int(places[place, 0])]
                self.statistic = name
                self.pair = (float(cached_N[place]), float(live_N[place]))
            self.apart[name] = max(self.apart.get(name, 0.0), most)

    def judged(self, label: str, *, share: float) -> Check:
        """Return the finding: `share` of the largest logit is what rounding may move."""
        most, limit = max(self.apart.values()), share * self.largest_logit
        figures = {"rows": self.rows, "tokens": self.tokens, "largest": most, "limit": limit}
        figures |= self.apart
        told = [
            f"`{label}` and the live teacher differ by {most:.2g} nats at most, in `{self.statistic}`,"
            f" on {self.tokens} tokens of {self.rows} rows; rounding may move {limit:.2g}"
        ]
        # not `>`: a NaN must fail
        if most <= limit:
            return passed(STATISTICS, told, brief="cache as live", figures=figures)
        told.append(
            f"example `{self.example[:12]}`: {self.pair[0]:.4f} in the cache, {self.pair[1]:.4f} live"
        )
        return failed(STATISTICS, told, AGAIN, figures=figures)
