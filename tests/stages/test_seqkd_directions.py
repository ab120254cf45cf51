"""Text of two teachers: what is kept of either direction, and what a student learns from it."""

import json
from pathlib import Path

import distilling
import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.encode import Encoded, Limits, Row, encode_prompts
from ketchup_cli.models.generation.hf import generate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.sources import joined, pseudo_prompt_rows
from ketchup_cli.records import Example
from ketchup_cli.specs import DecodingSpec, FiltersSpec, SeqkdSpec
from ketchup_cli.stages import STAGES, seqkd
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store

Pair = tuple[str, str]


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    tiny.make_corpus(folder / "corpus", train=12)
    tiny.make_policy_folder(folder / "teacher", seed=1)
    tiny.make_policy_folder(folder / "backward", seed=2)
    tiny.make_policy_folder(folder / "student", seed=0)
    return folder


@pytest.fixture(scope="module", name="made")
def _made(folder: Path) -> dict[str, Artifact]:
    return {way: make(folder, way) for way in ("forward", "reverse", "bidirectional")}


def make(folder: Path, way: str, *, method: str = "sample") -> Artifact:
    spec = make_spec(way, method=method)
    given = both_teachers(folder)
    used = {role.name for role in STAGES["seqkd"].roles if role.used(spec)}
    return tiny.run_stage(
        Store.open(folder / "runs"), "seqkd", spec, {name: given[name] for name in used}
    )


def make_spec(way: str, *, method: str = "sample") -> SeqkdSpec:
    return SeqkdSpec(
        direction=way,  # type: ignore[arg-type]
        decoding=DecodingSpec(method=method, max_new_tokens=6),  # type: ignore[arg-type]
        filters=FiltersSpec(unfinished=False, max_repeat=0),
        examples_per_shard=5,
        device="cpu",
    )


def both_teachers(folder: Path) -> dict[str, Input]:
    return tiny.inputs(
        corpus=folder / "corpus",
        teacher=folder / "teacher",
        backward_teacher=folder / "backward",
    )


def pairs(folder: Path, artifact: Artifact) -> list[Pair]:
    """Return prompt and completion of every row, the completions' file first."""
    examples = {one.id: one for one in corpora.read_split(folder / "corpus", "train")}
    texts, prompts = corpora.read_both_directions(artifact.path)
    forward = [(examples[one.id].prompt, one.text) for one in texts]
    return forward + [(one.text, examples[one.id].references[0]) for one in prompts]


def distinct(found: list[Pair]) -> list[Pair]:
    return list(dict.fromkeys(found))


def test_every_reference_is_answered_backwards_or_counted_as_dropped(
    made: dict[str, Artifact], folder: Path
) -> None:
    ids = [example.id for example in corpora.read_split(folder / "corpus", "train")]
    completions, prompts = corpora.read_both_directions(made["reverse"].path)
    report = json.loads((made["reverse"].path / "report.json").read_bytes())
    kept = {one.id for one in prompts}

    assert completions == []
    assert [one.id for one in prompts] == [id for id in ids if id in kept]
    assert len(prompts) + sum(report["dropped"].values()) == len(ids)


def test_a_backward_teacher_reads_references(folder: Path, made: dict[str, Artifact]) -> None:
    spec = make_spec("reverse")
    teacher = load_policy(folder / "backward", device="cpu")
    examples = corpora.read_split(folder / "corpus", "train")
    swapped = [
        Example(id=one.id, prompt=one.references[0], references=(one.prompt,)) for one in examples
    ]
    rows = encode_prompts(teacher, swapped, Limits(prompt=40)).rows
    wanted = generate(teacher, rows, spec.decoding, seed=0, tokens_per_batch=4000)

    _, prompts = corpora.read_both_directions(made["reverse"].path)
    assert [one.text for one in prompts] == [one.text for one in wanted if one.text.strip()]


def test_both_directions_are_the_union_of_either_in_stable_order(
    made: dict[str, Artifact], folder: Path
) -> None:
    either = pairs(folder, made["forward"]) + pairs(folder, made["reverse"])

    assert pairs(folder, made["bidirectional"]) == distinct(either)


def test_a_pair_that_occurs_twice_is_kept_once_and_counted(tmp_path: Path) -> None:
    # one word of each side, and teachers that are one and the same: many equal pairs
    (tmp_path / "corpus").mkdir()
    rows = [Example(id=str(n), prompt="the", references=("the",)) for n in range(4)]
    lines = [
        json.dumps({"id": row.id, "prompt": row.prompt, "references": list(row.references)})
        for row in rows
    ]
    (tmp_path / "corpus" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("teacher", "backward"):
        tiny.make_policy_folder(tmp_path / name, seed=1)
    artifact = make(tmp_path, "bidirectional", method="greedy")
    found = pairs(tmp_path, artifact)

    assert len(found) == len(set(found))
    report = json.loads((artifact.path / "report.json").read_bytes())
    assert report["dropped"]["duplicate"] == 3
    assert report["kept"] == 1
    assert report["prompts"]["kept"] + report["prompts"]["dropped"]["duplicate"] == 4


def test_forward_alone_keeps_equal_pairs_and_its_report_as_it_was(
    made: dict[str, Artifact],
) -> None:
    report = json.loads((made["forward"].path / "report.json").read_bytes())

    assert "duplicate" not in report["dropped"]
    assert "direction" not in report


@pytest.mark.parametrize(
    ("way", "roles"),
    [
        ("forward", {"teacher", "corpus"}),
        ("reverse", {"backward-teacher", "corpus"}),
        ("bidirectional", {"teacher", "backward-teacher", "corpus"}),
    ],
)
def test_each_direction_asks_for_its_own_teachers(way: str, roles: set[str]) -> None:
    spec = SeqkdSpec(direction=way)  # type: ignore[arg-type]

    assert {role.name for role in STAGES["seqkd"].roles if role.needed(spec)} == roles


def test_the_plan_names_the_direction(folder: Path) -> None:
    plan = dict(seqkd.plan(SeqkdSpec(direction="bidirectional"), both_teachers(folder)))

    assert plan["direction"].startswith("bidirectional: completions of prompts, prompts for")


@pytest.mark.parametrize("way", ["reverse", "bidirectional"])
def test_a_student_learns_from_pairs_of_either_direction(
    made: dict[str, Artifact], folder: Path, way: str
) -> None:
    given = tiny.inputs(
        corpus=folder / "corpus", student=folder / "student", pseudo_targets=made[way].path
    )
    notes: list[tuple[str, str]] = []
    spec = distilling.make_spec({"name": "nll", "prefixes": "teacher"}, updates=1)
    tiny.run_stage(Store.open(folder / "learnt"), "distill", spec, given, reporter=Notes(notes))

    rows = len(pairs(folder, made[way]))
    assert any(text.startswith(f"{rows} rows") for label, text in notes if label == "teacher rows")


class Notes(tiny.SilentReporter):  # type: ignore[misc]
    """Keeps what it is told."""

    def __init__(self, notes: list[tuple[str, str]]) -> None:
        self.notes = notes

    def note(self, label: str, text: str) -> None:
        self.notes.append((label, text))


def test_a_loss_with_a_teacher_refuses_prompts_for_references(
    made: dict[str, Artifact], folder: Path
) -> None:
    given = tiny.inputs(
        corpus=folder / "corpus",
        student=folder / "student",
        teacher=folder / "teacher",
        pseudo_targets=made["bidirectional"].path,
    )
    spec = distilling.make_spec({"name": "kl", "prefixes": "teacher"}, updates=1)

    with pytest.raises(SpecError, match="hold prompts for references too"):
        tiny.run_stage(Store.open(folder / "refused"), "distill", spec, given)


def test_a_pseudo_prompt_stands_before_the_first_reference(
    folder: Path, made: dict[str, Artifact]
) -> None:
    student = load_policy(folder / "student", device="cpu")
    examples = corpora.read_split(folder / "corpus", "train")
    _, prompts = corpora.read_both_directions(made["reverse"].path)
    limits = Limits(prompt=40, completion=40)
    row = pseudo_prompt_rows(student, examples, prompts, limits).rows[3]
    (answered,) = (example for example in examples if example.id == prompts[3].id)

    assert row.prompt == tuple(student.prompt_ids([prompts[3].text])[0])
    assert row.completion == tuple(student.completion_ids([answered.references[0]])[0])


def test_positions_of_joined_rows_are_all_different() -> None:
    some = tuple(Row(id="x", prompt=(1,), position=number) for number in (0, 1, 4))
    both = joined(
        Encoded(rows=some, truncated=1, skipped=0), Encoded(rows=some, truncated=0, skipped=2)
    )

    assert [row.position for row in both.rows] == [0, 1, 4, 5, 6, 9]
    assert (both.truncated, both.skipped) == (1, 2)


def test_an_example_without_a_reference_cannot_be_answered_backwards(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    line = '{"id": "a", "prompt": "the", "references": []}\n'
    (tmp_path / "corpus" / "train.jsonl").write_text(line, encoding="utf-8")
    tiny.make_policy_folder(tmp_path / "backward")

    with pytest.raises(DataError, match="has no reference to be answered"):
        make_reverse(tmp_path)


def make_reverse(folder: Path) -> Artifact:
    given = tiny.inputs(corpus=folder / "corpus", backward_teacher=folder / "backward")
    spec = SeqkdSpec(direction="reverse", device="cpu")
    return tiny.run_stage(Store.open(folder / "runs"), "seqkd", spec, given)
