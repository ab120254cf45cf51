"""What may be claimed from figures over items and seeds: resampling, tests, correction, power.

Pure functions of arrays; the same for scores of texts and for verdicts of a judge. Arrays end in
their shape: N items, R runs (seeds) of a system, B resamples, K sufficient statistics.
"""
