import json
from pathlib import Path

import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import DataError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import DecodingSpec, FiltersSpec, SeqkdSpec
from ketchup_cli.stages import seqkd
from ketchup_cli.stages.seqkd import Answered, dropped_for
from ketchup_cli.store.layout import Store

ALL = FiltersSpec(unfinished=True, max_tokens=9, max_length_ratio=2.0, max_repeat=2, copies=True)
NONE = FiltersSpec(unfinished=False, max_repeat=0)
BEAM = DecodingSpec(method="beam", beams=3, texts=3, max_new_tokens=10)


def make_inputs(folder: Path, architecture: str = "t5") -> dict:
    return tiny.inputs(
        corpus=tiny.make_corpus(folder / "corpus"),
        teacher=tiny.make_policy_folder(folder / "teacher", architecture),
    )


def make_spec(*, decoding: DecodingSpec = BEAM, filters: FiltersSpec = NONE) -> SeqkdSpec:
    return SeqkdSpec(decoding=decoding, filters=filters, examples_per_shard=5, tokens_per_batch=120)


def answered(
    text: str = "de kleine vogel",
    *,
    tokens: int = 6,
    finished: bool = True,
    prompt: str = "the small bird",
    prompt_tokens: int = 6,
) -> Answered:
    return Answered(
        text=text, tokens=tokens, finished=finished, prompt=prompt, prompt_tokens=prompt_tokens
    )


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (answered(), None),
        (answered(finished=False), "unfinished"),
        (answered(" "), "empty"),
        (answered(tokens=9), None),
        (answered(tokens=10), "too_long"),
        (answered(tokens=3), None),
        (answered(tokens=2), "length_ratio"),
        (answered(tokens=7, prompt_tokens=3), "length_ratio"),
        (answered("a b a b"), None),
        (answered("a b a b a b"), "repeats"),
        (answered("de de de"), None),
        (answered("de de de de"), "repeats"),
        (answered("the  small bird"), "copy"),
        (answered("the small birds"), None),
    ],
)
def test_each_filter_drops_what_it_says(case: Answered, reason: str | None) -> None:
    assert dropped_for(case, ALL) == reason


@pytest.mark.parametrize(
    "case",
    [
        answered(finished=False),
        answered(tokens=1000),
        answered("a b " * 50),
        answered("the small bird"),
    ],
    ids=["unfinished", "long", "repeats", "copy"],
)
def test_filters_that_are_off_drop_nothing(case: Answered) -> None:
    assert dropped_for(case, NONE) is None


def test_an_empty_text_never_becomes_a_pseudo_target() -> None:
    assert dropped_for(answered(""), NONE) == "empty"


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_an_n_best_list_keeps_its_ranks_and_ids(architecture: str, tmp_path: Path) -> None:
    given = make_inputs(tmp_path, architecture)
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "seqkd", make_spec(), given)
    rows = corpora.read_generations(artifact.path / "pseudo-targets.jsonl")
    examples = corpora.read_split(tmp_path / "corpus", "train")
    order = {example.id: place for place, example in enumerate(examples)}
    places = [(order[row.id], row.sample) for row in rows]

    assert places == sorted(places)
    assert {sample for _, sample in places} == {0, 1, 2}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pseudo-targets of a teacher that often does not end, and their corpus."""
    folder = tmp_path_factory.mktemp("sampled")
    spec = SeqkdSpec(
        decoding=DecodingSpec(method="sample", texts=4, max_new_tokens=30),
        filters=FiltersSpec(unfinished=True, max_tokens=12),
    )
    artifact = tiny.run_stage(Store.open(folder / "runs"), "seqkd", spec, make_inputs(folder))
    return artifact.path, folder / "corpus"


def test_kept_and_dropped_texts_add_up(sampled: tuple[Path, Path]) -> None:
    rows = corpora.read_generations(sampled[0] / "pseudo-targets.jsonl")
    report = json.loads((sampled[0] / "report.json").read_bytes())

    assert report["kept"] == len(rows)
    assert report["kept"] + sum(report["dropped"].values()) == report["texts"] == 96
    assert report["examples_with_text"] == len({row.id for row in rows})
    assert report["dropped"]["unfinished"] > 3
    assert report["dropped"]["too_long"] > 0
    assert all(row.stop == "eos" and len(row.tokens) <= 12 for row in rows)


def test_the_report_shows_three_dropped_texts_a_reason(sampled: tuple[Path, Path]) -> None:
    report = json.loads((sampled[0] / "report.json").read_bytes())
    prompts = {row.id: row.prompt for row in corpora.read_split(sampled[1], "train")}
    shown = report["dropped_texts"]["unfinished"]

    assert len(shown) == 3
    assert all(prompts[item["id"]] == item["prompt"] for item in shown)


def test_a_resumed_run_makes_the_same_bytes_as_a_straight_one(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    straight = tiny.run_stage(Store.open(tmp_path / "straight"), "seqkd", make_spec(), given)
    store = Store.open(tmp_path / "resumed")
    with pytest.raises(tiny.Interrupted):
        tiny.run_stage(store, "seqkd", make_spec(), given, reporter=tiny.InterruptingReporter(12))
    resumed = tiny.run_stage(store, "seqkd", make_spec(), given)

    assert resumed.digest == straight.digest


def test_the_text_of_a_pseudo_target_is_that_of_its_tokens(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    artifact = tiny.run_stage(Store.open(tmp_path / "runs"), "seqkd", make_spec(), given)
    rows = corpora.read_generations(artifact.path / "pseudo-targets.jsonl")
    teacher = load_policy(tmp_path / "teacher", device="cpu")

    assert teacher.decode([row.tokens for row in rows]) == [row.text for row in rows]


def test_a_cut_text_that_is_kept_gets_no_end_token(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    decoding = DecodingSpec(method="sample", max_new_tokens=3)
    artifact = tiny.run_stage(
        Store.open(tmp_path / "runs"), "seqkd", make_spec(decoding=decoding), given
    )
    rows = corpora.read_generations(artifact.path / "pseudo-targets.jsonl")
    cut = [row for row in rows if row.stop == "length"]

    assert cut
    assert all(row.tokens[-1] != 1 for row in cut)


def test_a_teacher_whose_texts_are_all_dropped_is_an_error_with_counts(tmp_path: Path) -> None:
    decoding = DecodingSpec(method="greedy", max_new_tokens=1)
    spec = make_spec(decoding=decoding, filters=FiltersSpec(unfinished=True))

    with pytest.raises(DataError, match=r"no text passes the filters: 24 unfinished"):
        tiny.run_stage(Store.open(tmp_path / "runs"), "seqkd", spec, make_inputs(tmp_path))


def test_the_plan_names_the_filters(tmp_path: Path) -> None:
    lines = dict(seqkd.plan(make_spec(filters=ALL), make_inputs(tmp_path)))

    assert lines["filters"] == (
        "empty, unfinished, over 9 tokens, length ratio over 2, a word pair over 2 times,"
        " copies of the prompt"
    )
