"""Checks on text: the shift, pairs, pseudo-targets, a model against itself; with a taught teacher."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import doctoring
import msgspec
import pytest
import tiny
import torch
from doctoring import EXAMPLES, LIMITS

from ketchup_cli.doctor.agreement import precision, self_distillation
from ketchup_cli.doctor.pairing import inner, pairing
from ketchup_cli.doctor.pseudo_targets import count_and_order, text_of_tokens
from ketchup_cli.doctor.result import Check
from ketchup_cli.doctor.scoring import batch_of, score, spread
from ketchup_cli.doctor.shift import shift
from ketchup_cli.models.encode import Row
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.records import Generation
from ketchup_cli.store.artifact import folder_input


@pytest.fixture(scope="module")
def teacher() -> Policy:
    """A teacher that has learnt the toy corpus."""
    return doctoring.trained_teacher()


def rows_of(policy: Policy) -> Sequence[Row]:
    return reference_rows(policy, EXAMPLES, LIMITS).rows


def one_step_late(policy: Policy):
    """Let whole sequences come out one step late, as where labels are shifted twice."""

    def roll(_part: object, _given: object, output):
        output.last_hidden_state = output.last_hidden_state.roll(1, dims=1)
        return output

    return policy.model.decoder.register_forward_hook(roll)


def test_shifted_labels_are_found_by_both_losses(teacher: Policy) -> None:
    rows = rows_of(teacher)[:8]
    healthy = shift(teacher, rows)
    hook = one_step_late(teacher)
    try:
        found = shift(teacher, rows)
    finally:
        hook.remove()

    assert healthy.status == "pass"
    assert healthy.figures["own_loss"] < 0.5 * healthy.figures["shuffled_loss"]
    assert found.status == "fail"
    assert found.figures["likeliest_share"] < 0.9
    assert "a step apart" in found.remedy


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_an_untaught_model_agrees_with_its_own_text_and_is_only_warned_of(architecture) -> None:
    policy = tiny.make_policy(architecture, examples=EXAMPLES)

    found = shift(policy, rows_of(policy)[:6])

    assert found.status == "warn"
    assert found.figures["likeliest_share"] > 0.99
    assert "ketchup train" in found.remedy


def test_the_score_of_a_row_is_its_mean_negative_log_likelihood(teacher: Policy) -> None:
    rows = rows_of(teacher)[:3]
    found = [item.loss for item in score(teacher, rows)]

    with torch.no_grad():
        for row, loss in zip(rows, found, strict=True):
            logp_TV = teacher.logits(batch_of(teacher, [row]))[0].log_softmax(-1)
            by_hand = -sum(float(logp_TV[t, token]) for t, token in enumerate(row.completion))
            # sums in another order
            assert loss == pytest.approx(by_hand / len(row.completion), abs=1e-5)


def paired(policy: Policy, rows: Sequence[Row]) -> Check:
    return pairing(policy, rows, chosen=inner(len(rows)), name="pairs", remedy="again")


def test_rows_that_belong_together_pass_and_untaught_models_cannot_tell(teacher: Policy) -> None:
    untaught = tiny.make_policy("t5", seed=5, examples=EXAMPLES)

    assert paired(teacher, rows_of(teacher)).status == "pass"
    assert paired(untaught, rows_of(untaught)).status == "fail"
    assert paired(teacher, rows_of(teacher)[:2]).status == "not checked"


def test_one_odd_row_of_many_is_a_warning_that_names_it(teacher: Policy) -> None:
    rows = list(rows_of(teacher))
    # its neighbour's text stays where it is, so one row alone has another's
    rows[12] = replace(rows[12], completion=rows[11].completion[::-1])
    numbers = [1, 4, 6, 8, 12, 15, 18, 20]

    found = pairing(teacher, rows, chosen=numbers, name="pairs", remedy="again")

    assert found.status == "warn"
    assert f"row 13 (`{rows[12].id[:12]}`)" in found.evidence[2]


def test_rows_are_chosen_from_the_first_to_the_last() -> None:
    assert spread(3) == [0, 1, 2]
    assert spread(1000, 4) == [0, 333, 666, 999]
    assert inner(2) == []
    assert inner(4) == [1, 2]


def generations(policy: Policy) -> list[Generation]:
    return [
        Generation(
            id=row.id,
            text=policy.decode([row.completion])[0],
            tokens=row.completion,
            stop="eos",
            logp=-1.0,
        )
        for row in rows_of(policy)
    ]


def test_tokens_that_begin_with_the_decoders_start_are_labels_a_step_late(teacher: Policy) -> None:
    good = generations(teacher)
    late = [msgspec.structs.replace(g, tokens=(teacher.start_id, *g.tokens)) for g in good]
    other = [good[0], msgspec.structs.replace(good[1], text="iets anders"), *good[2:]]

    assert text_of_tokens(teacher, good).status == "pass"
    assert text_of_tokens(teacher, late).status == "fail"
    assert "one step late" in text_of_tokens(teacher, late).evidence[0]
    assert "says 'iets anders'" in text_of_tokens(teacher, other).evidence[0]


def test_ids_beyond_the_vocabulary_are_counted(teacher: Policy) -> None:
    bad = [msgspec.structs.replace(g, tokens=(9999,)) for g in generations(teacher)[:3]]

    assert "3 of 3 lines hold ids beyond" in text_of_tokens(teacher, bad).evidence[0]


def test_moved_lines_and_strangers_are_found(teacher: Policy, tmp_path: Path) -> None:
    made, lines = folder_input(tmp_path, "pseudo-targets"), generations(teacher)
    moved = count_and_order(made, [lines[1], lines[0], *lines[2:]], EXAMPLES)
    strange = count_and_order(made, lines, EXAMPLES[:-1])

    assert count_and_order(made, lines, EXAMPLES).status == "pass"
    assert "line 1 answers row 2 of the corpus and line 2 row 1" in moved.evidence[1]
    assert f"line 24 (`{lines[-1].id[:12]}`) first" in strange.evidence[1]


def test_a_model_is_at_no_distance_from_itself(teacher: Policy) -> None:
    batch = batch_of(teacher, rows_of(teacher)[:4])

    found = self_distillation(teacher, batch)

    assert found.status == "pass"
    assert found.brief == "self-distillation KL 0.000"


def test_a_model_that_does_not_repeat_itself_is_found(teacher: Policy) -> None:
    batch = batch_of(teacher, rows_of(teacher)[:4])
    generator = torch.Generator().manual_seed(0)

    def noise(_part: object, _given: object, output):
        shape = output.last_hidden_state.shape
        output.last_hidden_state = output.last_hidden_state + 0.5 * torch.randn(
            shape, generator=generator
        )
        return output

    hook = teacher.model.decoder.register_forward_hook(noise)
    try:
        found = self_distillation(teacher, batch)
    finally:
        hook.remove()

    assert found.status == "fail"
    assert found.figures["kl"] > 1e-3


def test_bfloat16_of_a_healthy_model_is_near_float32(teacher: Policy) -> None:
    found = precision(teacher, batch_of(teacher, rows_of(teacher)[:4]), "bfloat16", role="teacher")

    assert found.status == "pass"
    assert 0 < found.figures["kl"] < 0.05
