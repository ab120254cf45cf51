"""Make a tokenizer from a corpus and a model with random weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ketchup_cli import corpora
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter, human_count
from ketchup_cli.specs import NewModelSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

SPLIT = "train"
"""The only split a tokenizer may see."""


def plan(spec: NewModelSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: the model's shape and the text its tokenizer is trained on."""
    tokenizer = spec.tokenizer
    return (
        ("model", f"{spec.architecture}, {_layers(spec)} layers, width {spec.width}"),
        (
            "plan",
            f"{tokenizer.kind} tokenizer of {tokenizer.vocabulary:,} pieces from split {SPLIT}"
            f" of {inputs['corpus'].label}, weights from seed {spec.seed}",
        ),
    )


def run(
    spec: NewModelSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write the model's folder: configs, weights and tokenizer.

    Raises:
        DataError: the corpus has no text in its training split.
        SpecError: sizes that do not go together.
    """
    from ketchup_cli.models.build import random_model, train_tokenizer
    from ketchup_cli.models.load import quiet, save_policy
    from ketchup_cli.models.policy import Policy

    quiet()
    examples = corpora.read_split(inputs["corpus"].path, SPLIT)
    reporter.note("tokenizer", f"training on {len(examples):,} examples")
    tokenizer = train_tokenizer(_texts(examples), spec.tokenizer, architecture=spec.architecture)
    model = random_model(spec, vocabulary=len(tokenizer))
    parameters = model.num_parameters()
    reporter.note("model", f"{human_count(parameters)} parameters, {len(tokenizer):,} pieces")
    folder = build.scratch()
    save_policy(Policy(model, tokenizer), folder, dtype=spec.save_dtype)
    build.adopt(folder)
    return {
        "architecture": spec.architecture,
        "parameters": parameters,
        "vocabulary": len(tokenizer),
        "layers": _layers(spec),
    }


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    for example in examples:
        yield example.prompt
        yield from example.references


def _layers(spec: NewModelSpec) -> str:
    if spec.architecture in {"gpt2", "llama"}:
        return str(spec.layers)
    return f"{spec.layers}+{spec.decoder_layers or spec.layers}"
