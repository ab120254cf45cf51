"""Two systems whose texts a judge reads, and what a run of `judge` makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comparing
import msgspec

from ketchup_cli.judging.tally import Judgment
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.spec import identity
from ketchup_cli.spec_judge import JudgeSpec
from ketchup_cli.stages import STAGES, judge
from ketchup_cli.stages.comparison import ROLE
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, as_input
from ketchup_cli.store.layout import Store


def spec(server: str, folder: Path, **changes: Any) -> JudgeSpec:
    settings = {
        "systems": ("good", "bad"),
        "base_url": server,
        "model": "fake",
        "task": "translation",
        "aspects": ("quality",),
        "with_reference": True,
        "resamples": 1000,
        "responses": str(folder / "kept.sqlite"),
    }
    return JudgeSpec(**settings | changes)


def make_inputs(folder: Path, *texts: Sequence[str], **recipe: Any) -> dict[str, Input]:
    store = Store.open(folder / "runs")
    corpus = comparing.publish(
        store,
        "corpus",
        recipe={"languages": ["en", "nl"]},
        file="test.jsonl",
        rows=comparing.EXAMPLES,
    )
    inputs = {"corpus": as_input(corpus, "corpus")}
    for number, own in enumerate(texts, start=1):
        role = ROLE.format(system=number, run=1)
        inputs[role] = as_input(comparing.generations(store, own, **recipe), role)
    return inputs


def two(folder: Path) -> dict[str, Input]:
    return make_inputs(folder, comparing.written(0.1), comparing.written(0.6, seed=1))


def judged(
    folder: Path,
    inputs: dict[str, Input],
    asked: JudgeSpec,
    reporter: SilentReporter | None = None,
) -> Artifact:
    stage = STAGES["judge"]
    with begin(
        Store.open(folder / "runs"),
        kind=stage.kind,
        version=stage.version,
        spec=identity(asked),
        inputs=list(inputs.values()),
        label="judge",
    ) as build:
        summary = judge.run(asked, inputs, build, reporter or SilentReporter())
        return build.commit(summary=summary, signature="", environment={}, seconds=0.0)


def rows(artifact: Artifact) -> list[Judgment]:
    lines = (artifact.path / "judgments.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Judgment) for line in lines]
