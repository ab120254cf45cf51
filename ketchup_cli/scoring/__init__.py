"""Figures for generated text; runs without torch."""

from ketchup_cli.scoring.bleu import BleuDetails, bleu_details
from ketchup_cli.scoring.report import NAMES, corpus_metric

__all__ = ["NAMES", "BleuDetails", "bleu_details", "corpus_metric"]
