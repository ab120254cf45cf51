"""Artifacts on disk: content-addressed, complete or absent."""
