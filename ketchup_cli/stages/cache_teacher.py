"""Write what the teacher says about every token of given completions, to read it back later."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from ketchup_cli import __version__, corpora
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.cache import (
    META,
    CacheMeta,
    ShardEntry,
    entries_in,
    shard_name,
    tail_masses,
)
from ketchup_cli.models.cached_teacher import SOURCES
from ketchup_cli.models.encode import Encoded, Limits, Row, by_length, collate
from ketchup_cli.models.generation.choosing import uniforms
from ketchup_cli.models.heads import HEAD, head_bytes, head_of
from ketchup_cli.models.layout import Layout
from ketchup_cli.models.load import load_policy, load_speech, precision_warnings, quiet
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.reduction import Request, score
from ketchup_cli.models.shard_writer import ShardWriter, columns_of
from ketchup_cli.models.sources import of_examples, pseudo_target_rows, reference_rows
from ketchup_cli.reporting import Progress, Reporter
from ketchup_cli.signals import Prefixes, to_device
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

SHARD_BYTES = 1 << 28
"""A shard is gathered in memory, so it holds fewer examples where they would take more."""

SAMPLE = 256
"""Examples by whose tokens the plan estimates those of all."""
OWN_STREAM = -1
"""Index of the random numbers of the draws: those of sampled texts count from 0."""


def plan(spec: CacheTeacherSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: rows, tokens, bytes per token, shards; loads no weights."""
    layout, rows, tokens = sizes(spec, inputs)
    size = tokens * layout.bytes_per_token
    shards = max(-(-rows // spec.examples_per_shard), -(-size // SHARD_BYTES))
    temperatures = ", ".join(str(item) for item in spec.temperatures)
    about = "" if spec.completions == "pseudo-targets" else "about "
    most = "at most " if spec.keep == "sampled" else ""
    return (
        (
            "plan",
            f"{_kept(layout)}, temperatures {temperatures}; {rows:,} {spec.completions} of split"
            f" {spec.split}, {about}{tokens:,} tokens -> {shards} shards, about"
            f" {size / 1e6:,.1f} MB ({most}{layout.bytes_per_token} B/token)",
        ),
    )


def sizes(spec: CacheTeacherSpec, inputs: Mapping[str, Input]) -> tuple[Layout, int, int]:
    """Return the layout, and about how many rows and tokens there will be.

    Raises:
        SpecError, NotFound, DataError: settings, a teacher or rows that do not allow it.
    """
    quiet()
    folder = inputs["teacher"].path
    spoken = load_speech(folder)
    layout = make_layout(
        spec,
        vocabulary=len(spoken.tokenizer),
        tokenizer=spoken.fingerprint,
        width=_width(folder) if spec.keep == "hidden" else 0,
    )
    return layout, *_estimate(spec, inputs, spoken.tokenizer)


def run(
    spec: CacheTeacherSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write shards, `meta.json` and `report.json`; finished shards of a killed run are kept.

    Raises:
        SpecError: settings the teacher's vocabulary does not allow.
        DataError: no rows, or rows longer than allowed.
        MismatchError: pseudo-targets of another tokenizer or corpus.
        NonFiniteError: the teacher's logits are NaN or infinite.
        NoSpace: the shards would not fit on the disk.
    """
    quiet()
    policy = load_policy(inputs["teacher"].path, device=spec.device, precision=spec.precision)
    for warning in precision_warnings(policy):
        reporter.note("warning", warning)
    head = head_of(policy)
    layout = make_layout(
        spec,
        vocabulary=policy.vocabulary,
        tokenizer=policy.fingerprint,
        width=head.weight_VH.shape[1] if spec.keep == "hidden" else 0,
    )
    encoded = _encode(spec, inputs, policy)
    spans = shard_spans(encoded.rows, layout, examples_per_shard=spec.examples_per_shard)
    missing = [
        row
        for number, span in enumerate(spans)
        if not build.has(shard_name(number))
        for row in encoded.rows[span.start : span.stop]
    ]
    build.require_space(sum(len(row.completion) for row in missing) * layout.bytes_per_token)
    if spec.keep == "hidden" and not build.has(HEAD):
        build.write_bytes(HEAD, head_bytes(head))
    done = len(encoded.rows) - len(missing)
    started = time.monotonic()
    with reporter.progress(
        "caching", total=len(encoded.rows), unit="examples", done=done
    ) as progress:
        for number, span in enumerate(spans):
            if not build.has(shard_name(number)):
                rows = encoded.rows[span.start : span.stop]
                writer = ShardWriter(layout, rows, first=span.start)
                fill(writer, rows, policy=policy, spec=spec, progress=progress)
                build.write_bytes(shard_name(number), writer.to_bytes())
    rate = round(len(missing) / (time.monotonic() - started), 2) if missing else None
    meta = _meta(spec, layout, encoded, spans=spans, folder=build.path)
    build.write_json(META, meta)
    return _finish(build, meta, label=inputs["teacher"].label) | {"rows_per_s": rate}


def amount(spec: CacheTeacherSpec, inputs: Mapping[str, Input]) -> int:
    """Return how many rows there are, without a tokenizer: what `rows_per_s` is about."""
    if spec.completions == "references":
        examples = corpora.read_split(inputs["corpus"].path, spec.split)
        return len(examples[: spec.examples or None])
    return sum(1 for _ in corpora.read_pseudo_targets(inputs["pseudo-targets"].path))


def make_layout(
    spec: CacheTeacherSpec, *, vocabulary: int, tokenizer: str, width: int = 0
) -> Layout:
    """Return what all shards of the cache have in common; `width` is the size of a state.

    Raises:
        SpecError: more entries than the vocabulary has, no temperature, one of them twice, or more
            than one to draw at.
    """
    if spec.keep == "top" and spec.top > vocabulary:
        raise SpecError(
            f"`top` is {spec.top:,}; the teacher's vocabulary has {vocabulary:,} entries",
            hint=f"--set top={min(32, vocabulary)}, or --set top={vocabulary} to keep all",
        )
    if not spec.temperatures or len(set(spec.temperatures)) < len(spec.temperatures):
        raise SpecError(
            f"`temperatures` is {list(spec.temperatures)}; name each once, and at least one",
            hint="--set 'temperatures=[1.0]'",
        )
    if spec.keep == "sampled" and len(spec.temperatures) > 1:
        raise SpecError(
            f"`temperatures` is {list(spec.temperatures)}; tokens are drawn at one of them",
            hint=f"--set 'temperatures=[{spec.temperatures[0]}]', and a cache for each other",
        )
    return Layout(
        vocabulary=vocabulary,
        top=spec.top if spec.keep == "top" else 0,
        temperatures=spec.temperatures,
        gap_dtype=spec.gap_dtype if spec.keep == "top" else "float16",
        tokenizer=tokenizer,
        keep=spec.keep,
        draws=spec.draws if spec.keep == "sampled" else 0,
        width=width,
        state_dtype=spec.state_dtype if spec.keep == "hidden" else "float16",
    )


def _kept(layout: Layout) -> str:
    """Return what a cache keeps beside statistics, in a few words."""
    if layout.keep == "sampled":
        return f"{layout.draws} draws"
    if layout.keep == "hidden":
        return f"last states of {layout.width} numbers"
    return f"top {layout.top}"


def _width(folder: Path) -> int:
    """Return the size of the states the output layer reads, by the model's config."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    found = getattr(config.get_text_config(decoder=True), "hidden_size", 0)
    return int(found)


def shard_spans(rows: Sequence[Row], layout: Layout, *, examples_per_shard: int) -> list[range]:
    """Return which rows go into which shard, in order: as many as the two limits allow."""
    tokens_per_shard = SHARD_BYTES // layout.bytes_per_token
    spans: list[range] = []
    first = tokens = 0
    for index, row in enumerate(rows):
        tokens += len(row.completion)
        if index > first and (index - first == examples_per_shard or tokens > tokens_per_shard):
            spans.append(range(first, index))
            first, tokens = index, len(row.completion)
    return [*spans, range(first, len(rows))]


def fill(
    writer: ShardWriter,
    rows: Sequence[Row],
    *,
    policy: Policy,
    spec: CacheTeacherSpec,
    progress: Progress,
) -> None:
    """Score the rows of one shard, in batches of like length, and hand the numbers to `writer`.

    Raises:
        NonFiniteError: the teacher's logits are NaN or infinite, or a state too large for its type.
    """
    request = Request(
        temperatures=spec.temperatures,
        top=writer.layout.top,
        chunk_tokens=spec.chunk_tokens,
    )
    source: Prefixes = SOURCES[spec.completions]
    for chosen in by_length(rows, spec.tokens_per_batch):
        own = [rows[index] for index in chosen]
        batch = collate(own, pad_id=policy.pad_id, source=source)
        if writer.layout.draws:
            u_NG = numbers_of(own, seed=spec.seed, draws=writer.layout.draws)
            request = replace(request, uniforms_NG=u_NG)
        reduced = score(policy, to_device(batch, policy.device), request)
        places_N = writer.places(chosen)
        writer.put(places_N, **columns_of(writer.layout, reduced))
        progress.advance(len(chosen), tokens=len(places_N))


def numbers_of(rows: Sequence[Row], *, seed: int, draws: int) -> Tensor:
    """Return the random numbers [N, G] of the draws at every step of some rows, row after row.

    They are known by seed, example id and step alone, so batches and shards move no draw.
    """
    return torch.cat([
        uniforms(seed, [(row.id, OWN_STREAM)], steps=len(row.completion) * draws).view(-1, draws)
        for row in rows
    ])


def _encode(spec: CacheTeacherSpec, inputs: Mapping[str, Input], policy: Policy) -> Encoded:
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    limits = Limits(
        prompt=spec.max_prompt_tokens,
        completion=spec.max_completion_tokens,
        too_long=spec.too_long,
    )
    if spec.completions == "references":
        encoded = reference_rows(policy, examples, limits)
    else:
        generations = corpora.read_pseudo_targets(inputs["pseudo-targets"].path)
        if spec.examples:
            generations = of_examples(generations, examples)
        encoded = pseudo_target_rows(policy, examples, generations, limits)
    if not encoded.rows:
        raise DataError(
            f"all {encoded.skipped} rows of split `{spec.split}` are longer than allowed",
            hint="raise max_prompt_tokens and max_completion_tokens",
        )
    return encoded


def _estimate(
    spec: CacheTeacherSpec, inputs: Mapping[str, Input], tokenizer: Any
) -> tuple[int, int]:
    if spec.completions == "pseudo-targets":
        generations = corpora.read_pseudo_targets(inputs["pseudo-targets"].path)
        return len(generations), sum(len(generation.tokens) for generation in generations)
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    stride = -(-len(examples) // SAMPLE)
    texts = [example.references[0] for example in examples[::stride] if example.references]
    if not texts:
        return len(examples), 0
    sizes = [
        len(ids) + (ids[-1:] != [tokenizer.eos_token_id])
        for ids in tokenizer(text_target=texts)["input_ids"]
    ]
    return len(examples), sum(sizes) * len(examples) // len(sizes)


def _meta(
    spec: CacheTeacherSpec,
    layout: Layout,
    encoded: Encoded,
    *,
    spans: Sequence[range],
    folder: Path,
) -> CacheMeta:
    sizes = [len(row.completion) for row in encoded.rows]
    return CacheMeta(
        format=layout.format,
        layout=layout,
        completions=spec.completions,
        split=spec.split,
        rows=len(sizes),
        tokens=sum(sizes),
        truncated=encoded.truncated,
        skipped=encoded.skipped,
        shards=tuple(
            ShardEntry(
                file=shard_name(number),
                rows=len(span),
                tokens=sum(sizes[span.start : span.stop]),
                entries=entries_in(folder / shard_name(number)) if layout.draws else 0,
            )
            for number, span in enumerate(spans)
        ),
    )


def _finish(build: Build, meta: CacheMeta, *, label: str) -> dict[str, Any]:
    """Write `report.json` from what the shards hold, and return the summary."""
    layout = meta.layout
    temperatures = ",".join(str(item) for item in layout.temperatures)
    counts: dict[str, Any] = {
        "rows": meta.rows,
        "tokens": meta.tokens,
        "truncated": meta.truncated,
        "skipped": meta.skipped,
    }
    summary, report = dict(counts), dict(counts)
    if layout.keep == "top":
        report["tail_mass_mean"] = tail_masses(build.path, meta)
        summary["tail_mass_mean"] = next(iter(report["tail_mass_mean"].values()))
    build.write_json("report.json", report)
    kept = {"top": f"top:{layout.top}", "sampled": f"draws:{layout.draws}", "hidden": "hidden"}
    return {
        **summary,
        "bytes_per_token": round(meta.bytes_per_token, 1)
        if layout.draws
        else layout.bytes_per_token,
        "shards": len(meta.shards),
        "signature": f"teacher:{label}|{kept[layout.keep]}|temp:{temperatures}"
        f"|tok:{layout.tokenizer[7:11]}|v:{__version__}",
    }
