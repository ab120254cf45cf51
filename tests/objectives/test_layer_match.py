from dataclasses import replace

import pytest
import torch
from objective_inputs import SIZES, make_inputs, parts_of, rebuilt

from ketchup_cli import functional as F
from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError, ShapeError, SpecError
from ketchup_cli.objectives.layer_match import LayerMatch
from ketchup_cli.signals import Sizes

WIDER = Sizes(student_layers=2, student_width=6, teacher_layers=3, teacher_width=8)


def test_the_loss_is_the_mean_distance_over_the_student_s_layers():
    inputs = make_inputs()
    student, teacher = inputs.student.hidden_LBTH, inputs.teacher.hidden_LBTH
    pairs = [(student[1], teacher[2]), (student[2], teacher[3])]
    expected_BT = sum((s - t).square().mean(dim=-1) for s, t in pairs) / 2

    torch.testing.assert_close(LayerMatch()(inputs).loss_BT, expected_BT)


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"map": "reverse"}, (3, 2)),
        ({"map": "all-to-one"}, (2, 2)),
        ({"map": "all-to-one", "teacher_layers": (1,)}, (1, 1)),
        ({"teacher_layers": (3, 1)}, (3, 1)),
        ({"map": "random", "map_seed": 1}, F.layer_map("random", student=2, teacher=3, seed=1)),
    ],
)
def test_the_map_decides_which_layers_are_matched(settings, layers):
    inputs = make_inputs()
    student, teacher = inputs.student.hidden_LBTH, inputs.teacher.hidden_LBTH

    expected_LBT = F.layer_distances(student, teacher, layers=layers)
    torch.testing.assert_close(LayerMatch(**settings)(inputs).loss_BT, expected_LBT.mean(dim=0))


def test_a_student_of_the_teacher_s_own_layers_has_no_loss():
    inputs = make_inputs()
    teacher = inputs.teacher.hidden_LBTH
    student = replace(inputs.student, hidden_LBTH=teacher[[0, 2, 3]])

    loss_BT = LayerMatch()(replace(inputs, student=student)).loss_BT

    assert loss_BT.abs().max() == 0


def test_projections_are_there_where_widths_differ():
    assert LayerMatch().parts(SIZES) == {}

    parts = LayerMatch().parts(WIDER)
    assert {name: (part.shape, part.start) for name, part in parts.items()} == {
        "decoder_1": ((8, 6), "normal"),
        "decoder_2": ((8, 6), "normal"),
    }


def test_layers_of_an_encoder_have_projections_of_their_own():
    parts = LayerMatch(sides="both", projection="always").parts(SIZES)

    assert list(parts) == ["decoder_1", "decoder_2", "encoder_1"]


def test_layers_of_an_encoder_count_like_any_other_over_the_tokens_of_the_prompt():
    inputs = make_inputs()
    student, teacher = inputs.student, inputs.teacher
    decoder = [(student.hidden_LBTH[n], teacher.hidden_LBTH[k]) for n, k in ((1, 2), (2, 3))]
    of_steps_BT = sum((s - t).square().mean(dim=-1) for s, t in decoder)
    of_prompt_BS = (student.encoder_LBSH[1] - teacher.encoder_LBSH[2]).square().mean(dim=-1)

    loss = LayerMatch(sides="both")(inputs)

    expected_BT = (of_steps_BT + of_prompt_BS.mean(dim=1, keepdim=True)) / 3
    torch.testing.assert_close(loss.loss_BT, expected_BT)
    torch.testing.assert_close(loss.metrics["encoder_distance"], of_prompt_BS.mean(dim=1))


def test_the_map_of_the_encoder_is_its_own():
    inputs = make_inputs()

    one = LayerMatch(sides="both", teacher_encoder_layers=(1,))(inputs).metrics
    student, teacher = inputs.student.encoder_LBSH[1], inputs.teacher.encoder_LBSH[1]

    expected_B = (student - teacher).square().mean(dim=(1, 2))
    torch.testing.assert_close(one["encoder_distance"], expected_B)


def test_a_model_without_an_encoder_is_refused_before_the_first_batch():
    with pytest.raises(SpecError, match="there is no encoder") as raised:
        LayerMatch(sides="both").parts(WIDER)
    assert raised.value.hint == "--set objective.sides=decoder"


def test_projections_that_are_asked_for_begin_as_the_identity():
    parts = LayerMatch(projection="always").parts(SIZES)

    assert {part.start for part in parts.values()} == {"identity"}


def test_a_projection_that_is_the_identity_changes_nothing():
    inputs = make_inputs()
    own = LayerMatch(projection="always")
    identity = {name: torch.eye(*part.shape) for name, part in own.parts(SIZES).items()}

    torch.testing.assert_close(
        own(replace(inputs, parts=identity)).loss_BT, LayerMatch()(inputs).loss_BT
    )


def test_every_projection_gets_a_gradient():
    objective = LayerMatch(projection="always")
    parts = {name: x.requires_grad_() for name, x in parts_of(objective).items()}

    objective(replace(make_inputs(), parts=parts)).loss_BT.sum().backward()

    assert all(x.grad.abs().max() > 0 for x in parts.values())


def test_a_teacher_that_would_take_a_gradient_gets_none():
    inputs = make_inputs()
    teacher = rebuilt(inputs.teacher, lambda x: x.detach().clone())
    teacher.hidden_LBTH.requires_grad_()

    LayerMatch()(replace(inputs, teacher=teacher)).loss_BT.sum().backward()

    assert teacher.hidden_LBTH.grad is None


def test_a_projection_that_was_not_brought_is_named():
    with pytest.raises(MismatchError, match="`decoder_1`"):
        LayerMatch(projection="always")(make_inputs())


def test_layers_the_teacher_does_not_have_are_refused_before_the_first_batch():
    with pytest.raises(ShapeError, match="no teacher layer 4"):
        LayerMatch(teacher_layers=(1, 4)).parts(SIZES)


@pytest.mark.parametrize("name", ["reverse", "random"])
def test_two_maps_at_once_are_refused(name):
    with pytest.raises(SpecError, match="`teacher_layers` is a map already"):
        LayerMatch(teacher_layers=(1, 2), map=name)


def test_it_goes_with_a_term_of_another_temperature():
    terms = objectives.terms([{"name": "layer_match"}, {"name": "kl", "temperature": 2.0}])

    merged = terms[0].needs | terms[1].needs
    assert (merged.temperature, merged.hidden, merged.teacher) == (2.0, True, "top")
