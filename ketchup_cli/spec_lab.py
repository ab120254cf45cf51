"""The specs of the stages that look at gradients and states: `lab` and `angles`.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Any, ClassVar, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, Device, Natural, NonNegative, Positive, TooLong


@final
class LabSpec(Spec, frozen=True, kw_only=True):
    """Compare estimators of the policy gradient on one set of rollouts."""

    later: ClassVar[frozenset[str]] = frozenset({"calculator"})

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
    calculator: bool = False
    """Whether `<<95*7=` is completed by `665>>`, with tokens the student does not choose."""
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
