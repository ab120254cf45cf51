"""From the texts of systems to a comparison: figures, pairs, correction, sentences."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import msgspec

from ketchup_cli.errors import DataError, NonFiniteError
from ketchup_cli.scoring.directions import better, written
from ketchup_cli.scoring.measurement import Measurement, item_mean, summed
from ketchup_cli.specs import CompareSpec
from ketchup_cli.stages import comparison
from ketchup_cli.stages.claims import sentences
from ketchup_cli.stages.comparison import Comparison
from ketchup_cli.statistics import pairs
from ketchup_cli.statistics.claims import claim
from ketchup_cli.statistics.power import ALPHA, minimum_detectable
from ketchup_cli.statistics.resampling import LEVEL, resampled
from ketchup_cli.statistics.significance import holm

DIGITS = 6
"""Decimals of what depends on the order of sums, which differs between processors."""

Measured = Mapping[str, Measurement]
"""What was measured on the texts of one run, by metric."""
Systems = Mapping[tuple[str, str], pairs.System]
"""By name of the system and metric."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The texts of one system, one tuple for every run, and what was measured on them."""

    name: str
    ids: tuple[str, ...]
    """Of the examples, the same for every system."""
    texts: tuple[tuple[str, ...], ...]
    measured: tuple[Measured, ...]
    generations: tuple[str, ...]
    models: tuple[str | None, ...]


def compared(
    spec: CompareSpec, answers: Sequence[Answers], *, warnings: Sequence[str]
) -> Comparison:
    """Return the comparison of systems on the same examples.

    Raises:
        DataError: two runs of a system wrote the same texts, so they are no two seeds.
        NonFiniteError: a resample leaves a metric nothing to compute it from.
    """
    for system in answers:
        _check_runs(system)
    systems = _resampled(spec, answers)
    found = Comparison(
        split=spec.split,
        examples=len(answers[0].texts[0]),
        metrics=tuple(
            comparison.Metric(
                metric=metric,
                name=written(metric),
                better=better(metric),
                signature=one.signature,
            )
            for metric, one in answers[0].measured[0].items()
        ),
        systems=tuple(_system(system, systems) for system in answers),
        pairs=tuple(_pairs(spec, answers, systems)),
        tests=_tests(spec, answers),
        level=LEVEL,
        alpha=ALPHA,
        power=spec.power,
        resamples=spec.resamples,
        seed=spec.seed,
        sentences=(),
        warnings=(*warnings, *_warnings(answers)),
    )
    return msgspec.structs.replace(found, sentences=sentences(found))


def _check_runs(system: Answers) -> None:
    for (first, one), (second, other) in itertools.combinations(enumerate(system.texts, 1), 2):
        if one == other:
            raise DataError(
                f"runs {first} and {second} of `{system.name}` wrote the same texts, so they are"
                " no two seeds",
                hint="name every run once, and runs of different seeds",
            )


def _resampled(spec: CompareSpec, answers: Sequence[Answers]) -> Systems:
    """Return every system on every metric, resampled on the same draws."""
    flat = [summed(one) for system in answers for run in system.measured for one in run.values()]
    drawn = iter(resampled(flat, resamples=spec.resamples, seed=spec.seed))
    found: dict[tuple[str, str], pairs.System] = {}
    for system in answers:
        own = [{metric: next(drawn) for metric in run} for run in system.measured]
        for metric in system.measured[0]:
            runs = tuple(run[metric] for run in system.measured)
            values = tuple(run[metric] for run in own)
            _check_finite(metric, runs, values)
            found[system.name, metric] = pairs.System(
                runs=tuple(map(summed, runs)), resampled=values, items_RN=_item_values(runs)
            )
    return found


def _check_finite(metric: str, runs: Sequence[Measurement], values: Sequence[Any]) -> None:
    import numpy

    if not all(math.isfinite(run.value) for run in runs) or not numpy.isfinite(values).all():
        raise NonFiniteError(
            f"some resamples leave nothing to compute {metric} from",
            hint=f"leave {metric} out of metrics",
        )


def _item_values(runs: Sequence[Measurement]) -> Any:
    """Return [R, N] values of the items where the metric is their mean, else None."""
    import numpy

    if any(run.combine is not item_mean for run in runs):
        return None
    return numpy.stack([run.statistics_NK[:, 0] for run in runs])


def _system(system: Answers, systems: Systems) -> comparison.System:
    return comparison.System(
        name=system.name,
        generations=system.generations,
        models=system.models,
        figures={metric: _figure(systems[system.name, metric]) for metric in system.measured[0]},
    )


def _figure(system: pairs.System) -> comparison.Figure:
    import numpy

    several = len(system.runs) > 1
    return comparison.Figure(
        value=_round(system.value),
        runs=tuple(map(_round, system.values)),
        deviation=_round(float(numpy.std(system.values, ddof=1))) if several else None,
        interval=_round_both(pairs.value_interval(system)),
    )


def _couples(spec: CompareSpec, answers: Sequence[Answers]) -> list[tuple[Answers, Answers]]:
    """Return who is held against whom: the one, then the other."""
    couples = list(itertools.combinations(answers, 2))
    return couples if spec.pairs == "all" else couples[: len(answers) - 1]


def _tests(spec: CompareSpec, answers: Sequence[Answers]) -> int:
    return len(_couples(spec, answers)) * len(answers[0].measured[0])


def _pairs(
    spec: CompareSpec, answers: Sequence[Answers], systems: Systems
) -> Iterator[comparison.Pair]:
    settings = pairs.Settings(
        randomise=spec.test == "randomisation", trials=spec.resamples, seed=spec.seed
    )
    rows = [
        (one, other, metric) for one, other in _couples(spec, answers) for metric in one.measured[0]
    ]
    found = [
        pairs.difference(systems[one.name, metric], systems[other.name, metric], settings)
        for one, other, metric in rows
    ]
    found = [_rounded(one) for one in found]
    corrected = holm([one.p for one in found])
    for (one, other, metric), apart, p_holm in zip(rows, found, corrected, strict=True):
        yield comparison.Pair(
            one=one.name,
            other=other.name,
            metric=metric,
            difference=apart.value,
            interval=apart.interval,
            error=apart.error,
            degrees=_round(apart.degrees) if math.isfinite(apart.degrees) else None,
            test=apart.test,
            p=apart.p,
            p_holm=_round(p_holm),
            covers=apart.covers,
            detectable=_detectable(apart, spec, tests=len(rows)),
            claim=claim(apart, p_holm, items=len(one.texts[0])),
            same_texts=_round(_same_share(one.texts, other.texts)),
            sacrebleu_p=None if apart.sacrebleu_p is None else _round(apart.sacrebleu_p),
        )


def _rounded(found: pairs.Difference) -> pairs.Difference:
    return replace(
        found,
        value=_round(found.value),
        interval=_round_both(found.interval),
        error=_round(found.error),
        p=_round(found.p),
    )


def _detectable(found: pairs.Difference, spec: CompareSpec, *, tests: int) -> float | None:
    if found.error == 0.0 or found.degrees <= 0.0:
        return None
    # the strictest of Holm's levels: what passes it passes wherever it stands in the order
    return _round(
        minimum_detectable(
            found.error, degrees=found.degrees, alpha=ALPHA / tests, power=spec.power
        )
    )


def _same_share(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> float:
    """Return the share of equal texts over all pairs of a run of one and a run of the other."""
    couples = [
        (first, second)
        for own, others in itertools.product(one, other)
        for first, second in zip(own, others, strict=True)
    ]
    return sum(first == second for first, second in couples) / len(couples)


def _warnings(answers: Sequence[Answers]) -> Iterator[str]:
    for system in answers:
        known = [model for model in system.models if model is not None]
        if len(known) > len(set(known)):
            yield (
                f"runs of `{system.name}` are texts of one model: they cover how text is drawn,"
                " not how a model is trained"
            )
        told = (w for run in system.measured for one in run.values() for w in one.warnings)
        yield from (f"{system.name}: {warning}" for warning in dict.fromkeys(told))
    for metric in answers[0].measured[0]:
        signatures = {run[metric].signature for system in answers for run in system.measured}
        if len(signatures) > 1:
            yield f"{metric} was not computed alike: {' and '.join(sorted(signatures))}"


def _round(value: float) -> float:
    return round(float(value), DIGITS)


def _round_both(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (_round(bounds[0]), _round(bounds[1]))
