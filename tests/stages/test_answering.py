"""Which rows a stage answers where some are told from last to first."""

import json

import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import DataError
from ketchup_cli.specs import (
    DecodingSpec,
    FiltersSpec,
    GenerateSpec,
    ReverseSpec,
    RolloutsSpec,
    SeqkdSpec,
)
from ketchup_cli.stages import answering, rollout
from ketchup_cli.store.layout import Store

SAMPLED = DecodingSpec(method="sample", texts=1, max_new_tokens=3)
WRITERS = {
    "seqkd": SeqkdSpec(decoding=SAMPLED, filters=FiltersSpec(unfinished=False)),
    "rollout": RolloutsSpec(decoding=SAMPLED),
}
ROLES = {"seqkd": "teacher", "rollout": "model"}
FILES = {"seqkd": corpora.PSEUDO_TARGETS, "rollout": rollout.ROLLOUTS}
both_stages = pytest.mark.parametrize("stage", WRITERS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A causal model, and a corpus of four texts and their reverse."""
    folder = tmp_path_factory.mktemp("turned")
    model = tiny.make_policy_folder(folder / "model", "gpt2")
    plain = tiny.inputs(corpus=tiny.make_corpus(folder / "corpus", train=4))
    both = tiny.run_stage(Store.open(folder / "both"), "reverse", ReverseSpec(), plain)
    return tiny.inputs(corpus=both.path, model=model, teacher=model)


def made(folder, inputs, stage, spec):
    used = {role: inputs[role] for role in ("corpus", ROLES[stage])}
    return tiny.run_stage(Store.open(folder / "runs"), stage, spec, used)


def changed(stage, **settings):
    import msgspec

    return msgspec.structs.replace(WRITERS[stage], **settings)


@both_stages
def test_rows_told_from_last_to_first_are_left_out_and_counted(stage, inputs, tmp_path):
    artifact = made(tmp_path, inputs, stage, WRITERS[stage])
    report = json.loads((artifact.path / "report.json").read_bytes())
    lines = (artifact.path / FILES[stage]).read_text("utf-8").splitlines()
    rows = corpora.read_split(inputs["corpus"].path, "train")

    assert report["skipped_reversed"] == 4
    assert report["examples"] == 4
    assert {json.loads(line)["id"] for line in lines} <= {
        row.id for row in rows if not row.reversed
    }


@both_stages
def test_they_are_answered_where_a_setting_asks_for_them(stage, inputs, tmp_path):
    artifact = made(tmp_path, inputs, stage, changed(stage, reversed_rows=True))
    report = json.loads((artifact.path / "report.json").read_bytes())

    assert report["examples"] == 8
    assert "skipped_reversed" not in report


@both_stages
def test_the_plan_counts_what_will_be_answered(stage, inputs):
    lines = dict(answering.describe(WRITERS[stage], inputs))

    assert lines["left out"] == "4 rows told from last to first"
    assert lines["plan"].startswith("4 prompts")
    assert answering.amount(WRITERS[stage], inputs) == 4


def test_generate_answers_whatever_a_split_holds(inputs):
    examples, turned = answering.asked(GenerateSpec(split="train"), inputs)

    assert (len(examples), turned) == (8, 0)


def test_a_split_of_nothing_else_is_an_error_with_a_remedy(inputs, tmp_path):
    folder = tmp_path / "turned"
    folder.mkdir()
    rows = (inputs["corpus"].path / "train.jsonl").read_text("utf-8").splitlines()
    turned = [row for row in rows if json.loads(row).get("reversed")]
    (folder / "train.jsonl").write_text("\n".join(turned) + "\n", "utf-8")

    with pytest.raises(DataError, match="all 4 rows of split `train`") as caught:
        made(tmp_path, {**inputs, **tiny.inputs(corpus=folder)}, "seqkd", WRITERS["seqkd"])

    assert "--set reversed_rows=true" in str(caught.value.hint)
