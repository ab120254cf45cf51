"""`judge` against servers that others wrote, with models of random weights, which know nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import tiny_gguf
from judgements import judged, rows, spec, two

from ketchup_cli.reporting import SilentReporter
from ketchup_cli.store.find import Artifact

ITEMS, CONTROLS = 30, 15
ALWAYS_FIRST = 1
"""Seed of weights that make of every prompt here the same answer."""


def needed(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"no {package} on this platform: pip install {package}")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    needed("gguf", "xllamacpp")
    path = tmp_path_factory.mktemp("llama") / "random.gguf"
    tiny_gguf.write_model(path)
    with tiny_gguf.serving(path) as address:
        yield address


@pytest.fixture(scope="module")
def by_transformers(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Artifact, SilentReporter]:
    needed("fastapi", "uvicorn")
    import tiny_serve

    model, folder = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("judged")
    tiny_serve.write_model(model, seed=ALWAYS_FIRST)
    reporter = SilentReporter()
    with tiny_serve.serving() as address:
        asked = spec(
            address,
            folder,
            model=str(model),
            examples=ITEMS,
            controls=CONTROLS,
            with_reference=False,
            max_tokens=40,
            concurrency=4,
        )
        return judged(folder, two(folder), asked, reporter), reporter


@pytest.fixture(scope="module")
def by_llama(
    llama: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, SilentReporter]:
    folder = tmp_path_factory.mktemp("judged")
    asked = spec(
        llama,
        folder,
        protocol="auto",
        examples=ITEMS,
        controls=CONTROLS,
        with_reference=False,
        temperature=1.0,
        max_tokens=200,
        max_unjudged=0.2,
        concurrency=4,
    )
    reporter = SilentReporter()
    return judged(folder, two(folder), asked, reporter), reporter


def report(made: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.path / "judge.json").read_text())
    return found


def test_llama_gives_verdicts_in_the_form_of_the_schema(
    by_llama: tuple[Artifact, SilentReporter],
) -> None:
    made, _ = by_llama
    found = rows(made)

    assert report(made)["judges"][0]["abilities"]["protocol"] == "json_schema"
    assert len(found) == ITEMS * 2 + CONTROLS
    assert sum(row.outcome == "ok" for row in found) >= 0.9 * len(found)
    assert {row.model for row in found} == {"random"}
    assert all(row.prompt_tokens > 1000 and not row.usage_estimated for row in found)


def test_a_judge_that_knows_nothing_prefers_nobody(
    by_llama: tuple[Artifact, SilentReporter],
) -> None:
    made, _ = by_llama
    (figure,) = report(made)["figures"]
    low, high = figure["interval"]

    # weights and draws have seeds: this is the same interval every time
    assert low <= 0.5 <= high
    assert figure["p_holm"] > 0.05
    assert figure["claim"].startswith("nothing is claimed")


def test_a_judge_that_knows_nothing_fails_its_controls_and_ranks_nobody(
    by_llama: tuple[Artifact, SilentReporter],
) -> None:
    made, reporter = by_llama
    controls = report(made)["judges"][0]["controls"]
    told = " ".join(f"{label} {text}" for label, text in reporter.notes)

    assert controls["asked"] == CONTROLS
    assert controls["right"] < 0.7 * controls["asked"]
    assert report(made)["ranking"] == []
    assert "below 70%" in told
    assert "prefers" not in told
    assert "ranking" not in told


def test_transformers_ignores_the_schema_and_is_asked_for_text(
    by_transformers: tuple[Artifact, SilentReporter],
) -> None:
    made, reporter = by_transformers
    abilities = report(made)["judges"][0]["abilities"]

    assert abilities["protocol"] == "text"
    assert {name: why.split()[0] for name, why in abilities["refused"].items()} == {
        "json_schema": "invalid_json",
        "json_object": "invalid_json",
    }
    assert dict(reporter.notes)["answers"].startswith("text; json_schema refused: invalid_json")
    assert all(row.outcome == "ok" and row.slot == "1" for row in rows(made))


def test_a_judge_that_always_takes_the_first_prefers_nobody_and_is_told_of(
    by_transformers: tuple[Artifact, SilentReporter],
) -> None:
    made, reporter = by_transformers
    (figure,) = report(made)["figures"]
    warnings = [text for label, text in reporter.notes if label == "warning"]

    assert (figure["win_rate"], figure["first_slot"], figure["wins"]) == (0.5, 1.0, 0)
    assert figure["claim"].startswith("nothing is claimed")
    assert any("100% of decisive answers chose what was shown first" in text for text in warnings)
