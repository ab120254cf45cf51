"""Text from files of many formats, and the rows of corpus and generation artifacts.

`imports` turns files into examples; `read_split` and `read_generations` read what stages wrote.
"""

from ketchup_cli.corpora.splits import (
    PSEUDO_PROMPTS,
    PSEUDO_TARGETS,
    languages,
    read_both_directions,
    read_generations,
    read_pseudo_targets,
    read_rollouts,
    read_split,
    split_names,
)

__all__ = [
    "PSEUDO_PROMPTS",
    "PSEUDO_TARGETS",
    "languages",
    "read_both_directions",
    "read_generations",
    "read_pseudo_targets",
    "read_rollouts",
    "read_split",
    "split_names",
]
