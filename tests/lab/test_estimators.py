import pytest

from ketchup_cli.errors import SpecError
from ketchup_cli.lab.estimators import estimators, merged_needs
from ketchup_cli.specs import LabSpec

ONE = LabSpec(k=(4,), values=("max",), immediate=("sampled",))
LLMR = {"name": "llmr", "value": "max"}


def labels(spec: LabSpec) -> list[str]:
    return [item.label for item in estimators(spec)]


def test_the_default_grid_is_every_k_for_every_value_sampled_and_exact():
    found = labels(LabSpec())

    assert len(found) == 20
    assert found[:6] == [
        *(f"K={k} max sampled" for k in (1, 2, 4, 8, "all")),
        "K=1 max exact",
    ]


def test_the_reference_is_one_step_of_the_same_value_drawn():
    found = {item.label: item for item in estimators(LabSpec())}

    assert found["K=8 softmax exact"].reference == "K=1 softmax sampled"
    assert found["K=1 max sampled"].reference == "K=1 max sampled"


def test_a_reference_nobody_asked_for_is_measured_too():
    reference, own = sorted(estimators(ONE), key=lambda item: item.label)

    assert (reference.label, own.label) == ("K=1 max sampled", "K=4 max sampled")
    assert reference.reference == own.reference == reference.label


def test_a_given_reference_is_that_of_all_and_of_itself():
    spec = LabSpec(k=(1, 2), values=("max",), immediate=("sampled",), reference=(LLMR,))

    assert {item.reference for item in estimators(spec)} == {"llmr value=max"}
    assert "llmr value=max" in labels(spec)


def test_an_objective_is_held_against_the_first_value():
    spec = LabSpec(values=("softmax", "max"), objectives=(LLMR,))

    assert estimators(spec)[-1].reference == "K=1 softmax sampled"


def test_all_is_a_k_no_completion_is_longer_than():
    (found,) = (item for item in estimators(LabSpec()) if item.label == "K=all max exact")

    assert found.table["k"] == LabSpec().max_new_tokens


def test_what_varies_stands_in_the_label():
    spec = LabSpec(
        k=(2,),
        values=("lse",),
        immediate=("sampled",),
        baselines=("none", "expected"),
        endings=("paper", "released"),
        clips=(0.0, 2.5),
    )

    assert "K=2 lse expected released clip=2.5 sampled" in labels(spec)


def test_every_field_of_an_estimator_is_written_out():
    table = estimators(ONE)[0].table

    assert table["prefixes"] == "student"
    assert (table["form"], table["normalise"], table["clip"]) == ("adv", "none", 0.0)
    assert table["importance"] == "none"


def test_a_reference_is_not_clipped_and_ends_as_the_paper_says():
    spec = LabSpec(k=(4,), values=("max",), endings=("released",), clips=(3.0,))
    found = {item.label: item.table for item in estimators(spec)}

    assert found["K=1 max sampled"]["clip"] == 0
    assert found["K=1 max sampled"]["ending"] == "paper"


def test_the_teacher_gives_what_the_neediest_estimator_asks_for():
    exact = LabSpec(k=(1,), immediate=("sampled", "exact"))

    assert merged_needs(estimators(ONE)).teacher == "stats"
    assert merged_needs(estimators(exact)).teacher == "dense"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LabSpec(k=()), "no estimator"),
        (LabSpec(objectives=({"name": "ketchop"},)), "`ketchop` is not an objective"),
        (LabSpec(objectives=({"name": "llmr", "kk": 2},)), "`objective.kk` is not a field of llmr"),
        (LabSpec(objectives=({"name": "nll"},)), "cannot learn from completions of `student`"),
        (LabSpec(objectives=({"name": "layer_match"},)), "layer_match"),
        (LabSpec(objectives=({"name": "kl", "temperature": 2.0},)), "temperatures"),
        (LabSpec(baselines=("leave-one-out",)), "a batch has 1"),
        (LabSpec(reference=(LLMR, LLMR)), "2 references are given"),
    ],
    ids=["none", "name", "field", "prefixes", "states", "temperature", "samples", "references"],
)
def test_what_cannot_be_measured_is_an_error(spec: LabSpec, message: str):
    with pytest.raises(SpecError, match=message):
        estimators(spec)
