"""Make a student from a teacher by copying some of its layers."""

import json
from collections.abc import Mapping
from typing import Any

from ketchup_cli.errors import ModelError, SpecError
from ketchup_cli.reporting import Reporter, human_count
from ketchup_cli.specs import ShrinkSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input


def plan(spec: ShrinkSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: which layers are copied.

    Raises:
        SpecError: the teacher does not have the layers asked for.
    """
    counts = layer_counts(_config(inputs))
    chosen = chosen_layers(spec, counts)
    sides = (
        f"{side} {' '.join(map(str, layers))} of {counts[side]}" for side, layers in chosen.items()
    )
    into = ", into a student that fills in" if spec.architecture == "cmlm" else ""
    return (("plan", f"copy layers {', '.join(sides)}; embeddings and head kept{into}"),)


def run(
    spec: ShrinkSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the student's folder: configs, weights and the teacher's tokenizer.

    Raises:
        SpecError: the teacher does not have the layers asked for.
        ModelError: a family whose layers are not known.
    """
    from ketchup_cli.models.load import load_policy, quiet, save_policy
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.shrink import shrink, to_cmlm

    quiet()
    chosen = chosen_layers(spec, layer_counts(_config(inputs)))
    teacher = load_policy(inputs["teacher"].path, device="cpu")
    smaller = shrink(teacher.model, chosen)
    if spec.architecture == "cmlm":
        smaller = to_cmlm(smaller)
    student = Policy(smaller, teacher.tokenizer)
    before, after = teacher.model.num_parameters(), student.model.num_parameters()
    reporter.note("shrink", f"{human_count(before)} parameters to {human_count(after)}")
    folder = build.scratch()
    save_policy(student, folder, dtype=spec.save_dtype)
    build.adopt(folder)
    layers = {side: list(numbers) for side, numbers in chosen.items()}
    return {"layers": layers, "parameters": after, "teacher_parameters": before}


def layer_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """Return how many layers each side of a model has, by its config.json.

    Raises:
        ModelError: the config names them in no known way.
    """
    if config.get("is_encoder_decoder"):
        encoder = config.get("encoder_layers", config.get("num_layers"))
        decoder = config.get("decoder_layers", config.get("num_decoder_layers", encoder))
        counts = {"encoder": encoder, "decoder": decoder}
    else:
        counts = {"decoder": config.get("num_hidden_layers", config.get("n_layer"))}
    if not all(isinstance(count, int) for count in counts.values()):
        raise ModelError(
            f"config.json of this `{config.get('model_type')}` model does not say its layers",
            hint="shrink a model of the T5, BART, Marian, GPT-2 or Llama family",
        )
    return {side: int(count) for side, count in counts.items() if count is not None}


def chosen_layers(spec: ShrinkSpec, counts: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the layers to copy, by side.

    Raises:
        SpecError: none is asked for, or one that is not there.
    """
    wanted = {"encoder": spec.encoder, "decoder": spec.decoder}
    return {side: _numbers(wanted[side], total, side=side) for side, total in counts.items()}


def _numbers(wanted: tuple[int, ...] | int, total: int, *, side: str) -> tuple[int, ...]:
    numbers = evenly_spaced(wanted, total) if isinstance(wanted, int) else wanted
    if numbers and all(0 <= number < total for number in numbers) and len(numbers) <= total:
        return tuple(numbers)
    raise SpecError(
        f"`{side}` asks for {json.dumps(wanted)}; the teacher has layers 0 to {total - 1}",
        hint=f"--set {side}={min(2, total)}",
    )


def evenly_spaced(count: int, total: int) -> tuple[int, ...]:
    """Return `count` layer numbers from 0 to `total - 1`: first and last, the others between.

        number_i = round(i (total - 1) / (count - 1)),   halves up; one layer alone is the last

    The last layer is the one the output head was trained on, so it is never left out.
    """
    if count == 1:
        return (total - 1,)
    steps = count - 1
    return tuple((2 * i * (total - 1) + steps) // (2 * steps) for i in range(count))


def _config(inputs: Mapping[str, Input]) -> dict[str, Any]:
    from ketchup_cli.models.load import check_folder

    return check_folder(inputs["teacher"].path)
