"""What a model still solves of what another solved, and what it solves that the other did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ketchup_cli.errors import SpecError
from ketchup_cli.scoring import exact
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Figure, Measurement, ratio_measurement
from ketchup_cli.scoring.passes import right_counts

Outcomes = tuple[Measurement | Figure, ...]


def measure(
    names: Sequence[str], found: Mapping[str, Outcomes], items: Items
) -> dict[str, Outcomes]:
    """Return what was found of each named metric with what is kept and what is new behind it.

        keep = solved by both / solved by the base        new = solved now alone / not solved by the base

    An example is solved where one of its samples is right: a mean over samples can rise while the
    examples that are solved at all become fewer.

    Args:
        names: metrics of right or wrong that were asked for.
        found: what each of them found.
        items: with the samples of both.

    Raises:
        SpecError: there is a base, and no metric of right or wrong.
    """
    if not items.base:
        return {}
    if not names:
        raise SpecError(
            "what a base solved needs a metric that is right or wrong",
            hint=f"add one of {', '.join(exact.NAMES)} to metrics, or leave out --base",
        )
    return {name: (*found[name], *_gains(name, found[name][0].signature, items)) for name in names}


def _gains(name: str, signature: str, items: Items) -> list[Measurement]:
    samples = items.samples or tuple((text,) for text in items.hypotheses)
    before, now = (
        [count > 0 for count in right_counts(name, several, items.references)]
        for several in (items.base, samples)
    )
    both = zip(before, now, strict=True)
    rows = [(b and n, b, n and not b, not b) for b, n in both]
    kept, solved, new, open_ = (
        [float(value) for value in column] for column in zip(*rows, strict=True)
    )
    sides = (("keep", kept, solved), ("new", new, open_))
    most = f"any of {max(map(len, samples))}|base:any of {max(map(len, items.base))}"
    measured = [
        ratio_measurement(f"{name}/{side}", above, below, signature=f"{signature}|{side}|{most}")
        for side, above, below in sides
        if any(below)
    ]
    missing = [side for side, _, below in sides if not any(below)]
    if missing:
        why = {"keep": "the base solved nothing", "new": "the base solved everything"}[missing[0]]
        measured[0] = replace(measured[0], warnings=(f"no {name}/{missing[0]}: {why}",))
    return measured
