"""Figures for generated text; runs without torch."""
