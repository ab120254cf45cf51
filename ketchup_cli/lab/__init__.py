"""The laboratory: estimators of one gradient, compared on the same samples."""
