import json
import sys
from pathlib import Path

import pytest
import runs
import tiny
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.models.encode import collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.specs import TrainingSpec, ValidationSpec
from ketchup_cli.stages import training
from ketchup_cli.stages.training import DevSet, chunks, dev_set, mean_loss


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.make_policy("t5")


def make_dev(policy: Policy, folder: Path, **changes: object) -> DevSet:
    tiny.make_corpus(folder)
    validation = ValidationSpec(**({"metric": "bleu", "max_new_tokens": 8} | changes))
    spec = runs.make_spec(validation=validation)
    return dev_set(policy, spec, folder, reporter=tiny.SilentReporter())


@pytest.mark.parametrize("budget", [40, 400])
def test_the_mean_loss_is_over_all_tokens_however_they_are_batched(
    budget: int, policy: Policy
) -> None:
    rows = runs.data_rows(policy)
    total = count = 0.0
    with torch.no_grad():
        for row in rows:
            batch = collate([row], pad_id=policy.pad_id, source="data")
            total -= float(F.log_probs_of(policy.logits(batch), batch.tokens_BT).sum())
            count += len(row.completion)

    assert mean_loss(policy, rows, budget) == pytest.approx(total / count, abs=1e-5)


def test_chunks_cover_every_token_once(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    whole = mean_loss(policy, runs.data_rows(policy), 400)
    monkeypatch.setattr(training, "SCORED_TOKENS", 7)
    places = [place for part in chunks(30) for place in range(30)[part]]

    assert places == list(range(30))
    assert mean_loss(policy, runs.data_rows(policy), 400) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_judging_leaves_the_mode_as_it_was(mode: bool, policy: Policy, tmp_path: Path) -> None:
    dev = make_dev(policy, tmp_path)
    policy.module.train(mode)
    dev.figures()
    found = policy.module.training
    policy.module.eval()

    assert found == mode


def test_the_loss_is_judged_without_dropout(tmp_path: Path) -> None:
    spec: TrainingSpec = runs.make_spec(dropout=0.5)
    student = runs.make_student(tmp_path, spec)
    student.module.train()
    rows = runs.data_rows(student)

    assert mean_loss(student, rows, 400) == mean_loss(student, rows, 400)


@pytest.mark.parametrize("metric", ["bleu", "chrf", "rougeL", "exact", "loss"])
def test_the_metric_that_decides_is_among_the_figures(
    metric: str, policy: Policy, tmp_path: Path
) -> None:
    figures = make_dev(policy, tmp_path, metric=metric).figures()

    assert metric in figures
    assert ("bleu" in figures) == (metric != "loss")


def test_only_the_first_examples_judge(policy: Policy, tmp_path: Path) -> None:
    dev = make_dev(policy, tmp_path, examples=3)

    assert (len(dev.examples), len(dev.rows), len(dev.prompts)) == (3, 3, 3)


def test_examples_that_are_skipped_do_not_judge(policy: Policy, tmp_path: Path) -> None:
    tiny.make_corpus(tmp_path)
    lengths = sorted(len(row.prompt) for row in make_dev(policy, tmp_path).prompts)
    spec = runs.make_spec(
        max_prompt_tokens=lengths[3],
        too_long="skip",
        validation=ValidationSpec(metric="bleu", max_new_tokens=8),
    )
    dev = dev_set(policy, spec, tmp_path, reporter=tiny.SilentReporter())

    assert 0 < len(dev.prompts) < 8
    assert dev.figures()["finished"] <= 1


def test_a_dev_split_without_references_is_an_error(policy: Policy, tmp_path: Path) -> None:
    tiny.make_corpus(tmp_path)
    (tmp_path / "dev.jsonl").write_text('{"id":"a","prompt":"the bird","references":[]}')

    with pytest.raises(DataError, match="example `a` has no reference"):
        dev_set(policy, runs.make_spec(), tmp_path, reporter=tiny.SilentReporter())


def test_a_dev_split_that_is_not_there_is_an_error(policy: Policy, tmp_path: Path) -> None:
    spec = runs.make_spec(validation=ValidationSpec(split="valid"))
    tiny.make_corpus(tmp_path)

    with pytest.raises(SpecError, match="`valid` is not a split"):
        dev_set(policy, spec, tmp_path, reporter=tiny.SilentReporter())


def declare(folder: Path, language: str) -> None:
    report = {"languages": ["en", language]}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def test_dev_bleu_finds_the_words_of_the_language_the_corpus_declares(
    policy: Policy, tmp_path: Path
) -> None:
    declare(tmp_path, "zh")

    assert make_dev(policy, tmp_path).tokenize == "zh"
    assert make_dev(policy, tmp_path, metric="loss").tokenize == "13a"


def test_where_its_tokenizer_is_not_here_dev_bleu_counts_characters_and_says_so(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MeCab", "ipadic", "sacrebleu.tokenizers.tokenizer_ja_mecab"):
        monkeypatch.setitem(sys.modules, name, None)
    reporter = tiny.SilentReporter()
    tiny.make_corpus(tmp_path)
    declare(tmp_path, "ja")
    validation = ValidationSpec(metric="bleu", max_new_tokens=8)

    dev = dev_set(policy, runs.make_spec(validation=validation), tmp_path, reporter=reporter)

    assert dev.tokenize == "char"
    assert any(text.startswith("dev BLEU counts characters") for _, text in reporter.notes)
    assert 0 <= dev.figures()["bleu"] <= 100
