"""See under which angles a student's states see the layers of its teacher.

Writes `angles.json`, mean, share of acute angles and histogram for every pair of layers, and
`angles.svg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import AnglesSpec
from ketchup_cli.stages.gate import gate
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from torch import Tensor

    from ketchup_cli.lab.angles import Angles
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.signals import Batch

DOCUMENT, PLOT = "angles.json", "angles.svg"


def plan(spec: AnglesSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: which states are looked at.

    Raises:
        SpecError: no such split.
    """
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    return (
        (
            "plan",
            f"angles to layer {spec.anchor} of the teacher's {spec.side}, on {len(examples):,}"
            f" examples of {spec.split}",
        ),
    )


def run(
    spec: AnglesSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `angles.json` and `angles.svg`; a killed run begins again.

    Raises:
        SpecError: no such split, or the teacher has no such layer.
        MismatchError: models with other tokenizers, or with states of other widths.
        CheckFailed: models that do not speak alike in another way.
        DataError: rows without a reference, too long, or none left.
    """
    from ketchup_cli.lab.angle_plot import svg
    from ketchup_cli.lab.angles import Angles, document, overall, table
    from ketchup_cli.models.load import precision_warnings, quiet

    quiet()
    student, teacher = _models(spec, inputs)
    for warning in precision_warnings(student):
        reporter.note("warning", warning)
    gate(teacher, student, inputs, split=spec.split, reporter=reporter)
    rows = _rows(spec, inputs, student, reporter)
    angles = Angles(anchor=spec.anchor, bins=spec.bins)
    tokens = _measure(spec, rows, (student, teacher), angles=angles, reporter=reporter)
    seen = angles.seen()
    build.write_json(DOCUMENT, document(seen, anchor=spec.anchor, tokens=tokens))
    build.write_bytes(PLOT, svg(seen, anchor=spec.anchor))
    told = (
        f"to layer {spec.anchor} of the teacher's {spec.side}: mean cosine, share of acute angles"
    )
    reporter.note("angles", told)
    for row in table(seen):
        reporter.note("", row)
    found = overall(seen, anchor=spec.anchor)
    return {"note": _note(found), "tokens": tokens, **found}


def _note(found: Mapping[str, float | None]) -> str:
    if found["mean"] is None or found["acute"] is None:
        return "no angles: the teacher has one layer, or the student's states are its own"
    return f"mean cosine {found['mean']:.3f}, {found['acute']:.1%} acute"


def _models(spec: AnglesSpec, inputs: Mapping[str, Input]) -> tuple[Policy, Policy]:
    """Return student and teacher, whose states can be compared."""
    from ketchup_cli.models.load import check_same_tokenizer, load_policy
    from ketchup_cli.train.extras import sizes_of

    student, teacher = (
        load_policy(inputs[role].path, device=spec.device, precision=spec.precision)
        for role in ("student", "teacher")
    )
    check_same_tokenizer(teacher, student)
    sizes = sizes_of(student, teacher)
    if sizes.student_width != sizes.teacher_width:
        raise MismatchError(
            f"the student's states have width {sizes.student_width}, the teacher's"
            f" {sizes.teacher_width}; there are no angles between them",
            hint="use a student of the teacher's width, as ketchup shrink makes them",
        )
    layers = sizes.teacher_layers
    if spec.side == "encoder":
        layers = sizes.teacher_encoder_layers
    if spec.anchor > layers:
        raise SpecError(
            f"`anchor` is {spec.anchor}; the teacher's {spec.side} has {layers} layers",
            hint="--set anchor=1" if layers else "--set side=decoder",
        )
    return student, teacher


def _rows(
    spec: AnglesSpec, inputs: Mapping[str, Input], student: Policy, reporter: Reporter
) -> tuple[Row, ...]:
    from ketchup_cli.models.encode import Limits
    from ketchup_cli.models.sources import reference_rows
    from ketchup_cli.stages.training import note_encoded

    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: spec.examples or None]
    limits = Limits(
        prompt=spec.max_prompt_tokens, completion=spec.max_completion_tokens, too_long=spec.too_long
    )
    encoded = reference_rows(student, examples, limits)
    note_encoded(encoded, reporter, what=f"{spec.split} rows")
    return tuple(encoded.rows)


def _measure(
    spec: AnglesSpec,
    rows: tuple[Row, ...],
    models: tuple[Policy, Policy],
    *,
    angles: Angles,
    reporter: Reporter,
) -> int:
    """Count the angles of all tokens of that side, and return how many tokens there were."""
    import torch

    from ketchup_cli.models.encode import by_length, collate
    from ketchup_cli.signals import to_device

    tokens = 0
    with (
        torch.no_grad(),
        reporter.progress("reading", total=len(rows), unit="examples") as progress,
    ):
        for numbers in by_length(rows, spec.tokens_per_batch):
            batch = collate([rows[i] for i in numbers], pad_id=models[0].pad_id, source="data")
            batch = to_device(batch, models[0].device)
            angles.add(*(_states(model, batch, encoder=spec.side == "encoder") for model in models))
            read = batch.prompt_mask_BS if spec.side == "encoder" else batch.mask_BT
            tokens += int(read.sum())
            progress.advance(len(numbers), tokens=int(read.sum()))
    return tokens


def _states(policy: Policy, batch: Batch, *, encoder: bool) -> Tensor:
    """Return the states of all layers at all real tokens, [L, N, H], without the embeddings."""
    _, decoder_LBTH, encoder_LBSH = policy.hidden_with_layers(batch)
    if encoder and encoder_LBSH is not None:
        return encoder_LBSH[1:, batch.prompt_mask_BS.bool()]
    return decoder_LBTH[1:, batch.mask_BT.bool()]
