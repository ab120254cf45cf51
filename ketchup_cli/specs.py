"""The spec of every stage: what can be set, its unit and its default.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Any, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import (
    Count,
    DecodingSpec,
    Device,
    Dtype,
    FiltersSpec,
    Natural,
    OptimizerSpec,
    Positive,
    RolloutSpec,
    Share,
    TokenizerSpec,
    TooLong,
    TrainingSpec,
    ValidationSpec,
)

__all__ = [
    "CacheTeacherSpec",
    "CorpusSpec",
    "DecodingSpec",
    "DistillSpec",
    "FiltersSpec",
    "GenerateSpec",
    "NewModelSpec",
    "OptimizerSpec",
    "RolloutSpec",
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

    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "moses", "datasets"] = "auto"
    """Format of the files; auto reads it off the file name."""
    dataset: str = ""
    """Data set on the hub as `name@revision`, when no file and no folder is given."""
    prompt_field: str = "prompt"
    """Field that holds the prompt."""
    reference_field: tuple[str, ...] | str = "reference"
    """Field, or fields, that hold the references; a list in a field is several references."""
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

    architecture: Literal["t5", "bart", "marian", "gpt2", "llama"] = "t5"
    """Family of the model."""
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
    """Longest sequence of a model with position embeddings."""
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

    encoder: tuple[int, ...] | Natural = 2
    """Layers of the encoder to copy: their numbers from 0, or how many, evenly spaced up to the last."""
    decoder: tuple[int, ...] | Natural = 1
    """Layers of the decoder (or of a decoder-only model) to copy, given likewise."""
    save_dtype: Dtype = "float32"
    """Type of the weights in the artifact."""


@final
class TrainSpec(TrainingSpec, frozen=True, kw_only=True):
    """Train on references."""

    label_smoothing: Share = 0.1
    """Mass spread evenly over the vocabulary."""


@final
class CacheTeacherSpec(Spec, frozen=True, kw_only=True):
    """Write what the teacher says about completions to safetensors shards."""

    split: str = "train"
    """Split whose prompts are scored."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    completions: Literal["references", "pseudo-targets"] = "references"
    """Whose completions are scored."""
    top: Natural = 32
    """Largest logits kept per token; 0 keeps statistics only, the vocabulary's size keeps all."""
    temperatures: tuple[Positive, ...] = (1.0,)
    """Temperatures the log-sum-exp, the expectation and the tail are stored for."""
    gap_dtype: Literal["float16", "float32"] = "float16"
    """Type of the kept logits, stored as distances from the largest."""
    examples_per_shard: Count = 4096
    """Examples in one file; a killed run resumes at a shard."""
    tokens_per_batch: Count = 4000
    """Padded prompt and completion tokens in one forward pass."""
    chunk_tokens: Count = 512
    """Tokens whose logits over the vocabulary exist at once."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    max_completion_tokens: Count = 256
    """Longest completion, its end token included."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    device: Device = "auto"
    """Where the teacher runs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the teacher's layers in bfloat16; statistics stay float32."""


@final
class SeqkdSpec(Spec, frozen=True, kw_only=True):
    """Let the teacher write pseudo-targets."""

    split: str = "train"
    """Split whose prompts the teacher answers."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
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

    objective: tuple[dict[str, Any], ...] = ({"name": "ketchup"},)
    """Terms of the loss: `name`, `weight`, `prefixes`, and the objective's own fields."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    teacher: Literal["auto", "live", "cache"] = "auto"
    """auto reads a cache where one is at hand and can serve the objective."""
    rollout: RolloutSpec = RolloutSpec()
    chunk_tokens: Count = 512
    """Tokens whose teacher logits over the vocabulary exist at once."""


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
    """bleu, chrf, ter, rouge1, rouge2, rougeL, rougeLsum, exact, and gsm8k-strict, -flexible, -numeric."""
    tokenize: str = "13a"
    """sacreBLEU's tokenizer for BLEU."""
    stemmer: bool = True
    """Whether ROUGE stems words."""
    resamples: Annotated[int, Meta(ge=100)] = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Decides the bootstrap samples."""
