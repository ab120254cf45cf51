"""Make a teacher cache of log-probabilities that another tool has cached, row by row checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ketchup_cli import __version__, corpora
from ketchup_cli.errors import DataError, MismatchError
from ketchup_cli.models import foreign
from ketchup_cli.models.cache import META, CacheMeta, ShardEntry, shard_name, tail_masses
from ketchup_cli.models.encode import Limits
from ketchup_cli.models.layout import Layout
from ketchup_cli.models.load import load_policy, quiet
from ketchup_cli.models.shard_writer import ShardWriter, log_prob_columns
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import ImportCacheSpec
from ketchup_cli.stages.foreign_rows import (
    Entries,
    Wanted,
    compression_of,
    find_rows,
    row_files,
)
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input


def plan(spec: ImportCacheSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: the files, and what they must be about.

    Raises:
        NotFound: there are no rows to read, or they do not say how they were packed.
    """
    files = row_files(inputs["rows"].path)
    if spec.format == "distillkit":
        compression_of(inputs["rows"].path, files[0])
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    return (
        (
            "plan",
            f"{len(files)} {spec.format} files, for the references of {len(examples):,} examples of"
            f" split {spec.split}, at temperature {spec.temperature}",
        ),
    )


def run(
    spec: ImportCacheSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write shards, `meta.json` and `report.json`; the entries are held in memory until then.

    Raises:
        NotFound, DataError: rows that cannot be read, or an example without one.
        MismatchError: ids of another tokenizer, or rows out of line with their tokens.
    """
    quiet()
    policy = load_policy(inputs["student"].path, device="cpu")
    if spec.format == "distillkit" and policy.kind == "encoder-decoder":
        raise MismatchError(
            "DistillKit's rows are texts of decoder-only models; the student is an encoder-decoder",
            hint="name a decoder-only student: --student NAME",
        )
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    limits = Limits(prompt=spec.max_prompt_tokens, completion=spec.max_completion_tokens)
    wanted = [
        Wanted(examples[row.position], row) for row in reference_rows(policy, examples, limits).rows
    ]
    found, unused = find_rows(spec, inputs["rows"].path, wanted, policy=policy, reporter=reporter)
    agreement = _check(wanted, found, spec=spec, vocabulary=policy.vocabulary)
    layout = Layout(
        vocabulary=policy.vocabulary,
        top=_kept(spec, found),
        temperatures=(spec.temperature,),
        gap_dtype=spec.gap_dtype,
        tokenizer=policy.fingerprint,
        partial=True,
    )
    shards = _write(build, layout, wanted, found, size=spec.examples_per_shard)
    tokens = sum(len(item.row.completion) for item in wanted)
    meta = CacheMeta(
        format=layout.format,
        layout=layout,
        completions="references",
        split=spec.split,
        rows=len(wanted),
        tokens=tokens,
        truncated=0,
        skipped=0,
        shards=shards,
    )
    build.write_json(META, meta)
    counts = {"rows": len(wanted), "tokens": tokens, "unused": unused, "agreement": agreement}
    tails = tail_masses(build.path, meta)
    build.write_json("report.json", {**counts, "tail_mass_mean": tails})
    return {
        **counts,
        "tail_mass_mean": next(iter(tails.values())),
        "bytes_per_token": layout.bytes_per_token,
        "shards": len(shards),
        "signature": f"imported:{spec.format}|top:{layout.top}|temp:{spec.temperature}"
        f"|tok:{layout.tokenizer[7:11]}|v:{__version__}",
    }


def _check(
    wanted: Sequence[Wanted], found: Sequence[Entries], *, spec: ImportCacheSpec, vocabulary: int
) -> float:
    """Hold ids and masses against the tokenizer, and return the share of tokens among entries."""
    hits = total = 0
    for item, entries in zip(wanted, found, strict=True):
        place = f"the row of example `{item.example.id[:12]}`"
        for step, (own, token) in enumerate(zip(entries, item.row.completion, strict=True)):
            where = f"{place}, step {step},"
            if not own:
                raise DataError(f"{where} has no entry", hint="capture it again")
            most = max(entry[1] for entry in own)
            if most >= vocabulary or min(entry[1] for entry in own) < 0:
                raise MismatchError(
                    f"{where} has id {most}; the student's vocabulary has {vocabulary:,} entries",
                    hint="name a student with the tokenizer of the rows",
                )
            foreign.check_log_probs(own, where)
            hits += token in {entry[1] for entry in own}
            total += 1
    agreement = hits / max(1, total)
    if agreement < spec.agreement:
        raise MismatchError(
            f"only {100 * agreement:.0f} % of the tokens stand among the entries of their step; rows"
            f" and tokens are out of line, or of different texts",
            hint=f"--set agreement={agreement:.2f}, if you are sure that they belong together",
        )
    return round(agreement, 4)


def _kept(spec: ImportCacheSpec, found: Sequence[Entries]) -> int:
    """Return how many entries every token has, or as many of them as were asked for."""
    least = min(len(step) for entries in found for step in entries)
    if spec.top > least:
        raise DataError(
            f"a step has {least} entries; `top` asks for {spec.top}", hint=f"--set top={least}"
        )
    return spec.top or least


def _write(
    build: Build,
    layout: Layout,
    wanted: Sequence[Wanted],
    found: Sequence[Entries],
    *,
    size: int,
) -> tuple[ShardEntry, ...]:
    shards = []
    for number, first in enumerate(range(0, len(wanted), size)):
        rows = [item.row for item in wanted[first : first + size]]
        writer = ShardWriter(layout, rows, first=first)
        steps = [step for entries in found[first : first + size] for step in entries]
        writer.put(writer.places(range(len(rows))), **log_prob_columns(layout, steps))
        build.write_bytes(shard_name(number), writer.to_bytes())
        shards.append(ShardEntry(file=shard_name(number), rows=len(rows), tokens=len(steps)))
    return tuple(shards)
