"""Two systems and more that wrote texts for sixty examples, and what `compare` makes of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny import LEXICON, make_examples

from ketchup_cli.records import Example, Generation
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.spec import to_table
from ketchup_cli.specs import CompareSpec
from ketchup_cli.stages import STAGES, compare
from ketchup_cli.stages.comparison import ROLE, Comparison, Pair, read
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, as_input
from ketchup_cli.store.layout import Store

EXAMPLES = make_examples(60)
WORDS = sorted(LEXICON.values())
Texts = Sequence[str]


def spec(*systems: str, **changes: Any) -> CompareSpec:
    return CompareSpec(**({"systems": systems or ("one", "other"), "resamples": 1000} | changes))


def written(share: float, *, seed: int = 0, examples: Sequence[Example] = EXAMPLES) -> list[str]:
    """Return the references with some of their words replaced by any."""
    generator = random.Random(seed)
    return [
        " ".join(
            generator.choice(WORDS) if generator.random() < share else word
            for word in example.references[0].split()
        )
        for example in examples
    ]


def publish(store: Store, kind: str, *, recipe: dict[str, Any], file: str, rows: Any) -> Artifact:
    with begin(store, kind=kind, version=1, spec=recipe, inputs=[], label=kind) as build:
        if build.published is not None:
            return build.published
        build.write_rows(file, rows)
        if kind == "corpus":
            build.write_json("report.json", {"languages": ["en", "nl"]})
        return build.commit(summary={}, signature="", environment={}, seconds=0.0)


def generations(store: Store, texts: Texts, **recipe: Any) -> Artifact:
    rows = [
        Generation(id=example.id, text=text, tokens=(1,), stop="eos", logp=-1.0)
        for example, text in zip(EXAMPLES, texts, strict=False)
    ]
    settings = {"split": "test", "decoding": {"method": "greedy"}, "key": " ".join(texts)}
    return publish(
        store,
        "generations",
        recipe=settings | recipe,
        file="generations.jsonl",
        rows=rows,
    )


def make_inputs(folder: Path, *systems: Sequence[Artifact]) -> dict[str, Input]:
    store = Store.open(folder / "runs")
    corpus = publish(store, "corpus", recipe={}, file="test.jsonl", rows=EXAMPLES)
    inputs = {"corpus": as_input(corpus, "corpus")}
    for number, runs in enumerate(systems, start=1):
        for run, texts in enumerate(runs, start=1):
            role = ROLE.format(system=number, run=run)
            inputs[role] = as_input(texts, role, label=f"texts-{number}-{run}")
    return inputs


def inputs_of(folder: Path, *systems: Sequence[Texts]) -> dict[str, Input]:
    store = Store.open(folder / "runs")
    return make_inputs(folder, *([generations(store, texts) for texts in runs] for runs in systems))


def build_comparison(folder: Path, inputs: dict[str, Input], settings: CompareSpec) -> Artifact:
    stage = STAGES["compare"]
    with begin(
        Store.open(folder / "runs"),
        kind=stage.kind,
        version=stage.version,
        spec=to_table(settings),
        inputs=list(inputs.values()),
        label="compare",
    ) as build:
        summary = compare.run(settings, inputs, build, SilentReporter())
        return build.commit(summary=summary, signature="", environment={}, seconds=0.0)


def compared(folder: Path, *systems: Sequence[Texts], **changes: Any) -> Comparison:
    names = ("one", "other", "third")[: len(systems)]
    made = build_comparison(folder, inputs_of(folder, *systems), spec(*names, **changes))
    return read(made.path)


def only(found: Comparison, metric: str) -> Pair:
    (pair,) = (pair for pair in found.pairs if pair.metric == metric)
    return pair


GOOD, GOOD_TOO, GOOD_THREE = (written(0.1, seed=seed) for seed in (1, 2, 3))
POOR, POOR_TOO, POOR_THREE = (written(0.6, seed=seed) for seed in (4, 5, 6))
