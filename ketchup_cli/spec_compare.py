"""The spec of `compare`: which systems, on which figures, by which tests."""

from typing import Annotated, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec


@final
class CompareSpec(Spec, frozen=True, kw_only=True):
    """Test whether systems differ on a split."""

    systems: tuple[str, ...] = ()
    """Names of the systems, in the order of the command line; the first is what others are held against."""
    split: str = "test"
    """Split whose texts are compared."""
    metrics: Annotated[tuple[str, ...], Meta(min_length=1)] = ("bleu", "chrf")
    """Metrics, as for `score`; the first is what a gate looks at. Each one more is one test more to correct for."""
    tokenize: str = "auto"
    """sacreBLEU's tokenizer for BLEU; auto follows the language the corpus declares."""
    stemmer: bool = True
    """Whether ROUGE stems words."""
    rouge_engine: Literal["auto", "reference"] = "auto"
    """What reads ROUGE, as for `score`."""
    rouge_lines: Literal["newline", "sentences", "none"] = "newline"
    """What rougeLsum takes for a sentence, as for `score`."""
    rouge_words: Literal["ascii", "unicode"] = "ascii"
    """What ROUGE makes words of, as for `score`."""
    pairs: Literal["first", "all"] = "first"
    """Which pairs are tested: each system against the first, or all."""
    test: Literal["bootstrap", "randomisation"] = "bootstrap"
    """Test of a metric of the whole corpus between single runs; means over items have tests of their own."""
    power: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.8
    """Chance at which the smallest detectable difference would be found."""
    resamples: Annotated[int, Meta(ge=1000)] = 10_000
    """Bootstrap samples behind an interval, and random trials behind a test."""
    seed: int = 0
    """Decides them."""
