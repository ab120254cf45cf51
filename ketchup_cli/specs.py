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
from ketchup_cli.spec_judge import JudgeSpec
from ketchup_cli.spec_parts import (
    Count,
    DecodingSpec,
    Device,
    Dtype,
    FiltersSpec,
    Natural,
    NonNegative,
    OptimizerSpec,
    Positive,
    ReplaySpec,
    RolloutSpec,
    Share,
    TokenizerSpec,
    TooLong,
    TrainingSpec,
    ValidationSpec,
)
from ketchup_cli.spec_rewards import RehearsalSpec, RewardSpec, RolloutsSpec

__all__ = [
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
    "OptimizerSpec",
    "RehearsalSpec",
    "ReplaySpec",
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

    later: ClassVar[frozenset[str]] = frozenset({"direction"})

    direction: Literal["forward", "reverse", "bidirectional"] = "forward"
    """Completions of prompts, a backward teacher's prompts for references, or both."""
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
    """bleu, chrf, chrf++, ter, rouge1, rouge2, rougeL, rougeLsum, exact, and gsm8k-strict,
    -flexible, -numeric; words, diversity and texts bring several figures each; bertscore needs an
    encoder."""
    tokenize: str = "auto"
    """sacreBLEU's tokenizer for BLEU and for all that counts words; auto follows the language the
    corpus declares."""
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
    """Split in whose references the metric `words` counts how often a word was seen."""
    frequency_buckets: tuple[Count, ...] = (1, 2, 3, 4, 5, 10, 100, 1000)
    """Smallest counts of its buckets; words seen less often than the first are one of their own."""
    self_bleu_pairs: Count = 500
    """Largest number of pairs of texts behind self-BLEU."""
    encoder_layer: Natural = 0
    """Layer of the encoder whose states bertscore matches, from 1; 0 is the last."""
    device: Device = "auto"
    """Where the encoder runs."""
    resamples: Annotated[int, Meta(ge=100)] = 1000
    """Bootstrap samples behind an interval."""
    seed: int = 0
    """Decides the bootstrap samples."""


@final
class LabSpec(Spec, frozen=True, kw_only=True):
    """Compare estimators of the policy gradient on one set of rollouts."""

    seed: int = 0
    """Decides the samples."""
    split: str = "train"
    """Split whose prompts are answered."""
    prompts: Count = 48
    """First prompts of the split that are not too short or too long; every batch answers them all."""
    prompt_tokens: tuple[Count, Count] = (1, 512)
    """Shortest and longest prompt that is taken (tokens)."""
    batches: Annotated[int, Meta(ge=8)] = 81
    """Independent batches, one gradient each: what the covariance is over."""
    samples: Count = 1
    """Completions per prompt in one batch; the baseline leave-one-out takes two."""
    temperature: Positive = 1.0
    """Logits are divided by it; 1 with top_k 0 and top_p 1 is ancestral sampling."""
    top_k: Natural = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Keep the most likely tokens up to this mass."""
    max_new_tokens: Count = 64
    """Tokens after which a completion is cut and counted as unfinished."""
    unfinished: Literal["terminal", "drop"] = "terminal"
    """What becomes of a cut completion: its last token taken as the end, or left out."""
    k: tuple[Count | Literal["all"], ...] = (1, 2, 4, 8, "all")
    """K of the KETCHUP estimators; all is beyond the end of every completion."""
    values: Annotated[tuple[Literal["max", "softmax", "lse"], ...], Meta(min_length=1)] = (
        "max",
        "softmax",
    )
    """Values of a state they use; each is combined with each K, and so are the following."""
    immediate: tuple[Literal["sampled", "exact"], ...] = ("sampled", "exact")
    """How a token's own q enters: by the token drawn, or summed over all tokens."""
    baselines: Annotated[tuple[str, ...], Meta(min_length=1)] = ("batch",)
    """Baselines, as `ketchup objectives ketchup` names them."""
    endings: tuple[Literal["paper", "released"], ...] = ("paper",)
    """Endings of the return."""
    clips: tuple[NonNegative, ...] = (0.0,)
    """Largest magnitudes of a weight; 0 is none."""
    form: Literal["adv", "q"] = "adv"
    """Weight of all of these: the return less the value of its own state, or the return itself."""
    normalise: Literal["none", "rms"] = "none"
    """rms divides the weights of a batch by their root mean square, which hides their size."""
    entropy: NonNegative = 0.0
    """Coefficient of the entropy bonus of all of these."""
    objectives: tuple[dict[str, Any], ...] = ()
    """Estimators beside them: any objective that learns from the student's own completions, as a
    table of its `name` and fields."""
    reference: tuple[dict[str, Any], ...] = ()
    """The one objective whose mean gradient all others are held against; if none is given, ketchup
    with K = 1, the same value (or the first of them) and the first baseline, sampled."""
    parameters: Literal["all", "decoder", "last-block"] = "decoder"
    """Whose gradient: all weights, those of the decoder's layers, or of the last of them."""
    memory_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30
    """Memory for sums of gradients, and as much of the disk while it runs: it decides into how many
    groups the batches are put, of which the intervals are made; never more than there are batches."""
    timed: Natural = 3
    """Batches on which each estimator is run by itself for its time; 0 times none."""
    chunk_tokens: Count = 512
    """Tokens whose teacher logits over the vocabulary exist at once."""
    device: Device = "auto"
    """Where both models run."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products of both models."""


@final
class AnglesSpec(Spec, frozen=True, kw_only=True):
    """See under which angles a student's states see the layers of its teacher."""

    split: str = "dev"
    """Split whose references both models read."""
    examples: Natural = 200
    """First examples of the split that are used; 0 uses all."""
    side: Literal["decoder", "encoder"] = "decoder"
    """Whose layers: the decoder's on the tokens of references, or the encoder's on those of prompts."""
    anchor: Count = 1
    """Layer of the teacher, counted from 1, to which the angles of all others are taken."""
    bins: Annotated[int, Meta(ge=2, le=1000)] = 40
    """Bins of a histogram, from a cosine of -1 to one of 1."""
    tokens_per_batch: Count = 4000
    """Padded prompt and completion tokens in one forward pass."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    max_completion_tokens: Count = 256
    """Longest completion, its end token included."""
    too_long: TooLong = "error"
    """What becomes of a longer one: error, truncate or skip; counted either way."""
    device: Device = "auto"
    """Where both models run."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the models' matrix products."""
