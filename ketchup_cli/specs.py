"""The spec of every stage: what can be set, its unit and its default.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Any, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Dtype = Literal["float32", "float16", "bfloat16"]
TooLong = Literal["error", "truncate", "skip"]
Device = Literal["auto", "cpu", "cuda", "mps"]


class DecodingSpec(Spec, frozen=True, kw_only=True):
    """How text is drawn from a model."""

    method: Literal["greedy", "beam", "sample"] = "greedy"
    """greedy, beam, or sample (ancestral, one random stream per example and sample)."""
    beams: Count = 4
    """Beams of `beam`; the other methods ignore it."""
    length_penalty: float = 1.0
    """Exponent of the length a beam's log-probability is divided by."""
    texts: Count = 1
    """Texts per prompt: samples, or the best of the beams."""
    temperature: Positive = 1.0
    """Logits are divided by it before sampling."""
    top_k: Natural = 0
    """Keep the k most likely tokens when sampling; 0 keeps all."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Keep the most likely tokens up to this mass when sampling."""
    max_new_tokens: Count = 128
    """Tokens after which a text is cut and counted as unfinished."""


class FiltersSpec(Spec, frozen=True, kw_only=True):
    """Which teacher texts do not become pseudo-targets; each is counted in the report."""

    unfinished: bool = True
    """Drop texts that did not end by themselves."""
    max_tokens: Natural = 0
    """Drop texts of more tokens; 0 keeps all."""
    max_length_ratio: NonNegative = 0.0
    """Drop texts more than this many times longer or shorter than the prompt (tokens); 0 keeps all."""
    max_repeat: Natural = 4
    """Drop texts in which some word pair occurs more often; 0 keeps all."""
    copies: bool = False
    """Drop texts equal to their prompt."""


class TokenizerSpec(Spec, frozen=True, kw_only=True):
    """The tokenizer `new-model` trains."""

    kind: Literal["unigram", "bpe"] = "unigram"
    """unigram (SentencePiece-like, for encoder-decoders) or bpe (byte level)."""
    vocabulary: Annotated[int, Meta(ge=16)] = 8000
    """Pieces, special tokens included."""


class OptimizerSpec(Spec, frozen=True, kw_only=True):
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "adafactor"] = "adamw"
    """adamw, or adafactor with parameter scaling (needed for T5 from random weights)."""
    learning_rate: Positive = 5e-4
    """Peak learning rate."""
    warmup: Natural = 100
    """Updates of linear rise."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """What follows the warm-up."""
    hold: Share = 0.0
    """Share of all updates before the fall begins."""
    floor: Share = 0.05
    """Share of the peak at the last update."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    betas: tuple[Share, Share] = (0.9, 0.98)
    """Decay rates of AdamW's two moments."""
    max_norm: NonNegative = 1.0
    """Gradient norm above which gradients are scaled down; 0 never does."""


class ValidationSpec(Spec, frozen=True, kw_only=True):
    """How training is watched on the dev split."""

    split: str = "dev"
    """Split the model is judged on; never trained on."""
    every: Natural = 200
    """Updates between validations; 0 validates at the end only."""
    examples: Count = 400
    """Examples of the split that are used, in file order."""
    metric: Literal["bleu", "chrf", "rougeL", "exact", "loss"] = "bleu"
    """What decides which weights are kept."""
    patience: Natural = 0
    """Validations without improvement before the run ends early; 0 never does."""
    max_new_tokens: Count = 128
    """Longest text decoded (greedily) for validation."""
    probe: Natural = 64
    """Examples on which the divergence from a live teacher is measured; 0 measures none."""
    guard: Natural = 3
    """Validations in a row with a rising return and a falling metric that end the run; 0 never."""


class RolloutSpec(Spec, frozen=True, kw_only=True):
    """How the student's own completions are drawn while it learns from them."""

    prompts: Count = 48
    """Prompts per update and process."""
    samples: Count = 4
    """Completions per prompt."""
    temperature: Positive = 1.0
    """Logits are divided by it; 1 with top_k 0 and top_p 1 is ancestral sampling."""
    top_k: Natural = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Keep the most likely tokens up to this mass."""
    max_new_tokens: Count = 64
    """Tokens after which a completion is cut and counted as unfinished."""
    unfinished: Literal["drop", "terminal"] = "drop"
    """What becomes of a cut completion: left out, or its last token taken as the end."""
    reuse: Count = 1
    """Updates taken on the same completions."""


class TrainingSpec(Spec, frozen=True, kw_only=True):
    """What every training run has in common."""

    seed: int = 0
    """Decides order, dropout and samples."""
    split: str = "train"
    """Split trained on."""
    updates: Count = 2000
    """Optimiser steps."""
    tokens_per_batch: Count = 2000
    """Padded prompt and completion tokens in one batch of data, per process."""
    accumulate: Count = 1
    """Batches per update."""
    dropout: Share = 0.1
    """Dropout while training; 0 for reinforcement learning."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    max_completion_tokens: Count = 256
    """Longest completion, its end token included."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    optimizer: OptimizerSpec = OptimizerSpec()
    validation: ValidationSpec = ValidationSpec()
    checkpoint_every: Natural = 200
    """Updates between checkpoints a killed run resumes from; 0 keeps none."""
    device: Device = "auto"
    """Where the model runs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the matrix products of the student in bfloat16 (autocast)."""
    save_dtype: Dtype = "float32"
    """Type of the weights in the artifact."""


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
