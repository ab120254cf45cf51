"""The sentences at the top of a page: what was found, and no more than the intervals allow."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ketchup_cli.pages import words
from ketchup_cli.pages.models import parameters
from ketchup_cli.pages.sources import Sources
from ketchup_cli.pages.systems import System, base, comparable, metrics, systems

SHOWN = 6
"""Systems that are told one by one."""


def findings(sources: Sources, *, claims: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return sentences on what was found; the first is the most important one.

    Args:
        sources: all artifacts of the page.
        claims: what paired tests allow; they stand in place of what intervals alone would.

    Raises:
        Damaged: scores are not what their manifests say.
    """
    found = systems(sources)
    metric = next(iter(metrics(found)), None)
    if metric is not None:
        group = comparable(found, metric)[0]
        ordered = _ordered(group, metric)
        alone = (*_overlaps(ordered, metric), _runs(group))
        return (_values(ordered, metric), *(claims or alone), *_sizes(group))
    sentences = claims or tuple(_trained(sources))
    return sentences or ("Nothing here has been scored or trained yet.",)


def _ordered(group: Sequence[System], metric: str) -> list[System]:
    lower = metric in words.LOWER_IS_BETTER
    return sorted(group, key=lambda system: _value(system, metric), reverse=not lower)


def _values(ordered: Sequence[System], metric: str) -> str:
    figures = [(system.label, system.figure(metric)) for system in ordered]
    told = [
        f"{label} {words.interval(figure.value, figure.interval)}"
        for label, figure in figures[:SHOWN]
        if figure is not None
    ]
    first = ordered[0].figure(metric)
    assert first is not None
    items = f"{first.count:,} items" + (f" of {ordered[0].split}" if ordered[0].split else "")
    more = f" and {len(figures) - SHOWN} more below" if len(figures) > SHOWN else ""
    return f"{words.metric(metric)} on {items}: {words.listed(told)}{more}."


def _value(system: System, metric: str) -> float:
    figure = system.figure(metric)
    return figure.value if figure is not None else 0.0


def _overlaps(ordered: Sequence[System], metric: str) -> Iterator[str]:
    """Say which neighbours the intervals tell apart, if it is known which way is better."""
    if metric not in words.METRICS:
        return
    for upper, lower in pairwise(ordered[:SHOWN]):
        one, other = upper.figure(metric), lower.figure(metric)
        if one is None or other is None or one.interval is None or other.interval is None:
            continue
        if one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]:
            yield (
                f"The intervals of {upper.label} and {lower.label} overlap: these scores alone do"
                " not say which is better."
            )
        else:
            side = "below" if metric in words.LOWER_IS_BETTER else "above"
            yield f"The interval of {upper.label} lies {side} that of {lower.label}."


def _sizes(group: Sequence[System]) -> Iterator[str]:
    sized = [
        (count, base(system.model.name))
        for system in group
        if system.model is not None and (count := parameters(system.model, [system]))
    ]
    if len(sized) < 2:
        return
    largest, name = max(sized)
    smaller = sorted({(count, label) for count, label in sized if count < largest})
    shares: dict[int, list[str]] = {}
    for count, label in smaller:
        shares.setdefault(round(100 * count / largest), []).append(label)
    told = [
        f"{words.listed(labels)} {'has' if len(labels) == 1 else 'have'} {share} %"
        for share, labels in shares.items()
    ]
    if told:
        yield f"Of the parameters of {name}, {words.listed(told)}."


def _runs(group: Sequence[System]) -> str:
    return (
        "One run of each: these intervals do not cover what other seeds would give."
        if len(group) > 1
        else "One run: this interval does not cover what other seeds would give."
    )


def _trained(sources: Sources) -> Iterator[str]:
    for source in sources:
        sentence = source.summary.get("sentence") or source.summary.get("note")
        if source.asked and isinstance(sentence, str) and sentence:
            yield f"{source.name}: {sentence.rstrip('.')}."
