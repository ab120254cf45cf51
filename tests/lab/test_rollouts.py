import tempfile
from pathlib import Path

import calculating
import pytest
import tiny
import torch
from msgspec import structs

from ketchup_cli.errors import DataError
from ketchup_cli.lab.resume import Kept
from ketchup_cli.lab.rollouts import choose_prompts, draw
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.specs import LabSpec

POLICY = tiny.make_policy("t5")
EXAMPLES = tiny.make_examples(30)
SPEC = LabSpec(prompts=3, batches=8, max_new_tokens=6)


def drawn(spec: LabSpec = SPEC):
    rows = choose_prompts(POLICY, EXAMPLES, spec)
    with tempfile.TemporaryDirectory() as folder:
        return draw(POLICY, rows, spec=spec, reporter=SilentReporter(), kept=Kept(Path(folder)))


def test_prompts_are_the_first_of_the_lengths_asked_for():
    sizes = [len(ids) for ids in POLICY.prompt_ids([example.prompt for example in EXAMPLES])]
    wanted = [e.id for e, size in zip(EXAMPLES, sizes, strict=True) if 8 <= size <= 12][:3]
    spec = structs.replace(SPEC, prompt_tokens=(8, 12))

    assert [row.id for row in choose_prompts(POLICY, EXAMPLES, spec)] == wanted


def test_prompts_do_not_depend_on_how_many_are_looked_at_together(monkeypatch):
    whole = choose_prompts(POLICY, EXAMPLES, structs.replace(SPEC, prompts=9))
    monkeypatch.setattr("ketchup_cli.lab.rollouts.ENCODED_AT_ONCE", 4)
    parts = choose_prompts(POLICY, EXAMPLES, structs.replace(SPEC, prompts=9))

    assert [row.id for row in parts] == [row.id for row in whole]


def test_too_few_prompts_are_an_error():
    with pytest.raises(DataError, match="has 0 prompts of 500 to 512 tokens; 3 are asked for"):
        choose_prompts(POLICY, EXAMPLES, structs.replace(SPEC, prompt_tokens=(500, 512)))


def test_every_batch_answers_the_same_prompts_anew():
    batches = drawn().batches

    assert len({batch.ids for batch in batches}) == 1
    assert not torch.equal(batches[0].tokens_BT, batches[1].tokens_BT)


def test_fewer_batches_are_the_first_of_more():
    few, more = drawn().texts, drawn(structs.replace(SPEC, batches=10)).texts

    assert more[: len(few)] == few


def test_the_texts_are_the_tokens_of_the_batches():
    rollouts = drawn()
    batch, texts = rollouts.batches[2], rollouts.texts[6:9]

    assert [text.sample for text in texts] == [2, 2, 2]
    for row, text in enumerate(texts):
        real_T = batch.tokens_BT[row][batch.mask_BT[row].bool()]
        assert tuple(real_T.tolist()) == text.tokens


def test_samples_of_a_prompt_are_numbered_through_the_batches():
    texts = drawn(structs.replace(SPEC, samples=2)).texts

    assert [text.sample for text in texts[:8]] == [0, 1, 0, 1, 0, 1, 2, 3]


def test_the_counts_are_means_over_batches():
    rollouts = drawn()
    tokens, sequences = rollouts.counts

    assert tokens == sum(len(text.tokens) for text in rollouts.texts) / 8
    assert sequences == 3


def test_cut_completions_stay_unless_they_are_to_drop():
    kept, dropped = (
        drawn(structs.replace(SPEC, prompts=24, max_new_tokens=24, unfinished=what))
        for what in ("terminal", "drop")
    )
    cut = sum(text.stop == "length" for text in kept.texts)

    assert 0 < cut < len(kept.texts)
    assert kept.texts == dropped.texts
    assert kept.finished == pytest.approx(1 - cut / len(kept.texts))
    assert 8 * (kept.counts[1] - dropped.counts[1]) == pytest.approx(cut)


def test_own_tokens_are_counted_where_a_calculator_completes_sums(tmp_path):
    policy = calculating.chained("gpt2")
    rows = calculating.prompts(policy, 2)
    spec = structs.replace(SPEC, max_new_tokens=calculating.LENGTH, calculator=True)
    first, again = (
        draw(policy, rows, spec=spec, reporter=SilentReporter(), kept=Kept(tmp_path))
        for _ in range(2)
    )
    forced = sum(int(batch.forced_BT.sum()) for batch in first.batches)
    real = sum(int(batch.mask_BT.sum()) for batch in first.batches)

    assert forced > 0
    assert first.counts[0] == (real - forced) / len(first.batches)
    assert [batch.forced_BT.tolist() for batch in again.batches] == [
        batch.forced_BT.tolist() for batch in first.batches
    ]
