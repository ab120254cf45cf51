"""Text from files of many formats, and the rows of corpus and generation artifacts.

`imports` turns files into examples; `read_split` and `read_generations` read what stages wrote.
"""

from ketchup_cli.corpora.splits import (
    languages,
    read_generations,
    read_rollouts,
    read_split,
    split_names,
)

__all__ = ["languages", "read_generations", "read_rollouts", "read_split", "split_names"]
