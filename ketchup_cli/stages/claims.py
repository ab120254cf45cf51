"""The sentences of a comparison: what may be said, what may not, and how small a difference shows."""

from collections.abc import Iterator, Sequence

from ketchup_cli.stages.comparison import Comparison, Pair, System, of_metric
from ketchup_cli.statistics.claims import ITEMS_ASKED, SEEDS_ASKED, in_quality

SHOWN = ("higher", "lower")


def sentences(found: Comparison) -> tuple[str, ...]:
    """Return what a comparison says, pair by pair; no claim without its test, interval and scope."""
    couples = dict.fromkeys((pair.one, pair.other) for pair in found.pairs)
    said = (
        sentence
        for one, other in couples
        for sentence in _of_couple(
            found, [pair for pair in found.pairs if (pair.one, pair.other) == (one, other)]
        )
    )
    return tuple(dict.fromkeys(said))


def _of_couple(found: Comparison, pairs: Sequence[Pair]) -> Iterator[str]:
    by_name = {system.name: system for system in found.systems}
    one, other = by_name[pairs[0].one], by_name[pairs[0].other]
    if all(pair.claim == "no difference" for pair in pairs):
        yield _nothing_to_test(found, pairs)
        return
    if any(pair.claim == "too few items" for pair in pairs):
        yield (
            f"You may not say anything of {other.name} against {one.name} yet:"
            f" {found.examples} examples are too few for a claim, {ITEMS_ASKED} are asked."
        )
        return
    shown = [pair for pair in pairs if pair.claim in SHOWN]
    if shown:
        yield _claim(found, one, other, shown)
    missing = [pair for pair in pairs if pair.claim not in SHOWN]
    if missing:
        yield _no_claim(found, missing, alone=not shown)
    yield from _seeds(one, other)
    yield from _power(found, pairs)


def _nothing_to_test(found: Comparison, pairs: Sequence[Pair]) -> str:
    names = f"{pairs[0].other} and {pairs[0].one}"
    same = pairs[0].same_texts == 1.0
    what = "wrote the same text for" if same else "have the same figures on"
    return (
        f"{names} {what} every one of the {found.examples:,} examples: there is no difference to"
        " test."
    )


def _claim(found: Comparison, one: System, other: System, shown: Sequence[Pair]) -> str:
    several = len(one.generations) > 1 or len(other.generations) > 1
    if min(len(one.generations), len(other.generations)) >= SEEDS_ASKED:
        first, verb, second = other.name, "is", one.name
    elif several:
        first, verb, second = f"these runs of {other.name}", "are", f"those of {one.name}"
    else:
        first, verb, second = f"this run of {other.name}", "is", f"this run of {one.name}"
    words: dict[str, list[str]] = {}
    for pair in shown:
        metric = of_metric(found, pair.metric)
        word = in_quality(pair.claim, metric.better)
        words.setdefault(word, []).append(f"{metric.name} ({_bounds(pair)})")
    parts = " and ".join(f"{word} than {second} in {_listed(of)}" for word, of in words.items())
    return (
        f"You may say: on these {found.examples:,} examples of {found.split}, {first} {verb} {parts}"
        f" ({_tests(shown)}, {found.level:.0%}, Holm-corrected p < {found.alpha})."
    )


def _no_claim(found: Comparison, missing: Sequence[Pair], *, alone: bool) -> str:
    metrics = _listed([of_metric(found, pair.metric).name for pair in missing], last="or")
    start = "You may not say that" if alone else "You may not say more:"
    names = f"{missing[0].other} and {missing[0].one} differ: " if alone else ""
    return (
        f"{start} {names}no difference was shown in {metrics} ({_tests(missing)}); that does not"
        " make them equal."
    )


def _seeds(one: System, other: System) -> Iterator[str]:
    counts = (len(one.generations), len(other.generations))
    if counts == (1, 1):
        yield "One run each: seeds are not covered, and other seeds may give another answer."
    elif 1 in counts:
        single, several = sorted((one, other), key=lambda system: len(system.generations))
        yield (
            f"{single.name} has one run and {several.name} {len(several.generations)}: seeds are"
            " not covered, and other seeds may give another answer."
        )
    elif min(counts) < SEEDS_ASKED:
        yield (
            f"{min(counts)} runs of a system are too few for a claim about methods;"
            f" {SEEDS_ASKED} are asked: where the seeds of two systems spread unequally, a 95%"
            " interval from two runs each may hold the truth only 91 times in 100."
        )


def _power(found: Comparison, pairs: Sequence[Pair]) -> Iterator[str]:
    known = [
        f"{_size(pair.detectable)} {of_metric(found, pair.metric).name}"
        for pair in pairs
        if pair.detectable is not None
    ]
    if known:
        between = f" between {pairs[0].one} and {pairs[0].other}" if len(found.systems) > 2 else ""
        corrected = f", corrected for {found.tests} tests" if found.tests > 1 else ""
        yield (
            f"The smallest difference{between} that this could have shown with"
            f" {found.power:.0%} power{corrected}: {_listed(known)}."
        )


def _tests(pairs: Sequence[Pair]) -> str:
    """Return the tests and what they go over, each once."""
    named = dict.fromkeys(
        pair.test if pair.test.endswith(pair.covers) else f"{pair.test} over {pair.covers}"
        for pair in pairs
    )
    return _listed(list(named))


def _bounds(pair: Pair) -> str:
    assert pair.interval is not None
    low, high = pair.interval
    return f"{pair.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def _size(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.1g}"


def _listed(words: Sequence[str], *, last: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
