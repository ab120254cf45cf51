"""The specs of what makes teacher caches.

Changing a default changes ids and is a changelog entry.
"""

from typing import Annotated, Literal, final

from msgspec import Meta

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, Device, Natural, Positive, Share, TooLong


@final
class CacheTeacherSpec(Spec, frozen=True, kw_only=True):
    """Write what the teacher says about completions to safetensors shards."""

    split: str = "train"
    """Split whose prompts are scored."""
    examples: Natural = 0
    """First examples of the split that are used; 0 uses all."""
    completions: Literal["references", "pseudo-targets"] = "references"
    """Whose completions are scored."""
    keep: Literal["top", "sampled", "hidden"] = "top"
    """What is kept beside statistics: the largest logits, tokens drawn, or the last states."""
    top: Natural = 32
    """Largest logits kept per token; 0 keeps statistics only, the vocabulary's size keeps all."""
    draws: Annotated[int, Meta(ge=1, le=255)] = 50
    """Tokens drawn at each step, where `keep` is sampled."""
    seed: int = 0
    """Decides the draws."""
    state_dtype: Literal["float16", "float32"] = "float16"
    """Type of the kept states, where `keep` is hidden."""
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
class ImportCacheSpec(Spec, frozen=True, kw_only=True):
    """Make a teacher cache of the log-probabilities another tool has cached."""

    format: Literal["distillkit", "axolotl"] = "distillkit"
    """Who wrote the rows; `--from` sets it."""
    split: str = "train"
    """Split whose references the rows are about."""
    examples: Natural = 0
    """First examples of the split that are looked for; 0 looks for all."""
    temperature: Positive = 1.0
    """Temperature the log-probabilities were taken at."""
    top: Natural = 0
    """Entries kept per token; 0 keeps as many as every token has."""
    messages_field: str = "messages_combined"
    """Field of the conversation (axolotl): one prompt and one answer."""
    logprobs_field: str = "llm_text_generation_vllm_logprobs"
    """Field of the log-probabilities (axolotl)."""
    agreement: Share = 0.5
    """Least share of tokens that stand among the entries of their own step; below it rows and
    tokens are out of line."""
    gap_dtype: Literal["float16", "float32"] = "float16"
    """Type of the kept entries, stored as distances from the largest."""
    examples_per_shard: Count = 4096
    """Examples in one file."""
    max_prompt_tokens: Count = 512
    """Longest prompt."""
    max_completion_tokens: Count = 256
    """Longest completion, its end token included."""
