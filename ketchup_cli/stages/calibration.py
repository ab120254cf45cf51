"""Measure a model on the references of a split: calibration, likelihood, agreement with its teacher.

Writes `scores.json`, one figure with interval and signature per metric, `items.jsonl`, the means of
every example, and `calibration.json`, the reliability table behind the calibration errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import msgspec

from ketchup_cli import __version__, corpora
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.records import ItemScores, Score, Unit
from ketchup_cli.reporting import Reporter
from ketchup_cli.scoring import foresight
from ketchup_cli.scoring.foresight import Bucket, Tokens
from ketchup_cli.scoring.measurement import intervals
from ketchup_cli.specs import CalibrationSpec
from ketchup_cli.stages.gate import gate
from ketchup_cli.stages.measured_teacher import Speaker, choose, said_by
from ketchup_cli.stages.teaching import load_live, open_cache
from ketchup_cli.statistics.resampling import LEVEL
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Encoded, Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import Teacher
    from ketchup_cli.models.token_figures import TokenFigures
    from ketchup_cli.scoring.measurement import Floats, Measurement

UNITS: Mapping[str, Unit] = {
    "nll": "nats",
    "kl": "nats",
    "reverse-kl": "nats",
    "perplexity": "ratio",
}
"""Units of the metrics that are no share."""


_BESIDE_A_TEACHER = ("top1-agreement", "kl", "reverse-kl", "tvd")


def plan(spec: CalibrationSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: whose references, how confidence is binned, who speaks for the teacher.

    Raises:
        SpecError: the limits of buckets do not rise, or the corpus has no such split.
        MismatchError: a cache is asked for, and it cannot tell.
    """
    check_buckets(spec)
    corpus = inputs["corpus"].path
    count = len(corpora.read_split(corpus, spec.split)[: spec.examples or None])
    speaker = choose(spec, inputs)
    lines = [
        ("plan", f"{count:,} references of {spec.split}, {spec.bins} bins of equal {spec.spacing}")
    ]
    if spec.frequency_split:
        seen = len(corpora.read_split(corpus, spec.frequency_split))
        names = ", ".join(bucket.name for bucket in foresight.buckets_of(spec.frequency_buckets))
        lines.append((
            "frequency",
            f"tokens seen {names} times in {seen:,} of {spec.frequency_split}",
        ))
    who = "none" if not speaker.role else f"{inputs[speaker.role].label}, {_HOW[speaker.role]}"
    lines.append(("teacher", f"{who}: {speaker.reason}" if speaker.reason else who))
    lines.append(("intervals", f"{LEVEL:.0%} bootstrap over examples, {spec.resamples} draws"))
    return tuple(lines)


_HOW = {"teacher": "live", "cache": "cached"}


def check_buckets(spec: CalibrationSpec) -> None:
    """Refuse limits of buckets that do not rise.

    Raises:
        SpecError: with the limits.
    """
    if list(spec.frequency_buckets) != sorted(set(spec.frequency_buckets)):
        raise SpecError(
            f"`frequency_buckets` is {list(spec.frequency_buckets)}; each must be above the one before",
            hint="--set 'frequency_buckets=[1, 10, 100]'",
        )


def run(
    spec: CalibrationSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `scores.json`, `items.jsonl` and `calibration.json`.

    Returns:
        The headline values with intervals and signatures.

    Raises:
        SpecError: no such split, or limits of buckets that do not rise.
        DataError: rows too long, without a reference, or none left.
        MismatchError: a teacher of another tokenizer, or a cache of other rows.
        CheckFailed: the model and its teacher do not speak alike in another way.
        NonFiniteError: the logits of the model or its teacher are NaN or infinite.
    """
    from ketchup_cli.models.load import load_policy, precision_warnings, quiet

    quiet()
    check_buckets(spec)
    speaker = choose(spec, inputs)
    policy = load_policy(inputs["model"].path, device=spec.device, precision=spec.precision)
    for warning in precision_warnings(policy):
        reporter.note("warning", warning)
    encoded = _encode(spec, inputs, policy)
    teacher = _teacher(spec, speaker, inputs, policy=policy, rows=encoded.rows, reporter=reporter)
    figures = _measure(spec, policy, encoded.rows, teacher, reporter)
    counts_V = _frequencies(spec, inputs, policy)
    tokens = _tokens(figures, counts_V)
    conf_N = tokens.values["confidence"]
    edges_K = foresight.bin_edges(conf_N, bins=spec.bins, spacing=spec.spacing)
    buckets = foresight.buckets_of(spec.frequency_buckets) if counts_V is not None else ()
    signature = _Signature(spec, inputs, speaker, tokenizer=policy.fingerprint)
    measured = foresight.measure(tokens, edges_K, signature=signature, buckets=buckets)
    scores = _scores(spec, measured)
    build.write_json("scores.json", msgspec.to_builtins(scores))
    build.write_rows("items.jsonl", _items(encoded.rows, measured))
    build.write_json("calibration.json", _table(spec, tokens, edges_K, buckets))
    _tell(scores, buckets, reporter)
    values = {score.metric: score.value for score in scores}
    return {
        "note": f"nll {values['nll']:.4f}, ece {values['ece']:.4f},"
        f" {len(encoded.rows):,} examples of {spec.split}",
        "split": spec.split,
        "examples": len(encoded.rows),
        "tokens": len(tokens.item_N),
        "truncated": encoded.truncated,
        "skipped": encoded.skipped,
        "teacher": speaker.role or "none",
        "scores": {score.metric: _headline(score) for score in scores},
        "bootstrap": {"level": LEVEL, "resamples": spec.resamples, "seed": spec.seed},
    }


def _encode(spec: CalibrationSpec, inputs: Mapping[str, Input], policy: Policy) -> Encoded:
    from ketchup_cli.models.encode import Limits
    from ketchup_cli.models.sources import reference_rows

    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    limits = Limits(
        prompt=spec.max_prompt_tokens,
        completion=spec.max_completion_tokens,
        too_long=spec.too_long,
    )
    encoded = reference_rows(policy, examples, limits)
    if not encoded.rows:
        raise DataError(
            f"all {encoded.skipped} rows of split `{spec.split}` are longer than allowed",
            hint="raise max_prompt_tokens and max_completion_tokens",
        )
    return encoded


def _teacher(
    spec: CalibrationSpec,
    speaker: Speaker,
    inputs: Mapping[str, Input],
    *,
    policy: Policy,
    rows: Sequence[Row],
    reporter: Reporter,
) -> Teacher | None:
    if speaker.role == "teacher":
        live = load_live(inputs["teacher"], policy, chunk_tokens=spec.chunk_tokens)
        gate(live.policy, policy, inputs, split=spec.split, reporter=reporter)
        return live
    if speaker.role == "cache":
        return open_cache(inputs["cache"], rows, policy)
    return None


def _measure(
    spec: CalibrationSpec,
    policy: Policy,
    rows: Sequence[Row],
    teacher: Teacher | None,
    reporter: Reporter,
) -> TokenFigures:
    from ketchup_cli.models.token_figures import measure_tokens

    with reporter.progress("measuring", total=len(rows), unit="examples") as progress:
        return measure_tokens(
            policy,
            rows,
            teacher=teacher,
            tokens_per_batch=spec.tokens_per_batch,
            chunk_tokens=spec.chunk_tokens,
            tell=lambda count, tokens: progress.advance(count, tokens=tokens),
        )


def _frequencies(
    spec: CalibrationSpec, inputs: Mapping[str, Input], policy: Policy
) -> Floats | None:
    """Return how often every token stands in the references of a split, the end token included."""
    import numpy

    if not spec.frequency_split:
        return None
    counts_V = numpy.zeros(policy.vocabulary, dtype=numpy.int64)
    for example in corpora.read_split(inputs["corpus"].path, spec.frequency_split):
        for ids in policy.completion_ids(example.references):
            numpy.add.at(counts_V, ids, 1)
    return counts_V


def _tokens(figures: TokenFigures, counts_V: Floats | None) -> Tokens:
    import numpy

    lengths_R = figures.lengths_R.numpy()
    return Tokens(
        item_N=numpy.repeat(numpy.arange(len(lengths_R)), lengths_R),
        items=len(lengths_R),
        values={name: value_N.numpy() for name, value_N in figures.values.items()},
        frequency_N=None if counts_V is None else counts_V[figures.tokens_N.numpy()],
    )


@final
class _Signature:
    """What changes the number of a metric, in one line."""

    def __init__(
        self,
        spec: CalibrationSpec,
        inputs: Mapping[str, Input],
        speaker: Speaker,
        *,
        tokenizer: str,
    ) -> None:
        limits = f"{spec.max_prompt_tokens}/{spec.max_completion_tokens}"
        self._bins = f"|bins:{spec.bins},{spec.spacing}|conf:largest"
        self._teacher = f"|teacher:{said_by(speaker, inputs)}"
        self._common = (
            "|tokens:first-reference+end|prefixes:reference|mean:tokens"
            f"|limits:{limits},{spec.too_long}|tok:{tokenizer[7:11]}|prec:{spec.precision}"
        )
        digest = inputs["corpus"].digest.removeprefix("sha256:")[:8]
        self._counted = f"references of {spec.frequency_split} of corpus {digest}"

    def __call__(self, metric: str) -> str:
        name, _, bucket = metric.rstrip("]").partition("[")
        own = self._bins if name == "ece" else ""
        if name in _BESIDE_A_TEACHER:
            own = self._teacher
        counted = f"|counts:{self._counted}|seen:{bucket}" if bucket else ""
        return f"{name}{own}{self._common}{counted}|v:{__version__}"


def _scores(spec: CalibrationSpec, measured: Sequence[Measurement]) -> list[Score]:
    bounds = intervals(measured, resamples=spec.resamples, seed=spec.seed)
    return [
        Score(
            metric=one.metric,
            value=one.value,
            interval=interval,
            count=int((one.statistics_NK[:, -1] > 0).sum()),
            signature=one.signature,
            details=dict(one.details),
            unit=UNITS.get(one.metric.rstrip("]").partition("[")[0], "share"),
        )
        for one, interval in zip(measured, bounds, strict=True)
    ]


def _items(rows: Sequence[Row], measured: Sequence[Measurement]) -> list[ItemScores]:
    """Return the means of every example; a calibration error of one example says nothing."""
    told = [one for one in measured if "[" not in one.metric and one.metric != "ece"]
    return [
        ItemScores(id=row.id, values={one.metric: one.items[number] for one in told})
        for number, row in enumerate(rows)
    ]


def _table(
    spec: CalibrationSpec, tokens: Tokens, edges_K: Floats, buckets: Sequence[Bucket]
) -> dict[str, Any]:
    return {
        "bins": spec.bins,
        "spacing": spec.spacing,
        "frequency_split": spec.frequency_split,
        "tokens": len(tokens.item_N),
        "all": foresight.reliability(tokens, edges_K),
        "seen": {
            bucket.name: foresight.reliability(tokens, edges_K, within=bucket) for bucket in buckets
        },
    }


def _tell(scores: Sequence[Score], buckets: Sequence[Bucket], reporter: Reporter) -> None:
    """Say every figure over all tokens, a line a bucket, and the signature that says most."""
    for score in scores:
        if "[" not in score.metric:
            reporter.note(score.metric, told(score))
    for bucket in buckets:
        own = [score for score in scores if score.metric.endswith(f"[{bucket.name}]")]
        words = [f"{score.metric.partition('[')[0]} {told(score)}" for score in own]
        reporter.note(f"seen {bucket.name}", ", ".join(words) or "no such token")
    (error,) = (score for score in scores if score.metric == "ece")
    reporter.note("signature", error.signature)


def told(score: Score) -> str:
    """Return a value with its interval, in words for a terminal."""
    if score.interval is None:
        return f"{score.value:.4f}"
    low, high = score.interval
    return f"{score.value:.4f} [{low:.4f}, {high:.4f}]"


def _headline(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "interval": None if score.interval is None else list(score.interval),
        "signature": score.signature,
        "unit": score.unit,
    }
