"""When a comparison ends with exit code 3, so that a build can be made to depend on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.stages.comparison import Comparison, Pair, of_metric


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What every system has to pass, held against the first."""

    min_delta: float | None = None
    """The whole interval of the first metric's gain lies here or above; a negative one is how much
    may be lost."""
    fail_if_worse: bool = False
    """No system may be shown to be worse, in any metric."""

    @property
    def asked(self) -> bool:
        """Whether there is a gate at all."""
        return self.min_delta is not None or self.fail_if_worse


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the gate is shut; nothing where it is open."""

    failures: tuple[str, ...]


def judge(found: Comparison, gate: Gate) -> Verdict:
    """Return what speaks against opening the gate.

    Raises:
        SpecError: `min_delta` on a metric of which neither end is known to be good.
    """
    against_first = [pair for pair in found.pairs if pair.one == found.systems[0].name]
    failures: list[str] = []
    if gate.min_delta is not None:
        failures += _too_small(found, against_first, gate.min_delta)
    if gate.fail_if_worse:
        failures += _worse(found, against_first)
    return Verdict(tuple(failures))


def _too_small(found: Comparison, pairs: list[Pair], least: float) -> Iterator[str]:
    metric = found.metrics[0]
    if metric.better == "neither":
        raise SpecError(
            f"of {metric.name} neither end is better, so --min-delta says nothing",
            hint="put a metric first in `metrics` that has a good end, or leave out --min-delta",
        )
    for pair in (pair for pair in pairs if pair.metric == metric.metric):
        named = f"{pair.other} against {pair.one} in {metric.name}"
        if pair.claim == "too few items" or pair.interval is None:
            yield f"{named}: {found.examples} examples are too few for a claim"
            continue
        gain, low, high = pair.difference, *pair.interval
        if metric.better == "lower":
            gain, low, high = -gain, -high, -low
        if low < least:
            yield (
                f"{named}: a gain of {gain:+.2f} [{low:+.2f}, {high:+.2f}] is not surely"
                f" {least:+g} or more"
            )


def _worse(found: Comparison, pairs: list[Pair]) -> Iterator[str]:
    for pair in pairs:
        metric = of_metric(found, pair.metric)
        bad_end = {"higher": "lower", "lower": "higher"}.get(metric.better)
        if pair.claim == bad_end:
            yield (
                f"{pair.other} is worse than {pair.one} in {metric.name}:"
                f" {pair.difference:+.2f}, Holm p {pair.p_holm:.3g} of {pair.test}"
            )
