import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.corpora import languages, read_split, split_names
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.spec import to_table
from ketchup_cli.specs import CorpusSpec
from ketchup_cli.stages import STAGES, corpus
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, file_input, folder_input
from ketchup_cli.store.layout import Store

TRAIN = [{"src": "a", "tgt": "b"}, {"src": "c", "tgt": "d"}]
DEV = [{"src": "e", "tgt": "f"}]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def files(**paths: Path) -> dict[str, Input]:
    return {role: file_input(path, role) for role, path in paths.items()}


def settings(**changes: Any) -> CorpusSpec:
    return CorpusSpec(**{"prompt_field": "src", "reference_field": "tgt"} | changes)


def build_corpus(
    folder: Path,
    inputs: Mapping[str, Input],
    spec: CorpusSpec | None = None,
    reporter: SilentReporter | None = None,
) -> Artifact:
    spec = spec or settings()
    stage = STAGES["corpus"]
    with begin(
        Store.open(folder / "runs"),
        kind=stage.kind,
        version=stage.version,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label="corpus",
    ) as build:
        summary = corpus.run(spec, inputs, build, reporter or SilentReporter())
        return build.commit(summary=summary, signature="", environment={}, seconds=0.0)


def pairs(artifact: Artifact, split: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.prompt, row.references) for row in read_split(artifact.path, split)]


def test_every_split_becomes_a_file_of_examples(tmp_path: Path) -> None:
    inputs = files(dev=write(tmp_path / "d.jsonl", DEV), train=write(tmp_path / "t.jsonl", TRAIN))

    artifact = build_corpus(tmp_path, inputs)

    assert split_names(artifact.path) == ["train", "dev"]
    assert pairs(artifact, "train") == [("a", ("b",)), ("c", ("d",))]
    assert pairs(artifact, "dev") == [("e", ("f",))]
    assert artifact.manifest.summary["examples"] == {"train": 2, "dev": 1}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN), dev=write(tmp_path / "d.jsonl", DEV))
    backward = dict(reversed(inputs.items()))

    first = build_corpus(tmp_path / "one", inputs)
    second = build_corpus(tmp_path / "two", backward)

    assert (first.id, first.digest) == (second.id, second.digest)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", b'{"src": "a", "tgt": "b"}\n{"src": "c", "tgt": "d"}\n'),
        ("t.csv", b"src,tgt\na,b\nc,d\n"),
        ("t.tsv", b"\xef\xbb\xbfsrc\ttgt\r\na\tb\r\nc\td\r\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_text_formats_hold_the_same_examples(
    tmp_path: Path, name: str, content: bytes, packed: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)

    artifact = build_corpus(tmp_path, files(train=path))

    assert pairs(artifact, "train") == [("a", ("b",)), ("c", ("d",))]


def test_parquet_is_imported(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"src": ["a"], "tgt": [["b", "c"]], "other": [1]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")

    artifact = build_corpus(tmp_path, files(train=tmp_path / "t.parquet"))

    assert pairs(artifact, "train") == [("a", ("b", "c"))]


def test_a_parquet_file_without_the_field_names_the_nearest(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"source": ["a"]}), tmp_path / "t.parquet")

    with pytest.raises(SpecError, match="nearest: `source`"):
        build_corpus(tmp_path, files(train=tmp_path / "t.parquet"))


def test_moses_lines_come_from_a_prompt_and_a_reference_role(tmp_path: Path) -> None:
    (tmp_path / "t.en").write_bytes(b"a\nc\n")
    (tmp_path / "t.nl").write_bytes(gzip.compress(b"b\nd\n"))
    inputs = {
        "train.prompt": file_input(tmp_path / "t.en", "train.prompt"),
        "train.reference": file_input(tmp_path / "t.nl", "train.reference"),
    }

    artifact = build_corpus(tmp_path, inputs, CorpusSpec(template="say {prompt}"))

    assert pairs(artifact, "train") == [("say a", ("b",)), ("say c", ("d",))]


def test_moses_takes_a_file_per_reference_field(tmp_path: Path) -> None:
    roles = ("train.prompt", "train.reference", "train.reference-2")
    inputs = {}
    for role, text in zip(roles, ("a", "b", "c"), strict=True):
        (tmp_path / role).write_text(f"{text}\n", encoding="utf-8")
        inputs[role] = file_input(tmp_path / role, role)

    artifact = build_corpus(tmp_path, inputs, CorpusSpec(reference_field=("one", "two")))

    assert pairs(artifact, "train") == [("a", ("b", "c"))]


def test_a_moses_pair_without_its_partner_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.en").write_bytes(b"a\n")
    inputs = {"train.prompt": file_input(tmp_path / "t.en", "train.prompt")}

    with pytest.raises(SpecError, match=r"line pairs need train\.prompt, train\.reference"):
        corpus.plan(CorpusSpec(), inputs)


def test_a_data_set_folder_brings_its_own_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "train.jsonl", TRAIN)
    write(folder / "validation.jsonl", DEV)

    artifact = build_corpus(tmp_path, {"dataset": folder_input(folder, "dataset", kind="dataset")})

    assert split_names(artifact.path) == ["train", "dev"]
    assert pairs(artifact, "dev") == [("e", ("f",))]


def test_bad_rows_end_the_import_and_leave_no_artifact(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*TRAIN, {"src": "", "tgt": "x"}])

    with pytest.raises(DataError, match=r"t\.jsonl` line 3: empty prompt"):
        build_corpus(tmp_path, files(train=path))
    assert not list((tmp_path / "runs").rglob("*.jsonl"))


def test_skipped_rows_are_counted_in_report_summary_and_note(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*TRAIN, {"src": "", "tgt": "x"}, {"src": "y"}])
    reporter = SilentReporter()

    artifact = build_corpus(tmp_path, files(train=path), settings(bad_rows="skip"), reporter)

    report = json.loads((artifact.path / "report.json").read_bytes())
    assert report["splits"]["train"]["skipped"] == {
        "empty prompt": {"count": 1, "first": ["line 3: field `src`"]},
        "field missing": {"count": 1, "first": ["line 4: no field `tgt`"]},
    }
    assert artifact.manifest.summary["skipped"] == 2
    assert ("train", "2 examples; skipped 1 empty prompt, 1 field missing") in reporter.notes


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN), dev=write(tmp_path / "d.jsonl", []))

    with pytest.raises(DataError, match="split `dev` is empty"):
        build_corpus(tmp_path, inputs)


def test_prompts_in_two_splits_are_told(tmp_path: Path) -> None:
    dev = [{"src": "a", "tgt": "other"}, {"src": "a", "tgt": "b"}, *DEV]
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN), dev=write(tmp_path / "d.jsonl", dev))
    reporter = SilentReporter()

    artifact = build_corpus(tmp_path, inputs, reporter=reporter)

    warning = "2 of 3 examples of `dev` have a prompt that is in `train` too"
    report = json.loads((artifact.path / "report.json").read_bytes())
    assert report["warnings"] == [warning]
    assert ("warning", warning) in reporter.notes
    assert artifact.manifest.summary["shared_prompts"] == 2


def test_splits_that_share_nothing_are_not_warned_of(tmp_path: Path) -> None:
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN), dev=write(tmp_path / "d.jsonl", DEV))

    artifact = build_corpus(tmp_path, inputs)

    assert json.loads((artifact.path / "report.json").read_bytes())["warnings"] == []


def test_declared_languages_reach_the_artifact(tmp_path: Path) -> None:
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN))

    artifact = build_corpus(tmp_path, inputs, settings(languages=("en", "nl")))

    assert languages(artifact.path) == ("en", "nl")


def test_the_plan_tells_files_fields_and_what_becomes_of_bad_rows(tmp_path: Path) -> None:
    inputs = files(train=write(tmp_path / "t.jsonl", TRAIN))

    plan = dict(corpus.plan(settings(), inputs))

    assert plan == {
        "train": "jsonl, 50 bytes",
        "prompt": "src",
        "references": "tgt",
        "bad rows": "error",
    }


@pytest.mark.parametrize(
    ("spec", "name", "message"),
    [
        (CorpusSpec(), "t.text", "does not tell its format"),
        (CorpusSpec(format="moses"), "t.jsonl", "two files"),
        (CorpusSpec(format="datasets"), "t.jsonl", "takes a folder or a name"),
        (CorpusSpec(template="{"), "t.jsonl", "`template`"),
    ],
    ids=["unknown-suffix", "moses-alone", "datasets-file", "template"],
)
def test_the_plan_refuses_what_cannot_run(
    tmp_path: Path, spec: CorpusSpec, name: str, message: str
) -> None:
    inputs = files(train=write(tmp_path / name, TRAIN))

    with pytest.raises(SpecError, match=message):
        corpus.plan(spec, inputs)


def test_the_plan_refuses_to_import_nothing() -> None:
    with pytest.raises(SpecError, match="nothing to import"):
        corpus.plan(CorpusSpec(), {})


@pytest.mark.parametrize("split", ["", "a/b", "..", "a b", "-x", "é"])
def test_a_name_no_split_can_have_is_refused(tmp_path: Path, split: str) -> None:
    path = write(tmp_path / "t.jsonl", TRAIN)

    with pytest.raises(SpecError, match="cannot name a split"):
        corpus.plan(settings(), {split: file_input(path, split)})


@pytest.mark.parametrize(
    "name",
    [
        "with space.jsonl",
        "naïve.jsonl",
        "nai\u0308ve.jsonl",
        "日本.jsonl",
        "-x.jsonl",
        "a\nb.jsonl",
    ],
)
def test_file_names_of_any_kind_are_read(tmp_path: Path, name: str) -> None:
    artifact = build_corpus(tmp_path, files(train=write(tmp_path / name, TRAIN)))

    assert len(read_split(artifact.path, "train")) == 2
