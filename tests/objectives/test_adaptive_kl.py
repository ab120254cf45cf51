import pytest
import torch
from divergence_inputs import TEACHER_BTV, loss_of, seen_by, whole
from objective_inputs import VOCABULARY, teacher_signal

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.objectives.adaptive_kl import AdaptiveKl

FLAT_BTV = torch.zeros_like(TEACHER_BTV)
"""Half of the vocabulary is half of the mass: entries short of any larger mu."""


def test_the_loss_is_the_divergence_whatever_the_temperature():
    objective = AdaptiveKl(mu=0.6, temperature=2.0)
    inputs = seen_by(objective)

    expected_BT, weight_BT = F.adaptive_kl(
        TEACHER_BTV, inputs.student.logits_BTV, mu=0.6, temperature=2.0
    )
    loss = objective(inputs)
    mask_BT = inputs.batch.mask_BT
    torch.testing.assert_close(loss.loss_BT, F.zero_padding(expected_BT, mask_BT))
    torch.testing.assert_close(loss.metrics["head_weight"], F.zero_padding(weight_BT, mask_BT))


def test_with_every_token_in_the_head_it_is_forward_kl():
    inputs = seen_by(AdaptiveKl(mu=1.0))

    torch.testing.assert_close(loss_of(AdaptiveKl(mu=1.0), inputs), whole(F.kl, inputs))


def test_from_the_top_entries_the_tail_is_no_token_of_the_head():
    inputs = seen_by(AdaptiveKl(), detail="top")

    both = F.bucketed(inputs.teacher.top, inputs.student.logits_BTV)
    expected_BT, _ = F.adaptive_kl(*both, mu=0.5, bucket=True)
    expected_BT = F.zero_padding(expected_BT, inputs.batch.mask_BT)
    torch.testing.assert_close(loss_of(AdaptiveKl(), inputs), expected_BT)


def test_a_cache_of_the_whole_vocabulary_equals_the_live_teacher():
    live = seen_by(AdaptiveKl())
    signal = teacher_signal(
        TEACHER_BTV, live.batch, student_BTV=live.student.logits_BTV, top=VOCABULARY
    )

    cached = type(live)(batch=live.batch, student=live.student, teacher=signal)

    torch.testing.assert_close(loss_of(AdaptiveKl(), cached), loss_of(AdaptiveKl(), live))


def test_entries_short_of_the_head_are_refused():
    inputs = seen_by(AdaptiveKl(), detail="top", teacher_BTV=FLAT_BTV)

    with pytest.raises(
        MismatchError, match=r"100\.0% of the states .* less than mu = 0\.7"
    ) as seen:
        AdaptiveKl(mu=0.7)(inputs)
    assert "teacher=live" in seen.value.hint


def test_entries_short_of_the_head_that_are_allowed_take_forward_kl_and_are_counted():
    objective = AdaptiveKl(mu=0.7, short_heads=1.0)
    inputs = seen_by(objective, detail="top", teacher_BTV=FLAT_BTV)

    loss = objective(inputs)

    expected_BT = F.kl_truncated(inputs.teacher.top, inputs.student.logits_BTV)
    mask_BT = inputs.batch.mask_BT
    torch.testing.assert_close(loss.loss_BT, F.zero_padding(expected_BT, mask_BT))
    assert F.masked_mean(loss.metrics["short_head"], mask_BT).item() == 1


def test_a_few_states_short_of_the_head_do_not_end_the_run():
    one_flat_BTV = TEACHER_BTV.clone()
    one_flat_BTV[0, 0] = 0
    inputs = seen_by(AdaptiveKl(), detail="top", teacher_BTV=one_flat_BTV)

    loss = AdaptiveKl(mu=0.55, short_heads=0.5)(inputs)

    assert loss.metrics["short_head"][0, 0].item() == 1


def test_states_on_padding_are_not_counted():
    padding_BT = ~seen_by(AdaptiveKl()).batch.mask_BT.bool()
    junk_BTV = TEACHER_BTV.masked_fill(padding_BT[..., None], 0.0)
    inputs = seen_by(AdaptiveKl(), detail="top", teacher_BTV=junk_BTV)

    strict = AdaptiveKl(mu=0.55, short_heads=0.0)

    assert (inputs.teacher.top.tail_BT[padding_BT] > 0.45).all()
    assert strict(inputs).loss_BT.isfinite().all()


def test_entries_short_of_the_mass_by_rounding_are_not_short():
    inputs = seen_by(AdaptiveKl(), detail="top", teacher_BTV=FLAT_BTV)

    loss = AdaptiveKl(mu=0.5005, short_heads=0.0)(inputs)

    assert loss.metrics["short_head"].sum().item() == 0


def test_a_whole_teacher_is_never_short():
    objective = AdaptiveKl(mu=0.99, short_heads=0.0)

    assert "short_head" not in objective(seen_by(objective, teacher_BTV=FLAT_BTV)).metrics


def test_a_mass_above_one_is_refused():
    with pytest.raises(SpecError, match=r"`mu` is 1\.1"):
        AdaptiveKl(mu=1.1)
