"""The spec of what measures a model on references, token by token.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, Device, Natural, TooLong


@final
class CalibrationSpec(Spec, frozen=True, kw_only=True):
    """Measure a model on the references of a split, token by token."""

    split: str = "test"
    """Split whose references the model reads."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    bins: Annotated[int, Meta(ge=1, le=1000)] = 15
    """Bins of confidence behind the calibration error, which depends on their number."""
    spacing: Literal["width", "mass"] = "width"
    """Whether bins are of equal width, or hold equally many tokens."""
    frequency_split: str = "train"
    """Split in whose references tokens are counted; empty tells nothing by frequency."""
    frequency_buckets: tuple[Count, ...] = (1, 10, 100, 1000)
    """Smallest counts of the buckets; tokens seen less often than the first are one of their own."""
    teacher: Literal["auto", "live", "cache", "none"] = "auto"
    """Whom to hold the model against: auto asks the teacher where one is at hand, else a cache of it."""
    resamples: Annotated[int, Meta(ge=100)] = 1000
    """Bootstrap samples, of examples, behind an interval."""
    seed: int = 0
    """Decides the bootstrap samples."""
    tokens_per_batch: Count = 4000
    """Padded prompt and completion tokens in one forward pass."""
    chunk_tokens: Count = 512
    """Tokens whose logits over the vocabulary exist at once."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    max_completion_tokens: Count = 256
    """Longest reference, its end token included."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    device: Device = "auto"
    """Where the models run."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the models' matrix products."""
