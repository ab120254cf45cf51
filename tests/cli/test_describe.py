from typing import Any

import pytest

from ketchup_cli.cli.describe import made_by, note_of, objective_words, short, signature
from ketchup_cli.objectives import terms, to_tables
from ketchup_cli.spec import to_table
from ketchup_cli.specs import DistillSpec, ShrinkSpec
from ketchup_cli.stages import STAGES
from ketchup_cli.store.manifest import InputEntry, Manifest

DIGEST = "sha256:" + "ab" * 32


def manifest(kind: str, summary: dict[str, Any], line: str = "") -> Manifest:
    entry = InputEntry(role="corpus", kind="corpus", id=None, digest=DIGEST, label="words")
    return Manifest(
        kind=kind,
        kind_version=1,
        id="0" * 64,
        digest=DIGEST,
        spec={},
        inputs=(entry,),
        files=(),
        summary=summary,
        signature=line,
        environment={},
        created="2026-01-02T03:04:05Z",
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("kind", "summary", "note"),
    [
        (
            "corpus",
            {"examples": {"dev": 20, "test": 10, "train": 3000}, "skipped": 2},
            "3,000 + 20 + 10 examples, 2 skipped",
        ),
        ("model", {"architecture": "t5", "parameters": 9_400_000}, "9.4 M t5"),
        (
            "model",
            {"model_type": "t5", "parameters": 27_360, "best": 36.2, "metric": "bleu"},
            "27 k t5, dev bleu 36.2",
        ),
        (
            "teacher-cache",
            {"tokens": 590_112, "tail_mass_mean": 0.0041},
            "590,112 tokens, tail mass 0.41 % on average",
        ),
        (
            "scores",
            {"examples": 993, "split": "test", "scores": {"bleu": {"value": 27.912}}},
            "bleu 27.91, 993 examples of test",
        ),
        ("generations", {"note": "50 texts of dev", "texts": 50}, "50 texts of dev"),
        ("report", {"pages": 3, "parts": {}}, "pages 3"),
    ],
)
def test_a_note_says_what_an_artifact_holds(kind, summary, note):
    assert note_of(manifest(kind, summary)) == note


def test_the_words_of_an_objective_are_its_changed_fields_and_weights():
    tables = to_tables(terms([{"name": "ketchup", "k": 8}, {"name": "nll", "weight": 0.1}]))

    assert objective_words(tables) == "ketchup(k=8) + 0.1 nll"


def test_a_signature_tells_stage_changed_settings_inputs_and_version():
    table = {**to_table(ShrinkSpec()), "encoder": (0, 3)}

    line = signature(STAGES["shrink"], table, {"teacher": DIGEST})

    assert line == "shrink/1|encoder:0 3|teacher:abababab|v:0.1.0"


def test_a_signature_of_distill_begins_with_the_objective():
    tables = to_tables(terms([{"name": "kl"}]))
    table = {**to_table(DistillSpec()), "updates": 7, "objective": tables}

    line = signature(STAGES["distill"], table, {})

    assert line.startswith("distill/1|objective:kl|updates:7|v:")


def test_what_made_an_artifact_is_read_off_its_signature():
    line = "distill/1|objective:ketchup(k=4)|updates:7|seed:1|dropout:0.0|corpus:abababab|v:0.1.0"

    assert made_by(manifest("model", {}, line)) == "distill ketchup(k=4), updates 7, seed 1"


def test_a_signature_of_another_hand_is_not_taken_apart():
    assert made_by(manifest("model", {}, "by hand")) == "model"


def test_ids_and_digests_are_shown_by_eight_digits():
    assert short(DIGEST) == short("ab" * 32) == "abababab"
