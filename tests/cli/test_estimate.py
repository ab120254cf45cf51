"""The plan's line about time: what the same model did before, or nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import storing

from ketchup_cli.cli.estimate import duration
from ketchup_cli.spec import identity
from ketchup_cli.specs import GenerateSpec
from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store

SPEC = GenerateSpec()
TEXTS = SimpleNamespace(amount=lambda _spec, _inputs: 600)


def model(digit: str) -> Input:
    """A model that is a folder of its own."""
    digest = f"sha256:{digit * 64}"
    return Input(
        role="model", kind="model", id=None, digest=digest, path=Path("model"), label="model"
    )


def generated(
    store: Store, *, spec: GenerateSpec = SPEC, by: Input, rate: float | None = 10.0
) -> Artifact:
    """Publish texts that were written at this rate."""
    table = identity(spec)
    with storing.building(store, kind="generations", spec=table, inputs=[by]) as build:
        build.write_bytes("generations.jsonl", b"{}\n")
        return storing.commit(build, summary={"texts": 50, "texts_per_s": rate})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs")


def told(store: Store, **changes: Any) -> tuple[tuple[str, str], ...]:
    spec = msgspec.structs.replace(SPEC, **changes)
    return duration(store, "generate", TEXTS, spec=spec, inputs={"model": model("a")})


def test_time_is_the_work_by_the_rate_of_what_the_model_did_before(store: Store) -> None:
    find.give_name(store, "texts", generated(store, by=model("a")))

    assert told(store) == (("time", "about 1 min 0 s, at the rate of texts@1"),)


def test_another_split_is_no_other_rate(store: Store) -> None:
    generated(store, by=model("a"))

    assert len(told(store, split="dev", seed=3)) == 1


def test_an_empty_store_tells_no_time(store: Store) -> None:
    assert told(store) == ()


def test_another_model_tells_no_time(store: Store) -> None:
    generated(store, by=model("b"))

    assert told(store) == ()


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"device": "cpu"}], ids=str)
def test_other_settings_tell_no_time(changes: dict[str, str], store: Store) -> None:
    generated(store, by=model("a"))

    assert told(store, **changes) == ()


def test_a_run_that_wrote_nothing_itself_tells_no_time(store: Store) -> None:
    generated(store, by=model("a"), rate=None)

    assert told(store) == ()


def test_a_stage_without_a_rate_tells_no_time(store: Store) -> None:
    found = duration(store, "score", TEXTS, spec=SPEC, inputs={"model": model("a")})

    assert found == ()
