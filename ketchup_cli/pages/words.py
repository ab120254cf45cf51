"""Numbers, sizes and names as people read them, and text that cannot hide anything."""

import re
from collections.abc import Mapping
from typing import Any

from ketchup_cli.store.manifest import Manifest

SHORT_ID = 8
"""Hexadecimal digits of an id or digest that are shown."""
NOTHING = "\u2013"
"""A dash where a table has no figure."""
MINUS = "\u2212"
TOGETHER = "\u00a0"
"""A space at which no line ends."""

METRICS: Mapping[str, str] = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf++": "chrF++",
    "ter": "TER",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "exact": "exact match",
    "gsm8k-strict": "GSM8K strict",
    "gsm8k-flexible": "GSM8K flexible",
    "gsm8k-numeric": "GSM8K numeric",
}
"""Metrics as their papers write them."""
LOWER_IS_BETTER = frozenset({"ter"})

# C0 and C1 but tab and newline, and what changes the direction or the presence of other characters
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
    "|[\U000e0000-\U000e007f]|[\ud800-\udfff]"
)


def shown(text: str) -> str:
    """Return `text` with every control, direction and zero-width character spelt as ⟨U+202E⟩."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))


def short(text: str) -> str:
    """Return the first eight hexadecimal digits of an id or a digest."""
    return text.removeprefix("sha256:")[:SHORT_ID]


def metric(name: str) -> str:
    """Return the name of a metric as its paper writes it, or as it is."""
    return METRICS.get(name, name)


def number(value: float | None) -> str:
    """Return a number of at most four digits that matter, or a dash where there is none."""
    if value is None:
        return NOTHING
    if value == 0 or 0.001 <= abs(value) < 10_000:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
        return f"{value:,.{digits if abs(value) >= 0.1 or value == 0 else 4}f}".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS)


def interval(value: float, bounds: tuple[float, float] | None, *, digits: int = 1) -> str:
    """Return `34.2 [32.5, 35.7]`, which no line end divides, or the value alone."""
    told = f"{value:.{digits}f}"
    if bounds is None:
        return told
    return f"{told}{TOGETHER}[{bounds[0]:.{digits}f},{TOGETHER}{bounds[1]:.{digits}f}]"


def known(value: float | None, bounds: tuple[float, float] | None, *, digits: int) -> str:
    """Return a value with its interval, or a dash where there is none."""
    return NOTHING if value is None else interval(value, bounds, digits=digits)


def ends(bounds: tuple[float, float] | None, *, digits: int) -> str:
    """Return `0.60, 0.75`, or nothing."""
    return "" if bounds is None else ", ".join(f"{end:.{digits}f}" for end in bounds)


def share(value: float | None) -> str:
    """Return a share as `82 %`, or a dash where there is none."""
    return NOTHING if value is None else f"{100 * value:.0f}{TOGETHER}%"


def listed(items: list[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def stage(manifest: Manifest) -> str:
    """Return the stage that made an artifact, or its kind where the signature does not say."""
    name, sign, _ = manifest.signature.partition("/")
    return name if sign else manifest.kind


def settings(manifest: Manifest) -> tuple[str, ...]:
    """Return the settings of an artifact that were not defaults, as `key value`."""
    roles = {item.role for item in manifest.inputs} | {"v"}
    parts = manifest.signature.split("|")[1:]
    return tuple(
        part.removeprefix("objective:").replace(":", " ", 1)
        for part in parts
        if part.partition(":")[0] not in roles
    )


def plain(value: Any) -> str:
    """Return a setting or a figure in words."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " ".join(map(plain, value))
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
