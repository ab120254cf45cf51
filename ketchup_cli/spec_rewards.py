"""The specs of rewards, and of the rollouts they are taken of.

Changing a default changes ids and is a changelog entry.
"""

from typing import ClassVar, Literal, final

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, DecodingSpec, Device, Natural, Positive, Share, TooLong


@final
class RewardSpec(Spec, frozen=True, kw_only=True):
    """Whether a completion is right, and what it earns: two questions, two answers."""

    correct: str = ""
    """What says right or wrong: exact, gsm8k-strict, gsm8k-flexible, gsm8k-numeric, regex, or
    MODULE:FUNCTION of a file beside ketchup.toml; empty asks the shaped reward."""
    shaped: str = ""
    """What a completion earns: bleu, chrf, chrf++ or a rouge, each as a share of 1, any of the above,
    or MODULE:FUNCTION; empty gives 1 for right and 0 for wrong."""
    threshold: Share = 1.0
    """Shaped reward from which on a completion is right, where `correct` is empty."""
    pattern: str = ""
    """Regular expression of `regex`: its first group must read the same in a reference; without a
    group it must be found."""
    cut: Literal["wrong", "judged"] = "wrong"
    """What a completion is that did not end by itself: wrong and worth 0, or judged like others."""
    failed: Literal["drop", "wrong", "error"] = "drop"
    """What becomes of a completion whose reward failed: left out of training, wrong and worth 0, or
    the end of the run; counted either way."""
    time_limit_s: Positive = 5.0
    """Seconds a pattern or a function may take for one completion."""


@final
class RehearsalSpec(Spec, frozen=True, kw_only=True):
    """Which prompts of stored rollouts are known, and what of them is rehearsed."""

    threshold: Share = 0.75
    """Share of right samples from which on a prompt is known: rehearsed, and explored no more."""
    held: Natural = 1
    """Last samples of each prompt that are kept out of that share; the right ones among them are
    rehearsed. 0 rehearses the right ones of all."""


@final
class RolloutsSpec(Spec, frozen=True, kw_only=True):
    """Draw a model's completions with their log-probabilities, and reward them."""

    later: ClassVar[frozenset[str]] = frozenset({"reversed_rows"})

    split: str = "train"
    """Split whose prompts are answered."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    reversed_rows: bool = False
    """Whether rows told from last to first are answered too; else they are left out and counted."""
    decoding: DecodingSpec = DecodingSpec(method="sample", texts=8)
    reward: RewardSpec = RewardSpec()
    seed: int = 0
    """Decides the samples."""
    examples_per_shard: Count = 256
    """Examples answered between two safe points of a killed run."""
    tokens_per_batch: Count = 4000
    """Padded prompt tokens times texts in one decoding batch."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    device: Device = "auto"
    """Where the model runs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the model's matrix products."""
