from pathlib import Path

import pytest

from ketchup_cli.cli.inputs import split_files


@pytest.fixture
def student(folder: Path) -> Path:
    """A folder that stands for a model; its weights are never loaded."""
    path = folder / "small"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    (path / "model.safetensors").write_bytes(b"")
    return path


def spec_of(ketchup, *arguments: str):
    """What `config show` would not tell: the spec after the flags of the command itself."""
    result = ketchup(*arguments, "--json", "--dry-run")
    assert result.code == 0, result.err
    return result.json["spec"]


def test_a_file_is_the_rows_of_its_split():
    assert split_files("train", "a.jsonl") == [("train", Path("a.jsonl"))]


def test_files_with_commas_between_are_prompts_and_references():
    assert split_files("dev", "a.en,b.nl,c.nl") == [
        ("dev.prompt", Path("a.en")),
        ("dev.reference", Path("b.nl")),
        ("dev.reference-2", Path("c.nl")),
    ]


def test_a_file_whose_name_has_a_comma_is_one_file(tmp_path):
    path = tmp_path / "a,b.jsonl"
    path.touch()

    assert split_files("train", str(path)) == [("train", path)]


def test_a_corpus_takes_splits_of_any_name(ketchup):
    result = ketchup("corpus", "--train", "train.jsonl", "--split", "iid=dev.jsonl.gz", "--json")

    assert result.code == 0, result.err
    assert result.json["summary"]["examples"] == {"train": 3, "iid": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iid", "is not of the form `NAME=FILE`"),
        ("=dev.jsonl.gz", "is not of the form `NAME=FILE`"),
        ("dataset=dev.jsonl.gz", "`dataset` cannot name a split"),
        ("a.b=dev.jsonl.gz", "`a.b` cannot name a split"),
        ("train=dev.jsonl.gz", "`train` is named twice"),
        ("iid=nowhere.jsonl", "hint: --split iid=FILE"),
    ],
    ids=["no file", "no name", "a data set", "a part of a name", "twice", "a missing file"],
)
def test_a_split_that_makes_no_sense_is_refused(ketchup, text, said):
    result = ketchup("corpus", "--train", "train.jsonl", "--split", text)

    assert result.code == 2
    assert said in result.err


def test_the_fields_of_a_corpus_have_flags(ketchup):
    spec = spec_of(
        ketchup,
        *("corpus", "--train", "train.jsonl", "--prompt-field", "tgt"),
        *("--reference-field", "src", "--reference-field", "tgt"),
    )

    assert (spec["prompt_field"], spec["reference_field"]) == ("tgt", ["src", "tgt"])


def test_a_corpus_of_no_files_is_an_error(ketchup):
    result = ketchup("corpus")

    assert result.code == 2
    assert "no file is named" in result.err


def test_k_alone_means_ketchup(ketchup, corpus, student):
    del corpus, student
    ketchup_toml = Path("ketchup.toml")
    text = ketchup_toml.read_text(encoding="utf-8")
    ketchup_toml.write_text(text + '[distill]\nobjective = {name = "kl"}\n', encoding="utf-8")

    (term,) = spec_of(ketchup, "distill", "--k", "4", "--teacher", "small")["objective"]

    assert (term["name"], term["k"]) == ("ketchup", 4)


def test_from_is_another_name_of_student(ketchup, corpus, student):
    del corpus, student
    result = ketchup("distill", "--objective", "nll", "--from", "nowhere", "--dry-run")

    assert "no artifact `nowhere`" in result.err


def test_k_of_an_objective_without_k_is_refused(ketchup):
    result = ketchup("distill", "--objective", "kl", "--k", "4")

    assert result.code == 2
    assert "`--k` belongs to `ketchup`; `kl` has no such field" in result.err
    assert "hint: leave out --k, or take --objective ketchup" in result.err


def test_pseudo_targets_of_a_flag_are_learnt_from(ketchup, corpus, student):
    del corpus, student
    result = ketchup("distill", "--objective", "nll", "--pseudo-targets", "none-such")

    assert "no artifact `none-such`" in result.err


def test_pseudo_targets_of_a_flag_are_scored_by_the_teacher(ketchup, corpus, student):
    del corpus, student
    result = ketchup("cache-teacher", "--teacher", "small", "--pseudo-targets", "none-such")

    assert "no artifact `none-such`" in result.err


def test_the_split_of_generate_has_a_flag(ketchup, corpus, student):
    del corpus, student
    spec = spec_of(ketchup, "generate", "--model", "small", "--split", "dev")

    assert spec["split"] == "dev"


@pytest.mark.usefixtures("corpus", "student")
def test_a_model_is_measured_on_references_behind_a_flag(ketchup):
    result = ketchup(
        *("score", "--calibration", "--model", "./small", "--set", "split=dev", "--set", "bins=5"),
        *("--set", "teacher=none", "--json", "--dry-run"),
    )

    assert result.code == 0, result.err
    assert (result.json["spec"]["bins"], result.json["spec"]["split"]) == (5, "dev")
    assert [item["role"] for item in result.json["inputs"]] == ["model", "corpus"]


def test_inputs_of_the_other_way_of_scoring_are_refused_with_the_flag_that_reads_them(ketchup):
    of_model = ketchup("score", "--model", "small")
    of_text = ketchup("score", "--calibration", "--generations", "texts")

    assert (of_model.code, of_text.code) == (2, 2)
    assert of_model.err.splitlines() == [
        "error: `--model small` is read only with --calibration",
        "hint: ketchup score --calibration --model small",
    ]
    assert of_text.err.splitlines() == [
        "error: `--generations texts` is read only without --calibration",
        "hint: ketchup score --calibration --model NAME",
    ]
