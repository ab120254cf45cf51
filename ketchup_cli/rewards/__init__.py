"""Rewards: whether a completion is right, and what it earns; runs without torch."""
