"""The spec of `judge`: what is asked of whom, and how hard to try."""

from typing import Annotated, ClassVar, Literal, final

from msgspec import Meta, field

from ketchup_cli.spec import Spec

Natural = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Positive = Annotated[float, Meta(gt=0.0)]


@final
class OwnTaskSpec(Spec, frozen=True, kw_only=True):
    """A task and what is judged of it, in a person's own words."""

    line: str = ""
    """What a judge reads: what the candidates were to do."""
    aspects: dict[str, str] = field(default_factory=dict)
    """Definition of each aspect by its name; none is no own task."""


@final
class OneJudgeSpec(Spec, frozen=True, kw_only=True):
    """One of several judges."""

    asides: ClassVar[frozenset[str]] = frozenset({
        "price_prompt", "price_cached", "price_completion",
    })  # fmt: skip

    model: str
    """As its server calls it."""
    base_url: str = ""
    """Where its server is; empty takes that of the table above."""
    price_prompt: NonNegative = 0.0
    """Of a million prompt tokens; where no price is given here, all are those of the table above."""
    price_cached: NonNegative = 0.0
    """Of a million prompt tokens the server had seen before; 0 takes that of others."""
    price_completion: NonNegative = 0.0
    """Of a million tokens of answers."""


@final
class JudgeSpec(Spec, frozen=True, kw_only=True):
    """Ask a language model which of two texts is better."""

    asides: ClassVar[frozenset[str]] = frozenset({
        "concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "request_s",
        "max_wait_s", "attempts", "budget", "price_prompt", "price_cached", "price_completion",
        "api_key_file", "api_key_files", "responses", "cache_only", "refresh",
    })  # fmt: skip
    later: ClassVar[frozenset[str]] = frozenset({"aspect_mode"})

    mode: Literal["pairwise", "rating"] = "pairwise"
    """pairwise asks which of two texts is better, rating how good one is, from 1 to 5."""
    systems: tuple[str, ...] = ()
    """Names of the systems; every two are compared, the first of two is x."""
    against: str = ""
    """Opponent of every system, in place of the other systems: a name, or `reference`."""
    split: str = "test"
    """Split whose texts are judged."""
    aspects: Annotated[tuple[str, ...], Meta(min_length=1)] = (
        "quality",
        "informativeness",
        "coherence",
    )
    """What is judged."""
    aspect_mode: Literal["separate", "joint"] = "separate"
    """separate asks about each aspect by itself; joint about all in one call, which is cheaper, but
    one impression then colours every answer."""
    task: str = "summary"
    """Whose definitions of the aspects are read: summary, translation or reasoning."""
    own_task: OwnTaskSpec = OwnTaskSpec()
    """A task of one's own in place of `task`; --aspects-file reads it from a file."""
    base_url: str = ""
    """Where the server is; its address usually ends in /v1."""
    model: str = ""
    """The judge, as the server calls it."""
    judges: tuple[OneJudgeSpec, ...] = ()
    """Several judges in place of `model`; each is asked everything."""
    protocol: Literal["auto", "json_schema", "json_object", "text", "logprob"] = "auto"
    """Form of an answer; auto takes the first that two plain questions are answered in, of ratings
    logprob before the others. logprob reads the probabilities of one token, or is refused."""
    examples: Natural = 500
    """Examples drawn from those that were answered; 0 takes all."""
    controls: Natural = 20
    """Questions whose right answer is known; 0 asks none."""
    repeats: Count = 1
    """Times each question is asked, as a question of its own."""
    with_reference: bool = False
    """Whether the judge is shown what people wrote."""
    max_tokens: Count = 512
    """Room for an answer, its reason included (tokens)."""
    temperature: NonNegative = 0.0
    """At which the judge writes."""
    max_characters: Count = 16_000
    """Where both candidates are cut."""
    max_unjudged: Share = 0.02
    """Share of calls that may come to nothing; above it nothing is published."""
    resamples: Annotated[int, Meta(ge=1000)] = 10_000
    """Bootstrap samples behind an interval, and sign flips behind a p."""
    seed: int = 0
    """Decides examples, controls, those, and the seed of every request."""

    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Most requests open at once; it begins with four. This and what follows is not part of the id."""
    requests_per_minute: NonNegative = 0.0
    """0 sets no pace."""
    tokens_per_minute: NonNegative = 0.0
    """Prompt and room for the answer together; 0 sets no pace."""
    timeout_s: Positive = 120.0
    """For one whole answer (s)."""
    request_s: Positive = 600.0
    """For all attempts of one request (s)."""
    max_wait_s: NonNegative = 900.0
    """Longest time a server may ask to wait (s)."""
    attempts: Count = 6
    """Attempts of one request."""
    budget: NonNegative = 0.0
    """Most that may be spent, in the unit of the prices; 0 sets no limit."""
    price_prompt: NonNegative = 0.0
    """Of a million prompt tokens."""
    price_cached: NonNegative = 0.0
    """Of a million prompt tokens the server had seen before; 0 takes that of others."""
    price_completion: NonNegative = 0.0
    """Of a million tokens of answers."""
    api_key_file: str = ""
    """File with the key, readable by its owner only; else KETCHUP_API_KEY or OPENAI_API_KEY."""
    api_key_files: dict[str, str] = field(default_factory=dict)
    """The same by host, where several are asked: a key goes to no other host than its own."""
    responses: str = ""
    """File of kept answers; else judge/responses.sqlite in the store."""
    cache_only: bool = False
    """Ask nobody: answer from what is kept."""
    refresh: bool = False
    """Ask again what is kept."""
