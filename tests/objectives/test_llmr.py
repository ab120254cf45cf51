from dataclasses import fields

import pytest
import torch
from objective_inputs import make_inputs

from ketchup_cli.objectives.ketchup import Ketchup
from ketchup_cli.objectives.llmr import Llmr


@pytest.mark.parametrize("ending", ["paper", "released"])
@pytest.mark.parametrize("value", ["max", "softmax", "lse"])
@pytest.mark.parametrize("form", ["q", "adv"])
def test_it_is_ketchup_with_one_step(form, value, ending):
    inputs = make_inputs()

    one_step = Ketchup(k=1, form=form, value=value, ending=ending)
    torch.testing.assert_close(
        Llmr(form=form, value=value)(inputs).loss_BT, one_step(inputs).loss_BT
    )


def test_it_has_no_steps_to_choose():
    only_of_ketchup = {f.name for f in fields(Ketchup)} - {f.name for f in fields(Llmr)}

    assert only_of_ketchup == {"k", "ending"}


def test_two_steps_are_something_else():
    inputs = make_inputs()

    assert not torch.equal(Llmr()(inputs).loss_BT, Ketchup(k=2)(inputs).loss_BT)
