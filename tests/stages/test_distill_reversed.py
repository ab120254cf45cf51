"""What `distill` asks of a teacher where rows of the corpus are told from last to first: nothing."""

import distilling
import pytest
import tiny

from ketchup_cli.errors import DataError
from ketchup_cli.specs import ReverseSpec
from ketchup_cli.stages import directions
from ketchup_cli.store.layout import Store


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A causal teacher and student, and their corpus in both directions."""
    folder = tmp_path_factory.mktemp("reversed")
    made = distilling.make_inputs(folder, "gpt2")
    both = tiny.run_stage(
        Store.open(folder / "both"), "reverse", ReverseSpec(), tiny.inputs(corpus=folder / "corpus")
    )
    return {**made, "forward": made["corpus"], **tiny.inputs(corpus=both.path)}


def run(folder, inputs, *tables):
    roles = ("corpus", "teacher", "student")
    spec = distilling.make_spec(*tables, updates=1)
    return distilling.run(folder, spec, {role: inputs[role] for role in roles})


def test_reversed_rows_are_learnt_without_the_teacher_unless_it_is_asked(tmp_path, inputs):
    (line, *_) = distilling.log_of(run(tmp_path, inputs))

    assert line["reversed_tokens"] > 0
    assert line["loss"] == pytest.approx(line["loss_kl"] + line["loss_nll"], abs=1e-5)


def test_a_teacher_can_be_asked_about_reversed_rows_by_name(tmp_path, inputs):
    terms = [{"name": "kl"}, {"name": "kl", "prefixes": "reversed"}]

    (line, *_) = distilling.log_of(run(tmp_path, inputs, *terms))

    assert {"loss_kl_data", "loss_kl_reversed"} <= set(line)
    assert "loss_nll" not in line


def test_without_a_teacher_all_rows_are_rows(inputs):
    spec = distilling.make_spec({"name": "nll"})

    assert [term.prefixes for term in directions.terms_of(spec, inputs)] == ["data"]


def test_reversed_rows_that_are_asked_for_must_be_there(tmp_path, inputs):
    forward = {**inputs, "corpus": inputs["forward"]}

    with pytest.raises(DataError, match="told from last to first"):
        run(tmp_path, forward, {"name": "nll", "prefixes": "reversed"})
