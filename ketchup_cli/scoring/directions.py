"""Which end of a metric is good, and how it is written in a sentence."""

from collections.abc import Mapping
from typing import Literal

Better = Literal["higher", "lower", "neither"]

_LOWER = ("ter",)
_HIGHER = ("bleu", "chrf", "rouge", "exact", "gsm8k", "words", "bertscore", "comet")
_WRITTEN: Mapping[str, str] = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "exact": "exact match",
    "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
}  # fmt: skip


def better(metric: str) -> Better:
    """Return whether a higher or a lower value is better, or neither is known to be."""
    if metric.startswith(_LOWER):
        return "lower"
    return "higher" if metric.startswith(_HIGHER) else "neither"


def written(metric: str) -> str:
    """Return a metric's name as papers write it."""
    return _WRITTEN.get(metric, metric)
