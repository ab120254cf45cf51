"""How much of the teacher's own speed `cache-teacher` keeps; at least 0.85 is asked of it.

    python benchmarks/cache.py

Both sides see the same rows in the same batches, in turn. The bare side is transformers' forward
pass with all logits and nothing else. The other side is what the command does once the model is
loaded: tokenize, pad, forward, reduce, gather, and write shards into a store, fsync included.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from readings import described
from subject import make_examples, make_policy

from ketchup_cli.models.encode import Limits, Row, by_length, collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.shard_writer import ShardWriter
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.records import Example
from ketchup_cli.reporting import SilentProgress
from ketchup_cli.signals import Batch
from ketchup_cli.spec import to_table
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages.cache_teacher import fill, make_layout, shard_spans
from ketchup_cli.store.build import Build, begin
from ketchup_cli.store.layout import Store

TARGET = 0.85
LIMITS = Limits(prompt=512, completion=256)


def main() -> None:
    """Print the ratio, both sides and the spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--examples", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--top", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    policy = make_policy(vocabulary=given.vocabulary)
    examples = make_examples(given.examples, vocabulary=given.vocabulary)
    spec = CacheTeacherSpec(top=given.top, examples_per_shard=1024)
    rows = reference_rows(policy, examples, LIMITS).rows
    batches = make_batches(policy, rows, spec)
    tokens = sum(len(row.completion) for row in rows)
    bare(policy, batches[:2])
    seconds = [
        (bare(policy, batches), cached(policy, examples, spec)) for _ in range(given.repeats)
    ]
    ratios = [without / with_it for without, with_it in seconds]
    parameters = policy.model.num_parameters()
    print(
        f"T5 of {parameters / 1e6:.1f} M parameters, vocabulary {given.vocabulary:,},"
        f" top {given.top}; {tokens:,} tokens, {torch.get_num_threads()} threads,"
        f" {given.repeats} repeats"
    )
    print("median [smallest to largest], completion tokens per second")
    print(f"bare forward    {described([tokens / pair[0] for pair in seconds], digits=0)}")
    print(f"cache-teacher   {described([tokens / pair[1] for pair in seconds], digits=0)}")
    print(f"ratio           {described(ratios)}   asked: at least {TARGET}")


def make_batches(policy: Policy, rows: Sequence[Row], spec: CacheTeacherSpec) -> list[Batch]:
    """Return the batches `cache-teacher` makes of these rows."""
    layout = make_layout(spec, vocabulary=policy.vocabulary, tokenizer="")
    spans = shard_spans(rows, layout, examples_per_shard=spec.examples_per_shard)
    shards = [rows[span.start : span.stop] for span in spans]
    return [
        collate([shard[index] for index in chosen], pad_id=policy.pad_id, source="data")
        for shard in shards
        for chosen in by_length(shard, spec.tokens_per_batch)
    ]


@torch.no_grad()
def bare(policy: Policy, batches: Sequence[Batch]) -> float:
    """Return the seconds of the forward passes alone."""
    started = time.perf_counter()
    for batch in batches:
        start_B1 = torch.full_like(batch.tokens_BT[:, :1], policy.start_id)
        policy.model(
            input_ids=batch.prompt_BS,
            attention_mask=batch.prompt_mask_BS,
            decoder_input_ids=torch.cat([start_B1, batch.tokens_BT[:, :-1]], dim=1),
            use_cache=False,
        )
    return time.perf_counter() - started


def cached(policy: Policy, examples: Sequence[Example], spec: CacheTeacherSpec) -> float:
    """Return the seconds from text to durable shards."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        store = Store.open(Path(folder) / "runs")
        with begin(
            store, kind="teacher-cache", version=1, spec=to_table(spec), inputs=[], label="bench"
        ) as build:
            started = time.perf_counter()
            _write(policy, examples, spec, build)
            return time.perf_counter() - started


def _write(
    policy: Policy, examples: Sequence[Example], spec: CacheTeacherSpec, build: Build
) -> None:
    rows = reference_rows(policy, examples, LIMITS).rows
    layout = make_layout(spec, vocabulary=policy.vocabulary, tokenizer=policy.fingerprint)
    spans = shard_spans(rows, layout, examples_per_shard=spec.examples_per_shard)
    for number, span in enumerate(spans):
        chosen = rows[span.start : span.stop]
        writer = ShardWriter(layout, chosen, first=span.start)
        fill(writer, chosen, policy=policy, spec=spec, progress=SilentProgress())
        build.write_bytes(f"shard-{number:05d}.safetensors", writer.to_bytes())


if __name__ == "__main__":
    main()
