"""Losses held against the axioms of a reverse derivative, in float64, without a model."""
