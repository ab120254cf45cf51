"""Checks that models, text and caches belong together, one file a subject, each with evidence and a remedy."""
