from pathlib import Path
from typing import Any

import caches
import pytest

from ketchup_cli import objectives
from ketchup_cli.models.load import load_policy
from ketchup_cli.stages.cache_facts import Service, facts, services
from ketchup_cli.store.artifact import Artifact, Input


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    return caches.make_inputs(tmp_path_factory.mktemp("facts"), "t5", train=12)


def served(artifact: Artifact) -> dict[str, Service]:
    return {item.objective: item for item in services(artifact.path, "kept")}


def make(folder: Path, inputs: dict[str, Input], **settings: Any) -> Artifact:
    return caches.make_cache(folder / "runs", inputs, **settings)


def test_every_objective_is_asked(inputs: dict[str, Input], tmp_path: Path) -> None:
    assert tuple(served(make(tmp_path, inputs))) == objectives.names()


def test_the_temperature_is_one_the_cache_holds(inputs: dict[str, Input], tmp_path: Path) -> None:
    assert served(make(tmp_path, inputs, temperatures=(2.0,)))["kl"].served


def test_all_entries_lose_nothing_but_precision(inputs: dict[str, Input], tmp_path: Path) -> None:
    vocabulary = load_policy(inputs["teacher"].path, device="cpu").vocabulary

    kl = served(make(tmp_path, inputs, top=vocabulary))["kl"]

    assert kl.how == "all entries are kept: exact to the precision of float16"


def test_all_logits_in_float32_serve_who_asks_for_all(
    inputs: dict[str, Input], tmp_path: Path
) -> None:
    vocabulary = load_policy(inputs["teacher"].path, device="cpu").vocabulary
    found = served(make(tmp_path, inputs, top=vocabulary, gap_dtype="float32"))

    assert found["reverse_kl"].served
    assert found["reverse_kl"].kind == "dense"


def test_a_refusal_is_a_reason_and_a_way_out(inputs: dict[str, Input], tmp_path: Path) -> None:
    refused = [item for item in served(make(tmp_path, inputs)).values() if not item.served]

    assert refused
    assert [item.how for item in refused if "--set" not in item.how] == []
    assert [item.how for item in refused if "`kept`" in item.how] == []


def test_facts_are_those_of_the_files(inputs: dict[str, Input], tmp_path: Path) -> None:
    artifact = make(tmp_path, inputs, completions="pseudo-targets", temperatures=(1.0, 2.0))

    found = facts(artifact.path)

    assert found["completions"] == "pseudo-targets"
    assert found["temperatures"] == [1.0, 2.0]
    assert found["tail_mass_mean"] == caches.report_of(artifact)["tail_mass_mean"]
    assert found["tokens"] == artifact.manifest.summary["tokens"]
