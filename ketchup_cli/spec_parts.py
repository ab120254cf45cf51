"""Tables that several specs have in common, and the types of their fields.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, ClassVar, Literal

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

    later: ClassVar[frozenset[str]] = frozenset({"iterations", "calculator"})

    method: Literal["greedy", "beam", "sample", "mask-predict"] = "greedy"
    """greedy, beam, sample (ancestral, one random stream per example and sample), or mask-predict,
    which is for a model of the architecture cmlm and the only one it knows."""
    beams: Count = 4
    """Beams of `beam`, lengths tried by `mask-predict`; the other methods ignore it."""
    iterations: Count = 10
    """Passes of the decoder in `mask-predict`; the other methods ignore it."""
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
    calculator: bool = False
    """Whether `<<95*7=` is completed by `665>>`, with tokens the model does not choose."""


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

    later: ClassVar[frozenset[str]] = frozenset({"digits"})

    kind: Literal["unigram", "bpe"] = "unigram"
    """unigram (SentencePiece-like, for encoder-decoders) or bpe (byte level)."""
    vocabulary: Annotated[int, Meta(ge=16)] = 8000
    """Pieces, special tokens included."""
    digits: Literal["merged", "single"] = "merged"
    """Whether digits that stand together may become one piece, or each is one of its own, as sums need."""


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

    later: ClassVar[frozenset[str]] = frozenset({"calculator"})

    split: str = "dev"
    """Split the model is judged on; never trained on."""
    every: Natural = 200
    """Updates between validations; 0 validates at the end only."""
    examples: Count = 400
    """Examples of the split that are used, in file order."""
    metric: Literal[
        "bleu", "chrf", "rougeL", "exact", "gsm8k-strict", "gsm8k-flexible", "gsm8k-numeric", "loss"
    ] = "bleu"
    """What decides which weights are kept, the loss between equals; BLEU is 0 where no reference has
    four words."""
    patience: Natural = 0
    """Validations without improvement before the run ends early; 0 never does."""
    max_new_tokens: Count = 128
    """Longest text decoded (greedily) for validation."""
    calculator: bool = False
    """Whether the decoded text has its sums completed, as `decoding.calculator` does."""
    probe: Natural = 64
    """Examples on which the divergence from a live teacher is measured; 0 measures none."""
    guard: Natural = 3
    """Validations in a row with a rising return and a falling metric that end the run, or with both
    sides of a preference falling that bring a warning; 0 never."""


class RolloutSpec(Spec, frozen=True, kw_only=True):
    """How the student's own completions are drawn while it learns from them."""

    later: ClassVar[frozenset[str]] = frozenset({"calculator"})

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
    teacher_share: Share = 0.0
    """Share of the teacher in the mixture every token is drawn from; 0 asks the student alone."""
    calculator: bool = False
    """Whether `<<95*7=` is completed by `665>>`, with tokens the student does not choose: no loss is
    taken on them."""


class ReplaySpec(Spec, frozen=True, kw_only=True):
    """Turns between data and the student's own completions, which are kept to be used again."""

    capacity: Natural = 0
    """Completions of the student that are kept; 0 keeps none and takes no turns."""
    share: Share = 0.5
    """Probability, at the start, that an update learns from the student's completions."""
    step: Share = 0.1
    """How much the share rises when the dev loss has risen."""
    tolerance: NonNegative = 0.1
    """Rise of the dev loss since the last validation that counts (nats a token)."""


class TrainingSpec(Spec, frozen=True, kw_only=True):
    """What every training run has in common."""

    seed: int = 0
    """Decides order, dropout and samples."""
    split: str = "train"
    """Split trained on."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
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
