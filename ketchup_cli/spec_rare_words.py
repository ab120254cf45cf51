"""The spec of what measures pseudo-targets by the rare words they keep.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count


@final
class RareWordsSpec(Spec, frozen=True, kw_only=True):
    """Measure what pseudo-targets keep of rare words."""

    rare: Count = 5
    """Largest number of times a rare word stands in the split that the pseudo-targets answer."""
    tokenize: str = "auto"
    """sacreBLEU's tokenizer for words of both sides; auto follows the corpus' language."""
    resamples: Annotated[int, Meta(ge=100)] = 1000
    """Bootstrap samples, of examples, behind an interval."""
    seed: int = 0
    """Decides the bootstrap samples."""
