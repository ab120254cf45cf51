"""Train a model on references: distillation with the objective nll and no teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ketchup_cli import corpora, objectives
from ketchup_cli.reporting import Reporter, how_often
from ketchup_cli.specs import TrainSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input


def plan(spec: TrainSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines."""
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    batch = f"batches of {spec.tokens_per_batch:,} tokens"
    validation = spec.validation
    return (
        ("train", f"objective nll(label_smoothing={spec.label_smoothing:g}), {spec.precision}"),
        ("plan", f"{spec.updates:,} updates x {batch}, {len(examples):,} examples"),
        (
            "dev",
            f"{validation.metric} on {validation.examples} of {validation.split},"
            f" {how_often(validation.every)}",
        ),
    )


def run(
    spec: TrainSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the trained model's folder; checkpoints live beside it until it is done.

    Raises:
        DataError: rows too long, or none left.
        NonFiniteError: the loss or a gradient is NaN or infinite.
    """
    from ketchup_cli.models.load import load_policy, precision_warnings, quiet
    from ketchup_cli.models.sources import reference_rows
    from ketchup_cli.stages import training
    from ketchup_cli.train.metrics import MetricsLog
    from ketchup_cli.train.resume import Checkpoints
    from ketchup_cli.train.run import Run

    quiet()
    accelerator = training.make_accelerator(spec)
    policy = load_policy(
        inputs["student"].path,
        device=str(accelerator.device),
        precision=spec.precision,
        dropout=spec.dropout,
    )
    for warning in precision_warnings(policy):
        reporter.note("warning", warning)
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    encoded = reference_rows(policy, examples, training.limits(spec))
    training.note_encoded(encoded, reporter, what="rows")
    dev = training.dev_set(policy, spec, inputs["corpus"].path, reporter=reporter)
    objective = "cmlm" if policy.fills_in else "nll"
    return training.run_training(
        Run(
            policy=policy,
            terms=objectives.terms([{"name": objective, "label_smoothing": spec.label_smoothing}]),
            spec=spec,
            sources={"data": training.row_source(policy, spec, encoded.rows, source="data")},
            teachers={},
            evaluate=dev.figures,
            checkpoints=Checkpoints(build.state_path),
            log=MetricsLog(build.log_path(training.LOG), listener=reporter.figures),
            reporter=reporter,
            accelerator=accelerator,
        ),
        build,
    )
