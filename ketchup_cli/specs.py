"""The spec of every stage: what can be set, its unit and its default.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Any, ClassVar, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_caches import CacheTeacherSpec, ImportCacheSpec
from ketchup_cli.spec_calibration import CalibrationSpec
from ketchup_cli.spec_circuits import CircuitsSpec
from ketchup_cli.spec_compare import CompareSpec
from ketchup_cli.spec_judge import JudgeSpec, OneJudgeSpec
from ketchup_cli.spec_lab import AnglesSpec, LabSpec
from ketchup_cli.spec_parts import (
    Count,
    DecodingSpec,
    Device,
    Dtype,
    FiltersSpec,
    Natural,
    OptimizerSpec,
    ReplaySpec,
    RolloutSpec,
    Share,
    TokenizerSpec,
    TooLong,
    TrainingSpec,
    ValidationSpec,
)
from ketchup_cli.spec_rare_words import RareWordsSpec
from ketchup_cli.spec_reverse import ReversalProbeSpec, ReverseSpec
from ketchup_cli.spec_rewards import RehearsalSpec, RewardSpec, RolloutsSpec

__all__ = [
    "AnglesSpec",
    "CacheTeacherSpec",
    "CalibrationSpec",
    "CircuitsSpec",
    "CompareSpec",
    "CorpusSpec",
    "DecodingSpec",
    "DistillSpec",
    "FiltersSpec",
    "GenerateSpec",
    "ImportCacheSpec",
    "JudgeSpec",
    "LabSpec",
    "MergeTeacherSpec",
    "NewModelSpec",
    "OneJudgeSpec",
    "OptimizerSpec",
    "RareWordsSpec",
    "RehearsalSpec",
    "ReplaySpec",
    "ReversalProbeSpec",
    "ReverseSpec",
    "RewardSpec",
    "RolloutSpec",
    "RolloutsSpec",
    "ScoreSpec",
    "SeqkdSpec",
    "ShrinkSpec",
    "TokenizerSpec",
    "TrainSpec",
    "TrainingSpec",
    "ValidationSpec",
]


@final
class CorpusSpec(Spec, frozen=True, kw_only=True):
    """Import text into a corpus artifact."""

    later: ClassVar[frozenset[str]] = frozenset({"document_field"})

    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "moses", "datasets"] = "auto"
    """Format of the files; auto reads it off the file name."""
    dataset: str = ""
    """Data set on the hub as `name@revision`, when no file and no folder is given."""
    prompt_field: str = "prompt"
    """Field that holds the prompt."""
    reference_field: tuple[str, ...] | str = "reference"
    """Field, or fields, that hold the references; a list in a field is several references."""
    document_field: str = ""
    """Field with the name of the document a row was taken from; empty where there is none."""
    template: str = "{prompt}"
    """The prompt's text: `{prompt}` is the prompt field, any other `{field}` that field."""
    bad_rows: Literal["error", "skip"] = "error"
    """What becomes of a row that cannot be used: error, or skipped and counted by reason."""
    max_characters: Count = 20_000
    """Longest prompt or reference; a longer one is a bad row."""
    languages: tuple[str, ...] = ()
    """Language codes of prompt and reference, for the metrics that must know."""


@final
class NewModelSpec(Spec, frozen=True, kw_only=True):
    """Make a tokenizer and a model with random weights."""

    architecture: Literal["t5", "bart", "marian", "gpt2", "llama", "cmlm"] = "t5"
    """Family of the model; cmlm fills in all tokens of a completion at once."""
    layers: Count = 4
    """Layers of the encoder, or of a decoder-only model."""
    decoder_layers: Natural = 0
    """Layers of the decoder of an encoder-decoder; 0 means as many as the encoder's."""
    width: Count = 256
    """Hidden size."""
    heads: Count = 4
    """Attention heads; must divide the width."""
    inner: Count = 1024
    """Inner size of the feed-forward layers."""
    positions: Count = 512
    """Longest sequence of a model with position embeddings; differences in length a cmlm knows."""
    dropout: Share = 0.1
    """Dropout in the model's own config."""
    tokenizer: TokenizerSpec = TokenizerSpec()
    seed: int = 0
    """Decides the weights."""
    save_dtype: Dtype = "float32"
    """Type of the weights in the artifact."""


@final
class ShrinkSpec(Spec, frozen=True, kw_only=True):
    """Make a student from a teacher by copying some of its layers."""

    later: ClassVar[frozenset[str]] = frozenset({"architecture"})

    architecture: Literal["same", "cmlm"] = "same"
    """Family of the student: the teacher's, or cmlm with the weights of a T5."""
    encoder: tuple[int, ...] | Natural = 2
    """Layers of the encoder to copy: their numbers from 0, or how many, evenly spaced up to the last."""
    decoder: tuple[int, ...] | Natural = 1
    """Layers of the decoder (or of a decoder-only model) to copy, given likewise."""
    save_dtype: Dtype = "float32"
    """Type of the weights in the artifact."""


@final
class MergeTeacherSpec(Spec, frozen=True, kw_only=True):
    """Make a model of a teacher and of what it learnt beside a student."""

    save_dtype: Dtype = "float32"
    """Type of the weights in the artifact."""


@final
class TrainSpec(TrainingSpec, frozen=True, kw_only=True):
    """Train on references."""

    label_smoothing: Share = 0.1
    """Mass spread evenly over the vocabulary."""


@final
class SeqkdSpec(Spec, frozen=True, kw_only=True):
    """Let the teacher write pseudo-targets."""

    later: ClassVar[frozenset[str]] = frozenset({"direction", "reversed_rows"})

    direction: Literal["forward", "reverse", "bidirectional"] = "forward"
    """Completions of prompts, a backward teacher's prompts for references, or both."""
    split: str = "train"
    """Split whose prompts the teacher answers."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    reversed_rows: bool = False
    """Whether rows told from last to first are answered too; else they are left out and counted."""
    decoding: DecodingSpec = DecodingSpec(method="beam")
    filters: FiltersSpec = FiltersSpec()
    seed: int = 0
    """Decides the samples."""
    examples_per_shard: Count = 1024
    """Examples decoded between two safe points of a killed run."""
    tokens_per_batch: Count = 4000
    """Padded prompt tokens times texts in one decoding batch."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    device: Device = "auto"
    """Where the teacher runs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the teacher's matrix products."""


@final
class DistillSpec(TrainingSpec, frozen=True, kw_only=True):
    """Train the student with any objective or mix."""

    asides: ClassVar[frozenset[str]] = frozenset({"gate"})
    later: ClassVar[frozenset[str]] = frozenset({"reward", "rehearsal"})

    objective: tuple[dict[str, Any], ...] = ({"name": "ketchup"},)
    """Terms of the loss: `name`, `weight`, `prefixes`, and the objective's own fields."""
    teacher: Literal["auto", "live", "cache"] = "auto"
    """auto reads a cache where one is at hand and can serve the objective."""
    rollout: RolloutSpec = RolloutSpec()
    replay: ReplaySpec = ReplaySpec()
    reward: RewardSpec = RewardSpec()
    rehearsal: RehearsalSpec = RehearsalSpec()
    chunk_tokens: Count = 512
    """Tokens whose teacher logits over the vocabulary exist at once."""
    gate: Literal["refuse", "warn"] = "refuse"
    """What a failed check before the run does: end it with 3, or warn and stand in its summary."""


@final
class GenerateSpec(Spec, frozen=True, kw_only=True):
    """Write a model's text for a split."""

    split: str = "test"
    """Split whose prompts are answered."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    decoding: DecodingSpec = DecodingSpec()
    seed: int = 0
    """Decides the samples."""
    examples_per_shard: Count = 1024
    """Examples decoded between two safe points of a killed run."""
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


@final
class ScoreSpec(Spec, frozen=True, kw_only=True):
    """Score generations against references."""

    metrics: tuple[str, ...] = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact")
    """bleu, chrf, chrf++, ter, rouge1, rouge2, rougeL, rougeLsum, exact, and gsm8k-strict, -flexible, -numeric;
    words, lexical, diversity and texts bring several figures each; bertscore needs an encoder, comet a
    checkpoint."""
    tokenize: str = "auto"
    """sacreBLEU's tokenizer for BLEU and all that counts words; auto follows the corpus' language."""
    stemmer: bool = True
    """Whether ROUGE stems words."""
    rouge_engine: Literal["auto", "reference"] = "auto"
    """auto takes rouge-score-rs where it is installed and gives rouge-score's own values on the
    first 200 texts; reference takes rouge-score."""
    rouge_lines: Literal["newline", "sentences", "none"] = "newline"
    """What rougeLsum takes for a sentence: a line, what a splitter finds, or the whole text."""
    rouge_words: Literal["ascii", "unicode"] = "ascii"
    """What ROUGE makes words of: a-z and digits, or letters of any script (comparable to nothing)."""
    pass_k: tuple[Count, ...] = ()
    """Every k of pass@k, taken of exact and gsm8k- metrics; needs as many texts per prompt."""
    frequency_split: str = "train"
    """Split in whose references `words` counts how often a word was seen, and in whose prompts `lexical`
    does, which learns there which words are which."""
    frequency_buckets: tuple[Count, ...] = (1, 2, 3, 4, 5, 10, 100, 1000)
    """Smallest counts of their buckets; words seen less often than the first are one of their own."""
    self_bleu_pairs: Count = 500
    """Largest number of pairs of texts behind self-BLEU."""
    encoder_layer: Natural = 0
    """Layer of the encoder whose states bertscore matches, from 1; 0 is the last."""
    device: Device = "auto"
    """Where the models of bertscore and comet run."""
    resamples: Annotated[int, Meta(ge=100)] = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Decides the bootstrap samples."""
