"""pass@k: how likely one of k samples is right, where a metric says right or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring import exact
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.measurement import Figure, Measurement, mean_measurement
from ketchup_cli.scoring.settings import Settings

RIGHT = 100.0
"""What a metric of right or wrong says of a text that is right."""


def measure(
    names: Sequence[str],
    found: Mapping[str, tuple[Measurement | Figure, ...]],
    items: Items,
    settings: Settings,
) -> dict[str, tuple[Measurement | Figure, ...]]:
    """Return what was found of each named metric with its pass@k behind it.

    Args:
        names: metrics of right or wrong that were asked for.
        found: what each of them found on sample 0.
        items: with all samples.
        settings: with every k.

    Raises:
        SpecError: there is a k, and no metric of right or wrong.
        DataError: an example has fewer samples than k; three are named.
    """
    if not settings.pass_k:
        return {}
    if not names:
        raise SpecError(
            "pass@k needs a metric that is right or wrong",
            hint=f"add one of {', '.join(exact.NAMES)} to metrics, or leave out pass_k",
        )
    samples = items.samples or tuple((text,) for text in items.hypotheses)
    _check_enough(items.ids, samples, most=max(settings.pass_k))
    return {
        name: (*found[name], *_passes(name, found[name][0].signature, samples, items, settings))
        for name in names
    }


def pass_at(k: int, *, right: int, count: int) -> float:
    """Return the chance that k samples out of `count`, drawn without replacement, hold a right one.

        pass@k = 1 - C(n - c, k) / C(n, k)

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    return 1.0 - comb(count - right, k) / comb(count, k)


def right_counts(
    name: str, samples: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> list[int]:
    """Return how many samples of each example a metric of right or wrong calls right."""
    texts = [text for several in samples for text in several]
    repeated = [own for own, several in zip(references, samples, strict=True) for _ in several]
    (measured,) = exact.measure([name], texts, repeated)
    rows = iter(measured.items)
    return [sum(next(rows) == RIGHT for _ in several) for several in samples]


def _passes(
    name: str,
    signature: str,
    samples: Sequence[Sequence[str]],
    items: Items,
    settings: Settings,
) -> list[Measurement]:
    right = right_counts(name, samples, items.references)
    sizes = sorted({len(several) for several in samples})
    shown = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
    return [
        mean_measurement(
            f"{name}/pass@{k}",
            [
                100.0 * pass_at(k, right=count, count=len(several))
                for count, several in zip(right, samples, strict=True)
            ],
            f"{signature}|pass@{k}:unbiased|samples:{shown}",
        )
        for k in settings.pass_k
    ]


def _check_enough(ids: Sequence[str], samples: Sequence[Sequence[str]], *, most: int) -> None:
    short = [id for id, several in zip(ids, samples, strict=True) if len(several) < most]
    if short:
        named = ", ".join(f"`{id}`" for id in short[:3])
        raise DataError(
            f"{len(short)} examples have fewer than {most} samples, among them {named}",
            hint=f"ketchup generate --set decoding.method=sample --set decoding.texts={most}",
        )
