"""`ketchup doctor` as typed: a healthy project passes, ten planted faults are each found by name."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import doctoring
import projects
import pytest
import torch
from doctoring import change_json, change_weights, doctor

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy project."""
    folder = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        doctoring.make_project(folder)
    return folder


@pytest.fixture
def project(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the healthy project as the current folder."""
    doctoring.copy_project(base, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project")
def test_a_healthy_project_passes_every_check() -> None:
    code, checks = doctor()

    assert code == 0
    assert {name for name, check in checks.items() if check["status"] != "pass"} <= {
        "memory",
        "judge",
    }
    assert checks["judge"]["evidence"] == ["no judge is named in [judge] of ketchup.toml"]
    assert len(checks) == 26


@pytest.mark.usefixtures("project")
def test_the_report_is_on_stdout_with_a_line_of_counts() -> None:
    result = projects.type_in("doctor")

    assert result.code == 0, result.out
    assert "pass  shift" in result.out
    assert "0 fail, 1 not checked" in result.out.splitlines()[-1]


def permute_vocabulary(folder: Path) -> None:
    path = folder / "student" / "tokenizer.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    pieces = table["model"]["vocab"]
    pieces[20], pieces[21] = pieces[21], pieces[20]
    path.write_text(json.dumps(table), encoding="utf-8")


def pad_rows(folder: Path) -> None:
    def widen(weights: Weights) -> None:
        rows = weights["shared.weight"]
        # six rows like six that were trained: the text of added tokens that are gone
        weights["shared.weight"] = torch.cat([rows, rows[10:16]])

    change_weights(folder / "teacher", widen)
    size = json.loads((folder / "teacher" / "config.json").read_text())["vocab_size"]
    change_json(folder / "teacher" / "config.json", vocab_size=size + 6)


def forget_the_end_of_prompts(folder: Path) -> None:
    change_json(folder / "student" / "tokenizer.json", post_processor=None)


def swap_references(folder: Path) -> None:
    def roll(rows: list[dict]) -> list[dict]:
        texts = [row["tgt"] for row in rows]
        slipped = [*texts[:6], *texts[7:], texts[6]]
        return [row | {"tgt": text} for row, text in zip(rows, slipped, strict=True)]

    doctoring.write_corpus(folder, roll)
    assert projects.type_in(doctoring.import_corpus()).code == 0


def end_elsewhere(folder: Path) -> None:
    change_json(folder / "student" / "tokenizer_config.json", eos_token="<unk>")


def change_a_prompt(folder: Path) -> None:
    def change(rows: list[dict]) -> list[dict]:
        return [*rows[:5], rows[5] | {"src": rows[5]["src"] + " now"}, *rows[6:]]

    doctoring.write_corpus(folder, change)
    assert projects.type_in(doctoring.import_corpus()).code == 0


def blow_up(folder: Path) -> None:
    def scale(weights: Weights) -> None:
        # float32 holds it, and the norm after it takes the size out again
        weights["encoder.block.1.layer.1.DenseReluDense.wo.weight"] *= 1e7

    change_weights(folder / "teacher", scale)


def forget_the_start(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        change_json(folder / "teacher" / name, decoder_start_token_id=None)


def train_on(folder: Path) -> None:
    def nudge(weights: Weights) -> None:
        weights["decoder.final_layer_norm.weight"] *= 1.1

    change_weights(folder / "teacher", nudge)


FAULTS: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "a permuted vocabulary of equal size": (
        permute_vocabulary, "tokenizers", "first difference: id 20 is", "seqkd",
    ),
    "padded rows with probability": (
        pad_rows, "vocabulary rows", "the teacher's 6 more have", "tokenizer",
    ),
    "a wrong template": (
        forget_the_end_of_prompts, "template", "differs from token", "tokenizer.json",
    ),
    "swapped references": (
        swap_references, "references", "off by one from about row", "ketchup corpus",
    ),
    "another end token": (
        end_elsewhere, "end token", "1 '</s>', the student with 2 '<unk>'", "eos_token",
    ),
    "a stale cache": (
        change_a_prompt, "cache text", "holds another text for example", "ketchup cache-teacher",
    ),
    "float16 overflow": (
        blow_up, "precision of the teacher", "are not finite in float16 first in `encoder.block.1.layer.1.DenseReluDense.wo`", "precision=float32",
    ),
    "a missing decoder start": (
        forget_the_start, "decoder start", "of the teacher says its", "decoder_start_token_id",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "name", "evidence", "remedy"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found_by_its_own_check(
    plant: Callable[[Path], None], name: str, evidence: str, remedy: str, project: Path
) -> None:
    plant(project)

    code, checks = doctor("--precision float16" if "precision" in name else "")

    assert code == 3
    assert checks[name]["status"] == "fail", checks
    assert evidence in " ".join(checks[name]["evidence"])
    assert remedy in checks[name]["remedy"]


def test_a_cache_of_another_teacher_is_found_by_its_digest_and_by_its_numbers(
    project: Path,
) -> None:
    train_on(project)

    code, checks = doctor()

    assert code == 3
    assert checks["cache teacher"]["status"] == checks["cache statistics"]["status"] == "fail"
    assert "the teacher here is `teacher`" in " ".join(checks["cache teacher"]["evidence"])
    assert "ketchup cache-teacher" in checks["cache teacher"]["remedy"]
    assert "in the cache" in checks["cache statistics"]["evidence"][1]


@pytest.mark.usefixtures("project")
def test_lines_of_teacher_text_that_are_gone_are_counted_and_every_damaged_input_is_named() -> None:
    text = Path(projects.type_in("path words-seqkd").out.strip()) / "pseudo-targets.jsonl"
    rows = Path(projects.type_in("path words").out.strip()) / "train.jsonl"
    for path in (text, rows):
        path.chmod(0o644)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))

    code, checks = doctor()

    assert code == 3
    assert "says that 24 were written" in checks["pseudo-target count"]["evidence"][0]
    assert checks["artifacts"]["status"] == "fail"
    told = checks["artifacts"]["evidence"]
    assert [path.name in line for path, line in zip((rows, text), told, strict=True)] == [True] * 2


def test_a_model_that_cannot_be_loaded_leaves_the_other_checks(project: Path) -> None:
    (project / "student" / "model.safetensors").unlink()

    code, checks = doctor()

    assert code == 3
    assert checks["student loads"]["status"] == "fail"
    assert checks["template"]["evidence"] == ["the student cannot be loaded"]
    assert checks["references"]["status"] == "pass"


def test_what_is_not_configured_is_named_and_fails_nothing(project: Path) -> None:
    (project / "ketchup.toml").write_text('[names]\nteacher = "./teacher"\ncorpus = "words"\n')

    code, checks = doctor()

    assert code == 0
    assert checks["shift"]["status"] == "pass"
    assert checks["tokenizers"]["evidence"] == ["no student is named"]
    assert checks["cache teacher"]["status"] == "not checked"


def test_nothing_is_written(project: Path) -> None:
    before = sorted(path.relative_to(project) for path in project.rglob("*"))

    doctor()

    assert sorted(path.relative_to(project) for path in project.rglob("*")) == before


def test_a_run_is_refused_before_training_by_the_check_that_fails(project: Path) -> None:
    end_elsewhere(project)

    result = projects.type_in("distill --k 2 --set updates=1")

    assert result.code == 3
    assert "the check `end token` fails" in result.err
    assert "hint: set `eos_token`" in result.err
    assert not list((project / "runs" / "objects").glob("model/*"))


RUN = "--set " + " --set ".join((
    "updates=1",
    "rollout.prompts=4",
    "rollout.max_new_tokens=4",
    "rollout.unfinished=terminal",
    "validation.metric=loss",
    "validation.examples=2",
    "validation.split=train",
))  # fmt: skip


@pytest.mark.usefixtures("project")
def test_a_run_says_in_one_line_what_was_checked() -> None:
    result = projects.type_in(f"distill --k 2 {RUN}")
    (line,) = [line for line in result.err.splitlines() if line.startswith("check ")]

    assert result.code == 0, result.err
    assert "tokenizers equal, eos 1 = 1" in line
    assert 'template "{src}" on both, self-distillation KL 0.000    all pass' in line


@pytest.mark.usefixtures("project")
def test_a_run_on_a_cache_alone_says_what_the_cache_recorded() -> None:
    result = projects.type_in(f"distill --objective kl --set teacher=cache {RUN}")
    (line,) = [line for line in result.err.splitlines() if line.startswith("check ")]

    assert result.code == 0, result.err
    assert "tokenizers equal, 50 tokens, 24 rows of references cached from `teacher`" in line
    assert line.endswith("all pass")


def test_a_failed_check_that_is_let_pass_is_a_warning_and_stands_in_the_summary(
    project: Path,
) -> None:
    end_elsewhere(project)

    result = projects.type_in(f"distill --k 2 {RUN} --set gate=warn --name odd")

    assert result.code == 0, result.err
    assert "end token fails, and gate=warn goes on" in result.err
    manifest = json.loads(projects.type_in("show odd --json").out)
    assert "end token" in str(manifest)
